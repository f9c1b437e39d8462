"""How long a classic NetCDF file must be by its own header (NetCDF classic format specification, versions 1, 2 and 5).

The C library reads what lies beyond the end of a truncated classic file as zeros, without a word; so the header is walked
here first.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import BinaryIO, TypeVar

from geoembed.errors import TruncatedFileError, UnreadableFileError

MAGIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
_DIMENSIONS, _VARIABLES, _ATTRIBUTES = 10, 11, 12
T = TypeVar("T")
_STREAMING = {4: 2**32 - 1, 8: 2**64 - 1}


def check_classic(path: Path) -> int:
    """Bytes that the variables of a classic file declare; raises where the file ends before.

    Raises:
        TruncatedFileError: the header, or a variable, reaches beyond the end.
        UnreadableFileError: the header contradicts itself.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        header = _Header(file, path, size)
        end, declared = header.extent()
    if end > size:
        raise TruncatedFileError(where=path, found=f"{size} bytes", expected=f"{end} by its header",
                                 remedy="Fetch or write the file again: the values beyond the end would read as zeros.")
    return declared


class _Header:
    """Walks the header in the order of the specification."""

    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self.file, self.path, self.size = file, path, size
        version = file.read(4)[3]
        self.width = 8 if version == 5 else 4  # of counts
        self.offset = 4 if version == 1 else 8  # of positions

    def extent(self) -> tuple[int, int]:
        """(where the last value of the file ends, bytes of all values)."""
        records = self._number(self.width)
        dims = self._list(_DIMENSIONS, self._dimension)
        self._list(_ATTRIBUTES, self._attribute)
        variables = self._list(_VARIABLES, self._variable)
        fixed: list[tuple[int, int]] = []  # (begin, bytes)
        recorded: list[tuple[int, int]] = []
        for ids, item, begin in variables:
            if any(i >= len(dims) for i in ids):
                raise self._contradiction(f"dimension {max(ids)} of {len(dims)}")
            is_record = bool(ids) and dims[ids[0]] == 0
            shape = [dims[i] for i in ids[1:]] if is_record else [dims[i] for i in ids]
            (recorded if is_record else fixed).append((begin, prod(shape) * item))
        if records == _STREAMING[self.width]:  # written to a pipe: as many records as there are
            records = 0
        # Each record is padded to 4 bytes a variable, unless it has only one.
        step = sum(-(-size // 4) * 4 for _, size in recorded) if len(recorded) > 1 else sum(size for _, size in recorded)
        ends = [begin + size for begin, size in fixed if size]
        ends += [begin + (records - 1) * step + size for begin, size in recorded if size and records]
        return max(ends, default=0), sum(size for _, size in fixed) + records * step

    def _list(self, tag: int, item: Callable[[], T]) -> list[T]:
        found, count = self._number(4), self._number(self.width)
        if found not in (0, tag) or (found == 0 and count):
            raise self._contradiction(f"the tag {found}")
        return [item() for _ in range(count)]  # an absurd count ends at the end of the file

    def _dimension(self) -> int:
        self._name()
        return self._number(self.width)

    def _attribute(self) -> None:
        self._name()
        item = self._item()
        self._skip(-(-self._number(self.width) * item // 4) * 4)

    def _variable(self) -> tuple[list[int], int, int]:
        self._name()
        ids = [self._number(self.width) for _ in range(min(self._number(self.width), self.size))]
        self._list(_ATTRIBUTES, self._attribute)
        item = self._item()
        self._number(self.width)  # its size, which overflows for large variables
        return ids, item, self._number(self.offset)

    def _name(self) -> None:
        self._skip(-(-self._number(self.width) // 4) * 4)

    def _item(self) -> int:
        kind = self._number(4)
        if kind not in _SIZES:
            raise self._contradiction(f"the type {kind}")
        return _SIZES[kind]

    def _number(self, width: int) -> int:
        data = self.file.read(width)
        if len(data) < width:
            raise self._cut()
        number: int = struct.unpack(">I" if width == 4 else ">Q", data)[0]
        return number

    def _skip(self, count: int) -> None:
        if self.file.tell() + count > self.size:
            raise self._cut()
        self.file.seek(count, os.SEEK_CUR)

    def _cut(self) -> TruncatedFileError:
        return TruncatedFileError(where=self.path, found=f"the end of the file after {self.size} bytes, inside its header",
                                  expected="a whole header", remedy="Fetch or write the file again.")

    def _contradiction(self, found: str) -> UnreadableFileError:
        return UnreadableFileError(where=self.path, found=f"{found} at byte {self.file.tell()}", expected="a classic NetCDF header",
                                   remedy="The file is damaged: fetch or write it again.")
