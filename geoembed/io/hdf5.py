"""HDF5: groups of arrays of equal length, compound tables, pandas frames and Les Houches events become tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from math import ceil, prod
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from geoembed.errors import BudgetError, MissingColumnError, TruncatedFileError, UnreadableFileError, UnsafeFileError
from geoembed.graphs.blocks import Block
from geoembed.io.arrays import ArrayTable, array_table, texts_of
from geoembed.io.budget import check_budget
from geoembed.io.column_map import ColumnMap
from geoembed.io.damage import check_ratio, damage
from geoembed.io.extras import require
from geoembed.io.hdf5_events import Group, event_records, les_houches
from geoembed.io.record import BadRecord, Record
from geoembed.io.strain_files import strain_records, strain_series
from geoembed.schema import Graph

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MOST_OBJECTS = 100_000
I = TypeVar("I")  # noqa: E741 — an item: a record, or a block of them


class Hdf5:
    """Tables in HDF5: each group (or compound dataset) whose columns have a meaning is read, in file order.

    Understood: vectors of equal length; compound datasets; matrices and padded blocks [n, k, f] with names of features
    (hls4ml jets, JetNet); frames of pandas; Les Houches events (Höche et al. 2019); gravitational-wave strain. Links to other
    files are never followed.
    """

    kind = "table"
    suffixes: tuple[str, ...] = (".h5", ".hdf5", ".hdf", ".he5")

    def __init__(self, columns: ColumnMap | None = None) -> None:
        self.columns = columns

    def mapped(self, columns: ColumnMap) -> Hdf5:
        """This reader for datasets that a map names."""
        return Hdf5(columns)

    def can_open(self, head: bytes, name: str) -> bool:
        """By the signature, at the start or behind a user block; netCDF-4 files, which are HDF5 inside, are left to theirs."""
        return any(head[at : at + 8] == SIGNATURE for at in (0, 512, 1024, 2048)) and b"_NCProperties" not in head

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """Records of each table; keys of rows are prefixed by the group's name where a file has several tables."""
        return _items(path, ArrayTable.records, self.columns)

    def blocks(self, path: Path) -> Iterator[Block | Record | BadRecord]:
        """The same records in the same order; many at once where the form of a table works on columns."""
        return _items(path, ArrayTable.blocks, self.columns)

    def to_graph(self, record: Record) -> Graph:
        """The graph that the form of the table makes of the record."""
        graph: Graph = record.payload.to_graph()
        return graph


def _items(path: Path, take: Callable[[ArrayTable, str, str], Iterator[I]], columns: ColumnMap | None) -> Iterator[I | Record | BadRecord]:
    h5py = require("h5py", "particles")
    with _opened(h5py, path) as file:
        with damage(path, "readable HDF5 objects"):
            groups = _groups(h5py, file, path)
        named = {f"{group.name}/{key}".lstrip("/"): array for group in groups for key, array in group.arrays.items()}
        if columns is not None:
            yield from _table_records(groups, path, take, columns)
            return
        if strain := strain_series(named, path):
            yield from strain_records(strain, path)
            return
        events = les_houches(groups)
        if events is not None:
            yield from event_records(*events, path)
            return
        yield from _table_records(groups, path, take, columns)


def _opened(h5py: Any, path: Path) -> Any:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "truncated" in str(error):
            raise TruncatedFileError(where=path, found=str(error)[:200], expected="a file as long as its header states",
                                     remedy="Fetch or write the file again.") from error
        raise UnreadableFileError(where=path, found=str(error)[:200], expected="an HDF5 file",
                                  remedy="Fetch or write the file again.") from error


def _groups(h5py: Any, file: Any, path: Path) -> list[Group]:
    """Every group with datasets, depth first in order of names; each object once, whatever links lead to it."""
    found: list[Group] = []
    stack, seen, objects = [("", file)], set(), 0
    while stack:
        name, node = stack.pop()
        address = h5py.h5o.get_info(node.id).addr
        if address in seen:
            continue
        seen.add(address)
        group = Group(name)
        inner: list[tuple[str, Any]] = []
        for key in sorted(node):
            objects += 1
            if objects > MOST_OBJECTS:
                raise BudgetError(where=path, found=f"over {MOST_OBJECTS} objects", expected=f"at most {MOST_OBJECTS}",
                                  remedy="Split the file.")
            _add(h5py, group, inner, key, node, path)
        if group.arrays:
            found.append(group)
        stack.extend(reversed(inner))
    return found


def _add(h5py: Any, group: Group, inner: list[tuple[str, Any]], key: str, node: Any, path: Path) -> None:
    """Take one link of a group: a dataset into ``group``, a group into ``inner``; a link within the file is reached otherwise."""
    shown = f"{group.name}/{key}".lstrip("/").encode("utf-8", "replace").decode()
    link = node.get(key, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise _unsafe(path, shown, "a link to another file")
    if not isinstance(link, h5py.HardLink):
        return
    item = node[key]
    if isinstance(item, h5py.Group):
        inner.append((shown, item))
    elif isinstance(item, h5py.Dataset) and item.shape is not None:
        if item.is_virtual or item.external:
            raise _unsafe(path, shown, "data that lie in another file")
        check_ratio(f"{path} [{shown}]", item.size * item.dtype.itemsize, item.id.get_storage_size())
        group.arrays[shown.rpartition("/")[2]] = item
        group.named |= _names(item, shown.rpartition("/")[2])


def _unsafe(path: Path, name: str, found: str) -> UnsafeFileError:
    return UnsafeFileError(where=f"{path} [{name}]", found=found, expected="data inside the file",
                           remedy="Copy the data into one file (h5repack, or h5copy).")


def _names(item: Any, key: str) -> dict[str, list[str]]:
    """Names of features that attributes of a dataset give: texts as many as its last axis, or the columns of pandas blocks."""
    named: dict[str, list[str]] = {}
    for block in item.dtype.names or ():
        texts = _protocol_0_texts(item.attrs.get(f"{block}_kind"))
        if texts and item.dtype[block].shape == (len(texts),):
            named[block] = texts
    if item.ndim in (2, 3):
        for value in item.attrs.values():
            if isinstance(value, np.ndarray) and value.shape == (item.shape[-1],) and value.dtype.kind in "SUO":
                named[key] = texts_of(value)
    return named


_TEXT = re.compile(rb"(?:V([^\n\\]*)|S'([^'\n\\]*)')\n(?:p\d+\n)?a")
_LIST_OF_TEXTS = re.compile(rb"\(lp\d+\n((?:" + _TEXT.pattern + rb")*)\.")


def _protocol_0_texts(value: object) -> list[str]:
    """Names of columns as PyTables stores them: a list of texts in a textual serialization, read here by its grammar alone.

    Nothing is deserialized: what is not exactly a list of plain texts gives no names.
    """
    match = _LIST_OF_TEXTS.fullmatch(bytes(value)) if isinstance(value, bytes) else None
    if match is None:
        return []
    return [(text[1] or text[2]).decode("utf-8", "replace") for text in _TEXT.finditer(match[1])]


def _checked(array: Any, where: str) -> None:
    """Refuse a dataset whose chunks were never written: they would read as zeros; and chunks above the budget."""
    if array.size == 0:
        return
    present, all_chunks = int(array.id.get_storage_size() > 0), 1
    if array.chunks:
        check_budget(where, array.chunks, array.dtype.itemsize)
        present, all_chunks = array.id.get_num_chunks(), prod(ceil(n / c) for n, c in zip(array.shape, array.chunks, strict=True))
    if present < all_chunks:
        raise TruncatedFileError(where=where, found=f"{present} of {all_chunks} chunks", expected="all of them",
                                 remedy="The writer was interrupted: write the file again (missing chunks would read as zeros).")


def _table_records(
    groups: list[Group], path: Path, take: Callable[[ArrayTable, str, str], Iterator[I]], columns: ColumnMap | None
) -> Iterator[I | Record | BadRecord]:
    """What ``take`` gives of every group whose columns have a form; MissingColumnError with all that was found where none has."""
    readable: list[tuple[str, Iterator[I]]] = []
    expected: object = "datasets of equal length"
    for group in groups:
        try:
            with damage(path, "readable HDF5 data"):
                table = _table(group, columns)
                if table is None:
                    continue
                rows = take(table, f"{path} [{group.name or '/'}]", group.name.rpartition("/")[2] or path.stem)
        except MissingColumnError as error:
            expected = error.expected
            continue
        for key in table.arrays:
            _checked(group.arrays[key], f"{path} [{group.name}/{key}]")
        readable.append((group.name, rows))
    if not readable:
        raise MissingColumnError(where=path, found=_listing(groups), expected=expected, remedy="Rename the datasets or columns.")
    for name, records in readable:
        yield from _prefixed(records, f"{name}/" if len(readable) > 1 else "", path)


def _table(group: Group, columns: ColumnMap | None = None) -> ArrayTable | None:
    """The table of a group; blocks of a frame that pandas wrote (``block0_values`` beside ``block0_items``) get their names."""
    named, arrays = dict(group.named), dict(group.arrays)
    for key, items in group.arrays.items():
        block = key.replace("_items", "_values")
        if key.endswith("_items") and block in arrays and items.shape == arrays[block].shape[1:]:
            named[block] = texts_of(items[:])
            del arrays[key]
            arrays.pop("axis0", None)  # the names of all columns
    return array_table(arrays, named, columns)


def _named(item: I, prefix: str) -> I:
    """A block under the prefix of its group; anything else as it is."""
    return cast(I, item.named(prefix=prefix)) if isinstance(item, Block) else item


def _prefixed(records: Iterator[I], prefix: str, path: Path) -> Iterator[I | Record | BadRecord]:
    while True:
        with damage(path, "readable HDF5 data"):
            record = next(records, None)
        if record is None:
            return
        if isinstance(record, BadRecord):
            yield BadRecord(prefix + record.key, record.error)
        elif isinstance(record, Record):
            yield Record(prefix + record.key, record.payload, record.notes)
        else:
            yield _named(record, prefix)


def _listing(groups: list[Group]) -> str:
    """What a file holds, for a message: the first datasets with type and shape."""
    rows = [f"{group.name}/{key} {array.dtype.str if not array.dtype.names else list(array.dtype.names)} {list(array.shape)}"
            for group in groups for key, array in group.arrays.items()]
    return ("; ".join(rows[:8]) + (f"; … {len(rows) - 8} more" if len(rows) > 8 else "")) or "no dataset"
