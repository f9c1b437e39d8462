"""Items of a CIF block by tag, as gemmi parsed them: columns are cut out of their loop when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache, cached_property, lru_cache
from itertools import chain
from typing import Any

import numpy as np

from geoembed.io import cif_checks as checks
from geoembed.io.extras import require
from geoembed.io.sites import Array

NULL = frozenset("?.")
"""Values that stand for "unknown" and "does not apply"."""

_QUOTES = ("'", '"', ";")


@cache
def _gemmi() -> Any:
    return require("gemmi", "materials").cif


class BlockItems:
    """Values of a gemmi block by tag, quotes removed; ``_cell.length_a`` and ``_Cell_length_a`` are ``_cell_length_a``."""

    def __init__(self, block: Any) -> None:
        self._text = _gemmi().as_string
        self._items: dict[str, str | tuple[_Loop, int]] = {}  # of an item in a loop: the loop and the place of the column
        for item in block:
            pair = item.pair
            if pair is not None:
                self._items.setdefault(_plain(pair[0]), pair[1])
            elif item.loop is not None:
                loop = _Loop(item.loop)
                for i, tag in enumerate(loop.tags):
                    self._items.setdefault(_plain(tag), (loop, i))

    def raw(self, *tags: str) -> list[str]:
        """Values of the first tag that has any, as they are written: with their quotes."""
        for tag in tags:
            item = self._items.get(_plain(tag))
            if isinstance(item, str):
                return [item]
            if item is not None and (values := item[0].values[item[1] :: item[0].width]):
                return values
        return []

    def column(self, *tags: str) -> list[str]:
        """Values of the first tag that has any; null values stay ``?`` and ``.``."""
        for tag in tags:
            item = self._items.get(_plain(tag))
            if isinstance(item, str):
                return [item if item[0] not in _QUOTES else str(self._text(item))]
            if item is not None and (values := item[0].values[item[1] :: item[0].width]):
                return [v if v[0] not in _QUOTES else str(self._text(v)) for v in values] if item[0].quoted else values
        return []

    def columns(self, tags: Sequence[str]) -> list[list[str]]:
        """The column of each tag, empty where there is none."""
        found: list[list[str]] = []
        for tag in tags:
            item = self._items.get(_plain(tag))
            if item is None:
                found.append([])
            elif isinstance(item, str) or item[0].quoted:
                found.append(self.column(tag))
            else:
                found.append(item[0].values[item[1] :: item[0].width])
        return found

    def singles(self, plain: Sequence[str]) -> list[float]:
        """Numbers of items that stand alone, by lower-case tags; empty where one is in a loop, missing or no plain number."""
        try:
            found = numbers_or_nan(map(self._items.__getitem__, plain))
        except (KeyError, TypeError):
            return []
        return found if math.isfinite(sum(found)) else []

    def value(self, *tags: str) -> str:
        """The one value of the first tag that has a known one; empty where none has."""
        for tag in tags:
            if (value := self.column(tag)) and value[0] not in NULL:
                return value[0]
        return ""


class _Loop:
    """A loop whose values become Python's when one of its columns is asked for: a CIF has long loops about other things."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self.tags: list[str] = loop.tags
        self.width = len(self.tags)

    @cached_property
    def values(self) -> list[str]:
        """All values, row by row."""
        return list(self._loop.values)

    @cached_property
    def quoted(self) -> bool:
        """Whether some value may stand in quotes."""
        together = "".join(self.values)
        return "'" in together or '"' in together or ";" in together


@lru_cache(maxsize=4096)
def _plain(tag: str) -> str:
    return tag.lower().replace(".", "_")


def unquoted(values: tuple[str, ...]) -> list[str]:
    """Values as they are written, without their quotes and without null values."""
    text = _gemmi().as_string
    return [value for value in (str(text(value)) if value[0] in _QUOTES else value for value in values) if value not in NULL]


def number_columns(columns: list[list[str]], tags: tuple[str, ...], where: str) -> Array:
    """Columns of CIF texts as numbers [N, columns]; see :func:`numbers`."""
    found = finite_columns(columns)
    if found is None:
        return np.array([numbers(column, tag, where) for column, tag in zip(columns, tags, strict=True)]).T
    return found[0]


def finite_columns(columns: list[list[str]]) -> tuple[Array, bool] | None:
    """Columns of CIF texts as numbers [N, columns], and whether all are in [0, 1); None where one is no plain finite number."""
    values = numbers_or_nan(chain.from_iterable(columns))
    if not math.isfinite(sum(values)):  # NaN and infinity stay in a sum
        return None
    return np.array(values).reshape(len(columns), -1).T, min(values) >= 0 and max(values) < 1


def numbers_or_nan(texts: Iterable[Any]) -> list[float]:
    """Numbers of CIF texts, standard uncertainties dropped; NaN where a text is none."""
    return list(map(_gemmi().as_number, texts))


def numbers(texts: list[str], tags: list[str] | str, where: str) -> list[float]:
    """Finite numbers of CIF texts, standard uncertainties dropped, fractions such as 1/3 divided; names the tag otherwise."""
    as_number = _gemmi().as_number
    found = numbers_or_nan(texts)
    for i, value in enumerate(found):
        if not math.isfinite(value):
            top, _, bottom = texts[i].partition("/")
            found[i] = as_number(top) / as_number(bottom) if bottom and as_number(bottom) else math.nan
            if not math.isfinite(found[i]):
                raise checks.number_error(where, tags if isinstance(tags, str) else tags[i], texts[i])
    return found
