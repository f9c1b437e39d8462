"""The sections of a GRIB message (WMO Manual on Codes, FM 92): checked for their lengths, and cut into one message a field.

In edition 2 the sections 2 to 7, 3 to 7 or 4 to 7 may be repeated for further fields; what is not repeated holds on. ecCodes
can walk them, but keeps its place by file handle, and reads on where a damaged section runs beyond its message.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

from geoembed.errors import UnreadableFileError

_END = b"7777"
_SAME_BITMAP = 254
_LARGE = 0x800000  # edition 1 counts messages of over 8 MB in units of 120 bytes, and then its section 4 in its own way


@dataclass(frozen=True)
class GribField:
    """One field: a whole message ``content`` that holds it alone, and the bytes of its ``grid`` section."""

    content: bytes
    grid: bytes


def split_fields(message: bytes, where: str | PathLike[str]) -> list[GribField]:
    """The fields of a whole message of edition 1 (always one) or 2.

    Raises:
        UnreadableFileError: a section that runs beyond the message, is out of order, or another edition.
    """
    if message[7] == 1:
        return [_edition_1(message, where)]
    if message[7] != 2:
        raise _damaged(where, f"edition {message[7]}", "edition 1 or 2")
    sections, fields = dict[int, bytes](), list[GribField]()
    bitmap, place, end = b"", 16, len(message) - len(_END)
    while place < end:
        length, number = int.from_bytes(message[place : place + 4], "big"), message[place + 4]
        if length < 5 or place + length > end or not 1 <= number <= 7:
            raise _damaged(where, f"section {number} of {length} bytes at byte {place}", f"sections 1 to 7 in {len(message)} bytes")
        section = message[place : place + length]
        if number == 6 and len(section) > 5:
            if section[5] == _SAME_BITMAP and bitmap:
                section = bitmap  # "the bitmap of the field before", which is another message now
            bitmap = section
        sections[number] = section
        place += length
        if number == 7:
            body = b"".join(sections[key] for key in sorted(sections))
            content = message[:8] + (16 + len(body) + len(_END)).to_bytes(8, "big") + body + _END
            fields.append(GribField(content, sections.get(3, b"")))
    if not fields:
        raise _damaged(where, f"sections {sorted(sections)}", "sections 1 to 7")
    return fields


def _edition_1(message: bytes, where: str | PathLike[str]) -> GribField:
    flags, place, grid = message[8 + 7], 8, b""
    large = bool(int.from_bytes(message[4:7], "big") & _LARGE)
    for number, there in ((1, True), (2, bool(flags & 0x80)), (3, bool(flags & 0x40)), (4, True)):
        if not there or (number == 4 and large):
            continue
        length = int.from_bytes(message[place : place + 3], "big")
        if length < 11 - 5 * (number == 3) or place + length > len(message) - len(_END):
            raise _damaged(where, f"section {number} of {length} bytes at byte {place}", f"sections within {len(message)} bytes")
        if number == 2:
            grid = message[place : place + length]
        place += length
    return GribField(message, grid)


def _damaged(where: str | PathLike[str], found: str, expected: str) -> UnreadableFileError:
    return UnreadableFileError(where=where, found=found, expected=expected, remedy="The message is damaged: fetch the file again.")
