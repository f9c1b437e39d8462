"""Whether a sound file goes on to where its own container says that it ends; decoders are silent about that."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from geoembed.schema import Scalar

_PAGE = 65_307  # largest Ogg page, RFC 3533
_TAIL = 16_384
_CHUNKS = 10_000  # chunks before the sound; more is no recording


@dataclass(frozen=True)
class Ending:
    """What is missing at the end of a file.

    Attributes:
        found: what is there, empty where nothing is missing.
        expected: what the container announces.
        notes: for the provenance, e.g. that the header leaves the length open, as a recorder that writes to a pipe must.
        remedy: the next step where something is missing, without a full stop.
    """

    found: str = ""
    expected: str = ""
    notes: Mapping[str, Scalar] = field(default_factory=dict)
    remedy: str = "Copy the file again"


def ending_of(path: Path) -> Ending:
    """The ending of a WAV, AIFF, Ogg or MP3 file; FLAC and others declare a count of samples, which decoding checks."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(16)
        if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
            return _wav(file, size, ">" if head[:4] == b"RIFX" else "<")
        if head[:4] == b"FORM":
            return next((_chunk(at, length, size) for name, at, length in _chunks(file, size, ">") if name == b"SSND"), Ending())
        if head[:4] == b"OggS":
            return _ogg(file, size)
        if head[:3] == b"ID3" or mp3_frame(head) is not None:
            return _mp3(file, size)
    return Ending()


def _chunks(file: BinaryIO, size: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """(name, offset of the content, declared length) of each chunk of a RIFF or IFF file."""
    at = 12
    for _ in range(_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        length = struct.unpack(order + "I", head[4:])[0]
        yield head[:4], at + 8, length
        at += 8 + length + length % 2
        if at >= size:
            return


def _wav(file: BinaryIO, size: int, order: str) -> Ending:
    long_length = None
    for name, at, length in _chunks(file, size, order):
        if name == b"ds64":  # RF64 (EBU Tech 3306): riff size, data size, both 64 bits
            file.seek(at + 8)
            long_length = int.from_bytes(file.read(8), "little")
        if name == b"data":
            if long_length is not None and length == 0xFFFFFFFF:
                return _chunk(at, long_length, size)
            # Lengths that programs write when they cannot come back to correct them: FFmpeg, SoX
            if length >= 0xFFFFFF00 or (0x7FFFF000 <= length <= 0x7FFFFFFF and at + length > size):
                return Ending(notes={"length_open": True})
            file.seek(at)
            if length == 0 and (after := file.read(4)) and not after.isascii():
                # The recorder stopped (flat battery) before it wrote the length; what follows is no chunk but sound
                return Ending(f"a data length of 0 before {size - at} bytes", "the length of the sound", {}, "Repair the header")
            return _chunk(at, length, size)
    return Ending("no data chunk before the end of the file", "a data chunk")


def _chunk(at: int, length: int, size: int) -> Ending:
    if at + length <= size:
        return Ending()
    return Ending(f"{size - at} bytes of sound", f"the {length} that its chunk declares")


def _ogg(file: BinaryIO, size: int) -> Ending:
    """RFC 3533: the last page is whole and carries the end-of-stream flag."""
    file.seek(max(0, size - 2 * _PAGE))
    tail = file.read()
    at = tail.rfind(b"OggS\0")
    head = tail[at : at + 27]
    if at < 0 or len(head) < 27:
        return Ending("no whole Ogg page at the end", "a page with the end-of-stream flag")
    table = tail[at + 27 : at + 27 + head[26]]
    if len(table) < head[26] or at + 27 + len(table) + sum(table) > len(tail):
        return Ending("a last Ogg page that is cut", "a whole page with the end-of-stream flag")
    if not head[5] & 4:
        return Ending("a last Ogg page without the end-of-stream flag", "a page with it")
    return Ending()


_KBITS = {True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
          False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def mp3_frame(head: bytes) -> int | None:
    """Bytes of the MPEG layer III frame that starts with these 4 bytes (ISO 11172-3, 2.4.1.3), None where none does.

    >>> mp3_frame(bytes([0xFF, 0xFB, 0x90, 0xC4]))
    417
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, kbits, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version not in _RATES or kbits in (0, 15) or rate == 3:
        return None
    return (144 if version == 3 else 72) * _KBITS[version == 3][kbits] * 1000 // _RATES[version][rate] + (head[2] >> 1 & 1)


def mp3_starts(data: bytes, frames: int = 3) -> int | None:
    """Offset in ``data`` of the first chain of at least ``frames`` MPEG frames, each where the one before ends."""
    at = data.find(b"\xff")
    while at >= 0:
        step, here = 0, at
        while step < frames and (length := mp3_frame(data[here : here + 4])) is not None:
            step, here = step + 1, here + length
        if step == frames:
            return at
        at = data.find(b"\xff", at + 1)
    return None


def _mp3(file: BinaryIO, size: int) -> Ending:
    """The last frame is whole and, where a Xing header counts the bytes, so many are there."""
    file.seek(max(0, size - 128))
    if file.read(3) == b"TAG":  # ID3v1
        size -= 128
    file.seek(max(0, size - _TAIL))
    tail = file.read(min(size, _TAIL))
    at = mp3_starts(tail)
    while at is not None and (length := mp3_frame(tail[at : at + 4])) is not None:
        if at + length > len(tail):
            return Ending(f"{len(tail) - at} bytes of the last MPEG frame", f"{length}")
        at += length
    file.seek(0)
    head = file.read(10)
    # ID3v2: four times 7 bits of length behind a header of 10 bytes
    start = 10 + sum((head[6 + i] & 0x7F) << 7 * (3 - i) for i in range(4)) if head[:3] == b"ID3" and len(head) == 10 else 0
    file.seek(start)
    first = file.read(64)
    tag = max(first.find(b"Xing"), first.find(b"Info"))
    if tag > 0 and len(first) >= tag + 16 and first[tag + 7] & 3 == 3:
        declared = int.from_bytes(first[tag + 12 : tag + 16], "big")
        if declared > size - start:
            return Ending(f"{size - start} bytes of sound", f"the {declared} that its Xing header declares")
    return Ending()
