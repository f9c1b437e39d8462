"""The rows of a table as unit vectors: decoded and normalized once, then kept in memory as far as there is room for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geoembed.store.filters import Filter
from geoembed.store.part_reader import PartReader
from geoembed.store.parts import Floats, Part, vectors_of
from geoembed.store.search import Block, unit_rows

MEMORY_GIB = 2.0
"""Decoded vectors that an opened table keeps: 4 million rows of 128 columns."""


class Vectors:
    """Unit vectors of the parts of a table in ``folder``, of which at most ``memory_gib`` stay in memory.

    What is kept is known by the sha256 of its part, which the file is compared with before its first row is decoded: other content
    is another key, so nothing kept can be out of date. The first rows that fit are kept; the rest is decoded again in each search, for
    every search reads all rows, and to make room for the last would throw out the first.
    """

    def __init__(self, folder: Path, memory_gib: float = MEMORY_GIB) -> None:
        self.folder, self._room = folder, int(memory_gib * 2**30)
        self._kept: dict[tuple[str, int], Floats] = {}
        self._readers: dict[str, PartReader] = {}

    def forget_all_but(self, parts: Sequence[Part]) -> None:
        """Free what belongs to parts that are not among these."""
        listed = {part.sha256 for part in parts}
        self._kept = {key: rows for key, rows in self._kept.items() if key[0] in listed}
        self._readers = {key: reader for key, reader in self._readers.items() if key in listed}

    def blocks(self, parts: Sequence[Part], conditions: Filter | None = None) -> Iterator[Block]:
        """The rows of some parts that meet the conditions, in order; they are numbered through all rows of these parts."""
        start = 0
        for part in parts:
            if conditions is None or conditions.admits(part):
                yield from self._blocks_of(part, start, conditions)
            start += part.rows

    def _blocks_of(self, part: Part, start: int, conditions: Filter | None) -> Iterator[Block]:
        reader = self.reader(part)
        for first, groups in reader.chunks():
            if conditions is None or not conditions.columns:
                yield Block(self._unit(reader, first, groups), start + first)
                continue
            chosen = np.flatnonzero(conditions.mask(reader.read(groups, conditions.columns, conditions.repeating)))
            if len(chosen):
                rows = self._unit(reader, first, groups)
                yield Block(np.take(rows.T, chosen, axis=1).T, chosen=chosen + (start + first))  # column by column, as they lie

    def take(self, parts: Sequence[Part], rows: NDArray[np.int64]) -> Floats:
        """Unit vectors [m, D] of some rows, numbered as by :meth:`blocks`, in the order asked for."""
        if not len(rows):
            return np.empty((0, parts[0].dim if parts else 0), np.float32)
        found = np.empty((len(rows), parts[0].dim), np.float32)
        for reader, places, local in self.places(parts, rows):
            missing = np.ones(len(local), np.bool_)
            for first, _ in reader.chunks():
                held = self._kept.get((reader.part.sha256, first))
                if held is not None:
                    here = (local >= first) & (local < first + len(held))
                    found[places[here]] = held[local[here] - first]
                    missing &= ~here
            if missing.any():
                column = reader.take(local[missing], ["vector"])["vector"]
                found[places[missing]] = unit_rows(_array(column))
        return found

    def places(self, parts: Sequence[Part], rows: NDArray[np.int64]) -> Iterator[tuple[PartReader, NDArray[np.int64], NDArray[np.int64]]]:
        """(reader, places among ``rows``, numbers in its part) of each part that holds some of these rows."""
        start = 0
        for part in parts:
            places = np.flatnonzero((rows >= start) & (rows < start + part.rows))
            if len(places):
                yield self.reader(part), places, rows[places] - start
            start += part.rows

    def reader(self, part: Part) -> PartReader:
        """The open footer of a part."""
        if part.sha256 not in self._readers:
            self._readers[part.sha256] = PartReader(self.folder, part)
        return self._readers[part.sha256]

    def _unit(self, reader: PartReader, first: int, groups: range) -> Floats:
        key = (reader.part.sha256, first)
        if key in self._kept:
            return self._kept[key]
        reader.check()
        rows = unit_rows(_array(reader.read(groups, ["vector"])["vector"]))
        if rows.nbytes <= self._room - sum(kept.nbytes for kept in self._kept.values()):
            self._kept[key] = rows
        return rows


def _array(column: pa.ChunkedArray) -> Floats:
    blocks = [vectors_of(chunk) for chunk in column.chunks]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
