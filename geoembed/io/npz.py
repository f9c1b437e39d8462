"""NumPy archives (.npz) and single arrays (.npy): arrays of equal first length become a table; objects are refused."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from geoembed.errors import MissingColumnError, TruncatedFileError, UnreadableFileError, UnsafeFileError
from geoembed.graphs.blocks import Block
from geoembed.io.arrays import ArrayTable, array_table
from geoembed.io.budget import check_budget
from geoembed.io.column_map import ColumnMap
from geoembed.io.damage import damage
from geoembed.io.record import BadRecord, Record
from geoembed.io.tables import TableRecord
from geoembed.schema import Graph

MAGIC = b"\x93NUMPY"
_PARSER = (zipfile.BadZipFile, zlib.error, tokenize.TokenError, SyntaxError, NotImplementedError)


class Npz:
    """Tables as NumPy arrays: columns, padded blocks with names of features, swaths of latitude, longitude and values.

    Headers are parsed and their claims checked before an array is read; an array of Python objects, which only unpickling
    could read, is refused. Checksums of the archive are verified.
    """

    kind = "table"
    suffixes: tuple[str, ...] = (".npz", ".npy")

    def __init__(self, columns: ColumnMap | None = None) -> None:
        self.columns = columns

    def mapped(self, columns: ColumnMap) -> Npz:
        """This reader for arrays that a map names."""
        return Npz(columns)

    def can_open(self, head: bytes, name: str) -> bool:
        """By the magic of an array, or of a zip archive whose first member is one."""
        member = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        return head.startswith(MAGIC) or (head.startswith(b"PK") and (member.endswith(b".npy") or name.endswith(".npz")))

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """Records of the form that the arrays have."""
        table, found = _table(path, self.columns)
        with _named(path, found):
            records = table.records(path, path.stem)
        yield from records

    def blocks(self, path: Path) -> Iterator[Block | Record | BadRecord]:
        """The same records in the same order; many at once where the form works on columns."""
        table, found = _table(path, self.columns)
        with _named(path, found):
            blocks = table.blocks(path, path.stem)
        yield from blocks

    def to_graph(self, record: Record) -> Graph:
        """The graph that the table's form makes of the record."""
        payload: TableRecord = record.payload
        return payload.to_graph()


def _table(path: Path, columns: ColumnMap | None) -> tuple[ArrayTable, str]:
    """The table that the arrays of a file make, and what they are in words."""
    with open(path, "rb") as file:
        single = file.read(len(MAGIC)) == MAGIC
    arrays = {"array": _single(path)} if single else _archive(path)
    table = array_table(arrays, columns=columns)
    found = "; ".join(f"{name} {array.dtype.str} {list(array.shape)}" for name, array in list(arrays.items())[:12])
    if table is None:
        raise MissingColumnError(where=path, found=found or "no array", expected="arrays of equal first length, by name",
                                 remedy="Save each column under its name: np.savez(file, pt=…, eta=…, phi=…).")
    return table, found


@contextmanager
def _named(path: Path, found: str) -> Iterator[None]:
    """Name arrays, not columns, where no form fits."""
    try:
        yield
    except MissingColumnError as error:
        raise MissingColumnError(where=path, found=found, expected=error.expected,
                                 remedy="Rename the arrays, or add an array of names as long as the last axis.") from error


def _single(path: Path) -> Any:
    with open(path, "rb") as file:
        return _array(file, path.stat().st_size, str(path))


def _archive(path: Path) -> dict[str, Any]:
    """Every array of an archive by name; all headers are checked before the first array is read."""
    arrays: dict[str, Any] = {}
    if not zipfile.is_zipfile(path):
        raise TruncatedFileError(where=path, found="no directory of a zip archive", expected="one at its end",
                                 remedy="Fetch or write the file again.")
    with damage(path, "a zip archive", *_PARSER):
        archive = zipfile.ZipFile(path)
    with archive:
        infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        if not infos:
            raise UnreadableFileError(where=path, found=[info.filename for info in archive.infolist()[:8]],
                                      expected="members *.npy", remedy="Save it with np.savez.")
        names = [info.filename.removesuffix(".npy") for info in infos]
        if len(set(names)) < len(names):
            raise UnreadableFileError(where=path, found="two arrays of one name", expected="one array a name",
                                      remedy="Rename them.")
        for read in (_check_header, _array):  # claims of all members first
            total = 0
            for name, info in zip(names, infos, strict=True):
                where = f"{path} [{name}]"
                total += info.file_size
                check_budget(where, (total,), 1)
                with damage(where, "a readable member", *_PARSER), archive.open(info) as member:
                    arrays[name] = read(member, info.file_size, where)
    return arrays


def _check_header(file: IO[bytes], size: int, where: str) -> tuple[Any, ...]:
    """(shape, order, dtype) of an array of ``size`` bytes with its header, after their claims were checked."""
    with damage(where, "the header of a NumPy array", *_PARSER):
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise UnsafeFileError(where=where, found="an array of Python objects, which runs code when opened",
                              expected="numbers or text", remedy="Save numbers: np.asarray(values, dtype=float).")
    check_budget(where, shape, dtype.itemsize)
    here, claimed = size - file.tell(), prod(shape) * dtype.itemsize
    if here != claimed or min(shape, default=0) < 0:
        raise TruncatedFileError(where=where, found=f"{here} bytes", expected=f"{claimed} for {list(shape)} {dtype}",
                                 remedy="Fetch or write the file again.")
    return shape, fortran, dtype


def _array(file: IO[bytes], size: int, where: str) -> Any:
    shape, fortran, dtype = _check_header(file, size, where)
    with damage(where, "the bytes of a NumPy array", *_PARSER):
        content = file.read(prod(shape) * dtype.itemsize)  # up to the end of the member, where its checksum is compared
        flat = np.frombuffer(content, dtype)
        return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
