"""Reading a part of a vector table: some row groups, or some rows, of some columns; nothing else of the file is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from geoembed.errors import StoreError
from geoembed.store.atomic import sha256_of
from geoembed.store.parts import Part

CHUNK = 32_768
"""Rows that are decoded at once: few enough that a question's scores of them stay in the cache, so many that Python's time is lost
in the memory's."""


class PartReader:
    """One part of a table. Its footer is read once; no file stays open."""

    def __init__(self, folder: Path, part: Part) -> None:
        self.path, self.part = folder / part.file, part
        try:
            self._footer = pq.read_metadata(self.path)
        except (OSError, pa.ArrowInvalid) as error:
            raise self._damaged(str(error), "a Parquet file") from error
        sizes = [self._footer.row_group(i).num_rows for i in range(self._footer.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._whole = False

    def check(self) -> None:
        """Compare the file with its checksum, once; :class:`StoreError` where it is another."""
        if not self._whole and (found := sha256_of(self.path)) != self.part.sha256:
            raise self._damaged(f"sha256 {found[:12]}…", f"{self.part.sha256[:12]}…")
        self._whole = True

    def _damaged(self, found: str, expected: str) -> StoreError:
        return StoreError(where=self.path, found=found, expected=expected,
                          remedy="The file is damaged: restore it, or make the table again ('geoembed verify' lists what is wrong).")

    def chunks(self) -> Iterator[tuple[int, range]]:
        """(first row, row groups) of neighboring row groups that together have at most :data:`CHUNK` rows."""
        first = 0
        while first < len(self._starts) - 1:
            end = int(np.searchsorted(self._starts, self._starts[first] + CHUNK, side="right")) - 1
            end = max(end, first + 1)
            yield int(self._starts[first]), range(first, end)
            first = end

    def read(self, groups: Sequence[int], columns: Sequence[str], encoded: Sequence[str] = ()) -> pa.Table:
        """The rows of some row groups; columns that are also in ``encoded`` stay numbers of their different values."""
        try:
            with pq.ParquetFile(self.path, metadata=self._footer, read_dictionary=list(encoded)) as file:
                return file.read_row_groups(list(groups), columns=list(columns))
        except (OSError, pa.ArrowInvalid) as error:
            raise self._damaged(str(error), "rows that can be read") from error

    def take(self, rows: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Some rows (numbers in the part), in the order asked for; only the row groups that hold them are read."""
        group = np.searchsorted(self._starts, rows, side="right") - 1
        groups, place = np.unique(group, return_inverse=True)
        before = np.concatenate([[0], np.cumsum(self._starts[groups + 1] - self._starts[groups])])[:-1]
        return self.read(groups.tolist(), columns).take(before[place] + rows - self._starts[group])
