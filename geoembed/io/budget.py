"""Memory budget: what a file declares is checked before anything of that size is allocated."""

from __future__ import annotations

from math import prod
from os import PathLike

from geoembed.errors import BudgetError

LIMIT = 2 << 30
"""Bytes that one record may take when decoded (2 GiB)."""

RATIO = 200
"""Largest decompressed : compressed ratio of a stream beyond its first 64 MiB."""


def check_budget(where: str | PathLike[str], shape: tuple[int, ...], itemsize: int, limit: int = LIMIT) -> None:
    """Raise :class:`BudgetError` where an array of ``shape`` and ``itemsize`` bytes an element exceeds ``limit``.

    >>> check_budget("map.h5", (1000, 1000), 8)
    >>> check_budget("bomb.h5", (100_000, 100_000), 4)
    Traceback (most recent call last):
    ...
    geoembed.errors.BudgetError: bomb.h5: found a declared size of 37.3 GiB; expected at most 2.0 GiB. Split the record ...
    """
    size = prod(shape) * itemsize
    if size > limit:
        raise BudgetError(
            where=where, found=f"a declared size of {size / 2**30:.1f} GiB", expected=f"at most {limit / 2**30:.1f} GiB",
            remedy="Split the record or select part of it.",
        )
