"""Whatever a parsing library raises on a damaged file becomes a typed error that names the file."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

from geoembed.errors import BudgetError, UnreadableFileError
from geoembed.io.budget import LIMIT, RATIO

PARSER_ERRORS: tuple[type[Exception], ...] = (
    OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, AssertionError, EOFError,
    MemoryError, struct.error, zlib.error, lzma.LZMAError,
)
"""What libraries raise when bytes contradict each other, in the order of how often they do."""


@contextmanager
def damage(where: str | PathLike[str], expected: str, *more: type[Exception]) -> Iterator[None]:
    """Turn an error of a library (and of the classes ``more``) into :class:`UnreadableFileError`; typed errors pass."""
    try:
        yield
    except (*PARSER_ERRORS, *more) as error:
        raise UnreadableFileError(
            where=where, found=f"{type(error).__name__}: {error}"[:400], expected=expected,
            remedy="The file is damaged or cut off: fetch or write it again.",
        ) from error


def check_ratio(where: str | PathLike[str], decoded: int, stored: int) -> None:
    """Raise :class:`BudgetError` where ``stored`` bytes claim to be more than the limit *and* 200 times their size.

    A large honest file passes, because it is read in blocks; a small one that claims gigabytes does not.

    >>> check_ratio("large.h5", 40 << 30, 12 << 30)
    >>> check_ratio("bomb.h5", 40 << 30, 1400)
    Traceback (most recent call last):
    ...
    geoembed.errors.BudgetError: bomb.h5: found 40.0 GiB declared in 1400 bytes; expected at most 2.0 GiB, or a ratio ...
    """
    if decoded > LIMIT and decoded > RATIO * max(stored, 1):
        raise BudgetError(
            where=where, found=f"{decoded / 2**30:.1f} GiB declared in {stored} bytes",
            expected=f"at most {LIMIT / 2**30:.1f} GiB, or a ratio of at most {RATIO}",
            remedy="Write the table again without its empty or constant part.",
        )
