"""A GRIB 2 message that holds several fields, cut into messages of one field each (WMO Manual on Codes, FM 92, section order).

Sections 2 to 7, 3 to 7 or 4 to 7 may be repeated; what is not repeated holds on. ecCodes can walk them too, but keeps its
place by file handle, and reads beyond a damaged section.
"""

from __future__ import annotations

from os import PathLike

from geoembed.errors import UnreadableFileError

_END = b"7777"
_SAME_BITMAP = 254


def split_fields(message: bytes, where: str | PathLike[str]) -> list[bytes]:
    """The fields of a whole message, each as a message; a message of one field, or of edition 1, is returned as it is.

    Raises:
        UnreadableFileError: sections that run beyond the message, or in an order that gives no field.
    """
    if message[7] != 2:
        return [message]
    sections, fields = dict[int, bytes](), list[bytes]()
    bitmap, place, end = b"", 16, len(message) - len(_END)
    while place < end:
        length, number = int.from_bytes(message[place : place + 4], "big"), message[place + 4]
        if length < 5 or place + length > end or not 1 <= number <= 7:
            raise UnreadableFileError(where=where, found=f"section {number} of {length} bytes at byte {place} of a message",
                                      expected=f"sections 1 to 7 within its {len(message)} bytes",
                                      remedy="The message is damaged: fetch the file again.")
        section = message[place : place + length]
        if number == 6 and len(section) > 5:
            if section[5] == _SAME_BITMAP and bitmap:
                section = bitmap  # "the bitmap of the field before": which is another message now
            bitmap = section
        sections[number] = section
        place += length
        if number == 7:
            fields.append(_message(message[:8], b"".join(sections[key] for key in sorted(sections))))
    return fields if len(fields) > 1 else [message]


def _message(indicator: bytes, body: bytes) -> bytes:
    return indicator + (16 + len(body) + len(_END)).to_bytes(8, "big") + body + _END
