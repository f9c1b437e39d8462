"""``Loader``: epochs of batches from a store, shuffled or drawn, within a budget, ahead of the reader, on a CPU or a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from geoembed.errors import ConfigError
from geoembed.schema import GraphBatch
from geoembed.store.flat import FlatGraphs
from geoembed.store.manifest import Store, open_store
from geoembed.store.pieces import Budget, Piece
from geoembed.store.prefetch import ahead
from geoembed.store.sampling import Ints, check_labels, check_weights, drawn, ends_of, grouped
from geoembed.store.transfer import Bus, Sent

_AT_ONCE = 32
"""Batches that a GPU gathers in one go: its kernels are so short that starting them is what costs."""


@dataclass(frozen=True)
class _Loaded:
    """Graphs of one signature in memory, their numbers in the data set, ascending, and the nodes and edges of each."""

    flat: FlatGraphs
    numbers: Ints
    sizes: Mapping[str, Ints]


@dataclass(frozen=True)
class _Stream:
    """Batches of one signature, and how many they are."""

    batches: int
    made: Iterator[Sent]


class Loader:
    """Iterating gives one epoch of :class:`GraphBatch`; each next one is shuffled or drawn anew.

    Graphs are kept as the flat arrays of the store, in its narrow types, and batches are cut from them: no object a graph is made,
    and provenance is read when it is asked for. What fits into ``memory`` is read once; of a larger store as many shards as fit
    are in memory at a time, in an order of their own each epoch, and shuffled among each other. A batch has graphs of one signature
    (the same fields, and one topology where it is shared); where there are several, their batches alternate.

    Args:
        store: a :class:`Store` or its folder.
        budget: nodes, edges and graphs of a batch.
        shuffle: whether every epoch has an order of its own; else the order is that of the store.
        seed: of the order and of the draws; the same seed and epoch give the same batches.
        weights: [G], one a graph: an epoch then draws graphs, with repeats, in proportion to them; see :func:`balanced`.
        samples: graphs that an epoch draws; by default as many as there are.
        groups: [G] labels: graphs of one label are put into one batch unless they exceed the budget. Needs a store that fits into
            ``memory``.
        modality: only graphs of this modality; empty for all.
        device: where batches go.
        resident: keep the arrays on ``device`` and cut the batches there; else their graphs are picked on the CPU, copied as the store
            has them, from pinned memory, and made batches there, on a stream beside that of the reader.
        memory: bytes of shards that are in memory at a time.
        prefetch: batches that are made ahead, in a thread; 0 for none.

    Attributes:
        epoch: number of the next epoch; set it to repeat one.
    """

    def __init__(
        self, store: Store | str | Path, *, budget: Budget | None = None, shuffle: bool = False, seed: int = 0,
        weights: ArrayLike | None = None, samples: int | None = None, groups: ArrayLike | None = None, modality: str = "",
        device: str | torch.device = "cpu", resident: bool = False, memory: int = 1 << 30, prefetch: int = 2,
    ) -> None:
        store = store if isinstance(store, Store) else open_store(store)
        self.shards = [shard for shard in store.shards() if modality in ("", shard.entry.modality)]
        self.budget, self.shuffle, self.seed, self.device = budget or Budget(), shuffle, seed, torch.device(device)
        self.resident, self.memory, self.prefetch = resident, memory, prefetch
        self.epoch = 0
        self._bus = Bus(self.device, beside=not resident)
        self._ends = np.array([len(shard) for shard in self.shards], np.int64).cumsum()
        graphs = int(self._ends[-1]) if len(self._ends) else 0
        self.weights = None if weights is None else check_weights(weights, graphs)
        self.samples = graphs if samples is None or weights is None else samples
        self.groups = None if groups is None else check_labels(groups, graphs)
        self._fits = sum(shard.nbytes for shard in self.shards) <= memory
        if self.groups is not None and not self._fits:
            raise ConfigError(where="Loader", found=f"groups, and a store larger than memory={memory}", expected="a store that fits",
                              remedy="Raise memory=, or leave groups out.")
        self._held: list[_Loaded] | None = None

    @property
    def graphs(self) -> int:
        """Graphs of the data set, G."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def __iter__(self) -> Iterator[GraphBatch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        batches = self._batches(np.random.default_rng([self.seed, epoch]))
        made = ahead(batches, self.prefetch) if self.prefetch else batches
        return (sent.received() for sent in made)

    def _batches(self, rng: np.random.Generator) -> Iterator[Sent]:
        asked = None if self.weights is None else np.sort(drawn(self.weights, self.samples, rng))
        for shards in self._rounds(rng):
            yield from self._round(shards, asked, rng)  # whose arrays are gone before those of the next are read

    def _round(self, shards: Sequence[int], asked: Ints | None, rng: np.random.Generator) -> Iterator[Sent]:
        streams = [self._stream(part, self._order(part.numbers, asked, rng)) for part in self._load(shards)]
        turns = np.repeat(np.arange(len(streams)), [stream.batches for stream in streams])
        for turn in rng.permutation(turns) if self.shuffle or asked is not None else turns:
            yield next(streams[turn].made)

    def _rounds(self, rng: np.random.Generator) -> Iterator[list[int]]:
        """Numbers of the shards that are in memory together."""
        order = list(range(len(self.shards)))
        if self._fits:
            yield order
            return
        if self.shuffle or self.weights is not None:
            order = rng.permutation(len(order)).tolist()
        together, size = list[int](), 0
        for number in order:
            more = self.shards[number].nbytes
            if together and size + more > self.memory:
                yield together
                together, size = [], 0
            together.append(number)
            size += more
        yield together

    def _load(self, numbers: Sequence[int]) -> list[_Loaded]:
        if self._held is not None:
            return self._held
        groups: dict[str, list[int]] = {}
        for number in sorted(numbers):
            groups.setdefault(self.shards[number].entry.signature, []).append(number)
        loaded = []
        for members in groups.values():
            shards = [self.shards[number] for number in members]
            flat = FlatGraphs.of([Piece(shard, 0, len(shard)) for shard in shards])
            for shard in shards:
                shard.close()
            own = np.concatenate([np.arange(self._ends[number] - len(self.shards[number]), self._ends[number]) for number in members])
            sizes = {level: np.diff(flat.bounds[level]) for level in ("node", "edge")}
            loaded.append(_Loaded(flat.to(self.device) if self.resident else flat, own, sizes))
        if self._fits:
            self._held = loaded
        return loaded

    def _order(self, numbers: Ints, asked: Ints | None, rng: np.random.Generator) -> Ints | None:
        """Places in ``numbers`` in the order of this epoch; None for all of them as they lie."""
        if asked is None and not self.shuffle and self.groups is None:
            return None
        places: Ints
        if asked is not None:
            places = rng.permutation(np.searchsorted(numbers, asked[np.isin(asked, numbers)]))
        else:
            places = rng.permutation(len(numbers)) if self.shuffle else np.arange(len(numbers))
        return places if self.groups is None else grouped(places, self.groups[numbers])

    def _stream(self, part: _Loaded, order: Ints | None) -> _Stream:
        numbers = part.numbers if order is None else part.numbers[order]
        counts = part.sizes if order is None else {level: size[order] for level, size in part.sizes.items()}
        ends = ends_of(counts, self.budget, None if self.groups is None else self.groups[numbers])
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        together = _AT_ONCE if part.flat.device.type != "cpu" and part.flat.rule is None else 1
        return _Stream(len(ends), _made(part.flat, order, list(zip(starts.tolist(), ends.tolist(), strict=True)), together, self._bus))


def _made(flat: FlatGraphs, order: Ints | None, bounds: Sequence[tuple[int, int]], together: int, bus: Bus) -> Iterator[Sent]:
    """The batches between these bounds of an order of graphs, ``together`` of them gathered in one go."""
    for first in range(0, len(bounds), together):
        some = bounds[first : first + together]
        low, high = some[0][0], some[-1][1]
        picked = flat.run(low, high) if order is None else flat.take(order[low:high])
        yield from bus.send(picked.pinned() if bus.pins else picked, [end - low for _, end in some])
