"""What the footer of a Parquet file declares about the sizes of its column chunks (Apache Parquet format 2.11, parquet.thrift).

The C++ library ends the whole process when it is asked for a column chunk whose statistics contradict each other, so the few
numbers that the budget needs are read here, by the grammar of the Thrift compact protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoembed.errors import TruncatedFileError, UnreadableFileError
from geoembed.io.budget import check_budget
from geoembed.io.damage import damage

MAGIC = b"PAR1"
TEXT = 6
_WIDTHS = (1, 4, 8, 12, 4, 8, 8, 16)  # bytes a value, by physical type; a text is a pointer, and its bytes are counted as stored
_LARGEST_FOOTER = 256 << 20


@dataclass(frozen=True)
class ChunkSize:
    """One column of one row group: its path, bytes once decoded, and bytes in the file."""

    column: str
    decoded: int
    stored: int


def chunk_sizes(path: Path) -> list[ChunkSize]:
    """Every column chunk of a file, in order; :class:`TruncatedFileError` where the file does not end in a footer."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(size - 8, 0))
        tail = file.read(8)
        length = int.from_bytes(tail[:4], "little")
        if size < 12 or tail[4:] != MAGIC or length > size - 12:
            raise TruncatedFileError(where=path, found=f"{size} bytes that end with {tail[-4:]!r}", expected=f"a footer and {MAGIC!r}",
                                     remedy="Fetch or write the file again: Parquet keeps its schema at the end.")
        check_budget(path, (length,), 1, limit=_LARGEST_FOOTER)
        file.seek(size - 8 - length)
        footer = file.read(length)
    with damage(path, "a Parquet footer"):
        return [_chunk(chunk, path) for chunk in _chunks(_Compact(footer).struct())]


def _chunks(metadata: dict[int, Any]) -> Iterator[dict[int, Any]]:
    for group in metadata.get(4, []):  # FileMetaData.row_groups
        for column in group[1]:  # RowGroup.columns
            yield column[3]  # ColumnChunk.meta_data


def _chunk(chunk: dict[int, Any], path: Path) -> ChunkSize:
    kind, names, values, uncompressed, compressed = (chunk[number] for number in (1, 3, 5, 6, 7))
    column = ".".join(name.decode("utf-8", "replace") for name in names)
    if min(values, uncompressed, compressed) < 0:
        raise UnreadableFileError(where=f"{path} [{column}]", found="a negative size", expected="sizes of at least 0",
                                  remedy="Fetch or write the file again.")
    return ChunkSize(column, values * _WIDTHS[kind] + (uncompressed if kind == TEXT else 0), compressed)


class _Compact:
    """Values of the Thrift compact protocol, read one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def struct(self) -> dict[int, Any]:
        """{number of the field: value}."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            kind = head & 15
            fields[number] = kind == 1 if kind in (1, 2) else self._value(kind)  # a boolean field is its own type
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (1, 2, 3):
            return self._byte()
        if kind in (4, 5, 6):
            return self._integer()
        if kind in (7, 13):
            return self._bytes(8 if kind == 7 else 16)
        if kind == 8:
            return self._bytes(self._varint())
        if kind in (9, 10):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            return [self._value(head & 15) for _ in range(count)]
        if kind == 12:
            return self.struct()
        raise ValueError(f"a field of type {kind}")

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _bytes(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise ValueError(f"a text of {count} bytes beyond the footer")
        self.at += count
        return self.data[self.at - count : self.at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of over 64 bits")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)  # zigzag: 0, −1, 1, −2 …
