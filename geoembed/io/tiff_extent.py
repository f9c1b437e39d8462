"""Do the values of a TIFF's tags lie inside the file? libtiff takes those beyond for absent, with a line in a log; pixels it misses."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from geoembed.errors import TruncatedFileError

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value by its type (TIFF 6.0, section 2; BigTIFF: 16 to 18)."""

_DIRECTORIES, _ENTRIES = 4096, 65_535
"""Most directories and entries of one that are looked at: a file may link them in a ring."""


class _Form(NamedTuple):
    """Byte order, and how numbers are written: classic TIFF or BigTIFF."""

    order: str
    entries: str
    entry: str
    offset: str


class _Entry(NamedTuple):
    """One tag: its type, how many values, and where they are."""

    tag: int
    kind: int
    values: int
    place: int


def require_tags(path: Path) -> None:
    """Raise :class:`TruncatedFileError` where the values of a tag end beyond the end of the file; what is no TIFF passes."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        for number, entries in enumerate(_directories(file, size)):
            for entry in entries:
                end = entry.place + entry.values * _SIZES.get(entry.kind, 0)
                if end > size:
                    raise TruncatedFileError(where=path, found=f"{size} bytes", remedy="The file was cut: fetch it again.",
                                             expected=f"at least {end}, where tag {entry.tag} of image {number} ends")


_FORMS: dict[bytes, _Form] = {
    b"II*\0": _Form("<", "H", "HHI", "I"), b"MM\0*": _Form(">", "H", "HHI", "I"),
    b"II+\0": _Form("<", "Q", "HHQ", "Q"), b"MM\0+": _Form(">", "Q", "HHQ", "Q"),
}


def _directories(file: BinaryIO, size: int) -> Iterator[list[_Entry]]:
    """The entries of each image directory, in the order of the chain; of one beyond the end of the file, an entry that is there."""
    form = _FORMS.get(file.read(4))
    if form is None:
        return
    if form.offset == "Q":
        file.seek(8)
    seen: set[int] = set()
    (place,) = _read(file, form.order + form.offset) or (0,)
    while place and place not in seen and len(seen) < _DIRECTORIES:
        seen.add(place)
        if place >= size:
            yield [_Entry(0, 1, 1, place)]
            return
        file.seek(place)
        count = _read(file, form.order + form.entries)
        if count is None:
            yield [_Entry(0, 1, 1, size)]
            return
        if count[0] > _ENTRIES:  # nonsense: its reader says so
            return
        width = struct.calcsize("=" + form.entry + form.offset)
        start = file.tell()
        content = file.read(count[0] * width)
        entries = [_entry(form, content[i : i + width], start + i) for i in range(0, len(content) - width + 1, width)]
        yield entries + ([_Entry(0, 1, 1, start + count[0] * width - 1)] if len(content) < count[0] * width else [])
        file.seek(start + count[0] * width)
        (place,) = _read(file, form.order + form.offset) or (0,)


def _entry(form: _Form, content: bytes, at: int) -> _Entry:
    """An entry; few values stand in it, more elsewhere."""
    tag, kind, count, offset = struct.unpack(form.order + form.entry + form.offset, content)
    room = struct.calcsize("=" + form.offset)
    inside = count * _SIZES.get(kind, 0) <= room
    return _Entry(tag, kind, count, at + len(content) - room if inside else offset)


def _read(file: BinaryIO, pattern: str) -> tuple[int, ...] | None:
    content = file.read(struct.calcsize(pattern))
    return struct.unpack(pattern, content) if len(content) == struct.calcsize(pattern) else None
