"""The skeleton of a FITS file: headers and the sizes that they declare, read before any data (FITS standard 4.0, section 3)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from geoembed.errors import TruncatedFileError, UnreadableFileError
from geoembed.io.budget import LIMIT, check_budget
from geoembed.io.damage import damage
from geoembed.io.extras import require

Cards = dict[str, object]

_STRUCTURE = frozenset({"SIMPLE", "XTENSION", "BITPIX", "NAXIS", *(f"NAXIS{axis}" for axis in range(1, 10)), "PCOUNT", "GCOUNT", "GROUPS",
                        "ZIMAGE", "ZNAXIS"})

BLOCK = 2880
"""Everything in a FITS file is a multiple of this many bytes."""


@dataclass(frozen=True)
class Hdu:
    """One header and data unit.

    Attributes:
        index: position in the file, 0 is the primary one.
        header: values of the cards; the first of repeated ones, without those that cannot be parsed.
        kind: ``image``, ``compressed``, ``table``, ``groups`` or the unknown XTENSION.
        shape: of an image, slowest axis first; empty without data.
        intact: False where CHECKSUM or DATASUM contradict the bytes.
        unparsed: keywords of cards that cannot be parsed.
    """

    index: int
    header: Cards
    kind: str
    shape: tuple[int, ...]
    intact: bool
    unparsed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """EXTNAME, or ``primary``, or the position."""
        name = self.text("EXTNAME")
        if name and name != "COMPRESSED_IMAGE":
            return name
        return f"hdu {self.index}" if self.index else "primary"

    def text(self, *keys: str) -> str:
        """The first of ``keys`` that has a value, as stripped text; empty where none has."""
        values = (self.header.get(key) for key in keys)
        return next((str(value).strip() for value in values if isinstance(value, str | int | float) and str(value).strip()), "")

    def number(self, *keys: str) -> float | None:
        """The first of ``keys`` that has a finite number."""
        for key in keys:
            value = self.header.get(key)
            if isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value):
                return float(value)
        return None


@contextmanager
def quiet(path: Path) -> Iterator[None]:
    """Astropy's remarks on odd headers are dropped, what it raises becomes :class:`UnreadableFileError`; not across a yield."""
    fits = require("astropy.io.fits", "astronomy")
    tiles = require("astropy.io.fits.hdu.compressed._compression", "astronomy")
    with warnings.catch_warnings(), damage(path, "a FITS file", fits.VerifyError, tiles.CfitsioException):
        warnings.simplefilter("ignore")
        yield


def read_headers(local: Path, path: Path) -> tuple[list[Hdu], int]:
    """Every HDU of the file at ``local``, called ``path`` in messages, and the bytes after the last one that belong to none.

    Raises :class:`TruncatedFileError` where the file ends before a header or the data that it declares,
    :class:`BudgetError` where what is missing is beyond the budget anyway, :class:`UnreadableFileError` where a header cannot
    be understood. No data are read.
    """
    fits = require("astropy.io.fits", "astronomy")
    end = local.stat().st_size
    hdus: list[Hdu] = []
    with open(local, "rb") as file, quiet(path):
        while (start := file.tell()) < end:
            if hdus and file.read(8) != b"XTENSION":
                return hdus, end - start
            file.seek(start)
            header, unparsed = _cards(_header(path, file, fits, end), fits)
            if broken := _STRUCTURE & set(unparsed):
                raise UnreadableFileError(
                    where=path, found=f"cards of HDU {len(hdus)} that cannot be parsed: {', '.join(sorted(broken))}",
                    expected="cards of the standard", remedy="Correct the header, or fetch the file again.",
                )
            body, size = file.tell(), _data_size(path, header, len(hdus))
            if body + size > end:
                check_budget(path, (size,), 8)  # as float64
                raise TruncatedFileError(
                    where=path, found=f"{end - body} bytes of data in HDU {len(hdus)}",
                    expected=f"{size} (declared in its header)", remedy="Fetch the file again.",
                )
            padded = body + -(-size // BLOCK) * BLOCK
            if padded > end:  # whole as far as it goes: but what came behind, a table with the redshift perhaps, may be gone
                raise TruncatedFileError(
                    where=path, found=f"{end} bytes, which end inside the padding of HDU {len(hdus)}",
                    expected=f"at least {padded}, a multiple of {BLOCK}", remedy="Fetch it again, or pad it with zeros if it is whole.",
                )
            intact = _intact(file, header, start, body, padded)
            hdus.append(replace(_hdu(path, header, len(hdus)), intact=intact, unparsed=tuple(unparsed)))
            file.seek(padded)
    return hdus, 0


def _header(path: Path, file: BinaryIO, fits: Any, end: int) -> Any:
    start = file.tell()
    try:
        return fits.Header.fromfile(file, padding=True)
    except (OSError, ValueError) as error:
        # A header without END runs to the end of the file: it was cut there.
        if "END" in str(error) or end - start < BLOCK or (end - start) % BLOCK:
            raise TruncatedFileError(
                where=path, found=f"a header at byte {start} without its END card", expected="whole header blocks",
                remedy="Fetch the file again.",
            ) from error
        raise


def _cards(header: Any, fits: Any) -> tuple[Cards, list[str]]:
    """{keyword: value} and the keywords of cards that cannot be parsed (astropy parses a card when it is asked for)."""
    values: Cards = {}
    unparsed: list[str] = []
    for card in header.cards:
        keyword = str(card.keyword)
        try:
            value = card.value
        except (fits.VerifyError, ValueError, OverflowError):
            unparsed.append(keyword)
            continue
        if keyword not in ("COMMENT", "HISTORY", "") and not isinstance(value, fits.card.Undefined):
            values.setdefault(keyword, value)
    return values, unparsed


def _integer(path: Path, header: Cards, key: str, default: int | None = None) -> int:
    value = header.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UnreadableFileError(
            where=path, found=f"{key} = {value!r}", expected="a whole number, 0 or more", remedy="Correct the header.",
        )
    return value


def _axes(path: Path, header: Cards, letter: str = "") -> tuple[int, ...]:
    """NAXISn (``letter`` "Z": of the compressed image), slowest axis first."""
    count = _integer(path, header, f"{letter}NAXIS")
    if count > 999:
        raise UnreadableFileError(where=path, found=f"NAXIS = {count}", expected="at most 999", remedy="Correct the header.")
    return tuple(_integer(path, header, f"{letter}NAXIS{axis}") for axis in range(count, 0, -1))


def _data_size(path: Path, header: Cards, index: int) -> int:
    """Bytes of data that a header declares, without padding (standard 4.0, eq. 1 and 2; random groups eq. 4)."""
    if index == 0 and header.get("SIMPLE") is not True:
        raise UnreadableFileError(
            where=path, found="SIMPLE = F", expected="a file that conforms to the standard",
            remedy="Write it again as standard FITS.",
        )
    bits = header.get("BITPIX")
    if not isinstance(bits, int) or bits not in (8, 16, 32, 64, -32, -64):
        raise UnreadableFileError(
            where=path, found=f"BITPIX = {bits!r} in HDU {index}", expected="8, 16, 32, 64, -32 or -64",
            remedy="Correct the header.",
        )
    axes = _axes(path, header)
    if not axes:
        return 0
    cells = prod(axes[:-1]) if header.get("GROUPS") is True and axes[-1] == 0 else prod(axes)
    return abs(bits) // 8 * _integer(path, header, "GCOUNT", 1) * (_integer(path, header, "PCOUNT", 0) + cells)


def _hdu(path: Path, header: Cards, index: int) -> Hdu:
    extension = str(header.get("XTENSION", "IMAGE")).strip().upper()
    if header.get("GROUPS") is True and index == 0:
        return Hdu(index, header, "groups", (), True)
    if extension in ("BINTABLE", "A3DTABLE") and header.get("ZIMAGE") is True:
        shape = _axes(path, header, "Z")
        check_budget(f"{path} [{index}]", shape, 8, LIMIT)  # a tile may say in a few bytes that a large area is empty
        return Hdu(index, header, "compressed", shape, True)
    if extension in ("BINTABLE", "A3DTABLE", "TABLE"):
        return Hdu(index, header, "table", (), True)
    shape = _axes(path, header)
    kind = "image" if extension == "IMAGE" else extension.lower()
    return Hdu(index, header, kind, shape if prod(shape) and shape else (), True)


def _intact(file: BinaryIO, header: Cards, start: int, body: int, end: int) -> bool:
    """Whether the bytes agree with CHECKSUM and DATASUM, where the header has them (standard 4.0, appendix J)."""
    total, data = header.get("CHECKSUM"), header.get("DATASUM")
    if not isinstance(total, str) and not isinstance(data, str):
        return True
    sums = _ones_complement(file, start, body), _ones_complement(file, body, end)
    whole = _fold(sums[0] + sums[1])
    if isinstance(total, str) and total.strip() not in ("", "0" * 16) and whole not in (0, 0xFFFFFFFF):
        return False
    return not (isinstance(data, str) and data.strip().isdecimal() and int(data) != sums[1])


def _ones_complement(file: BinaryIO, start: int, end: int) -> int:
    total = 0
    for block in _blocks(file, start, end):
        block += b"\0" * (-len(block) % 4)
        total = _fold(total + int(np.frombuffer(block, ">u4").sum(dtype=np.uint64)))
    return total


def _fold(total: int) -> int:
    while total > 0xFFFFFFFF:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def _blocks(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    file.seek(start)
    while start < end and (block := file.read(min(BLOCK * 400, end - start))):
        start += len(block)
        yield block
