"""``Origins``: where the graphs of a batch came from, read from the lists of their shards when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from geoembed.schema import Provenance
from geoembed.store.pieces import Piece


class Origins:
    """One provenance a graph, like a list of them: to parse a thousand would take longer than to make their batch.

    Not a ``Sequence`` by type, since PyG walks through those whenever a batch moves to another device.
    """

    def __init__(self, pieces: Sequence[Piece], index: NDArray[np.int64] | None = None) -> None:
        self._pieces = pieces
        self._ends = np.array(list(accumulate(map(len, pieces))), np.int64)
        self._index = index

    def __len__(self) -> int:
        return len(self._index) if self._index is not None else int(self._ends[-1])

    def take(self, index: NDArray[np.int64]) -> Origins:
        """The origins of the graphs of these numbers."""
        return Origins(self._pieces, index if self._index is None else self._index[index])

    def part(self, low: int, high: int) -> Origins:
        """The origins of graphs ``low`` … ``high - 1``."""
        return self.take(np.arange(low, high))

    def __getitem__(self, number: int) -> Provenance:
        at = range(len(self))[number]
        at = at if self._index is None else int(self._index[at])
        place = int(np.searchsorted(self._ends, at, side="right"))
        piece = self._pieces[place]
        row = at - int(self._ends[place]) + piece.high
        return piece.shard.provenance(row, row + 1)[0]

    def __iter__(self) -> Iterator[Provenance]:
        if self._index is not None:
            return (self[number] for number in range(len(self)))
        return (origin for piece in self._pieces for origin in piece.shard.provenance(piece.low, piece.high))
