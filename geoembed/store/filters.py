"""Conditions on where rows came from: a column and the values, or patterns with ``*`` and ``?``, that it may have. Nothing is evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from geoembed.errors import ConfigError, UnknownNameError
from geoembed.store.parts import Part, text_name

Where = Mapping[str, str | Sequence[str]]
COLUMNS = ("source", "record", "kind", "modality", "encoder", "weights")
"""The columns that a condition may name."""
_OF_PART = ("encoder", "weights")  # the same in all rows of a part


class Filter:
    """Rows that meet every condition: ``{"modality": "crystal", "source": ["a.cif", "*/oxide*"]}``; a list means any of it.

    ``*`` stands for any text and ``?`` for one letter; every other letter, also ``[``, for itself.
    :class:`UnknownNameError` for another column, :class:`ConfigError` for a value that is no text.
    """

    def __init__(self, where: Where | None = None) -> None:
        conditions = {name: _values(name, value) for name, value in (where or {}).items()}
        self._part = {name: values for name, values in conditions.items() if name in _OF_PART}
        self._rows = {name: values for name, values in conditions.items() if name not in _OF_PART}

    @property
    def any(self) -> bool:
        """Whether there is a condition at all."""
        return bool(self._part or self._rows)

    @property
    def columns(self) -> list[str]:
        """Columns of the rows that have to be read to tell which meet the conditions."""
        return list(self._rows)

    @property
    def repeating(self) -> list[str]:
        """Those of which many rows have the same value, so that each value is compared once."""
        return [name for name in self._rows if name != "record"]

    def admits(self, part: Part) -> bool:
        """Whether the encoder and the weights of a part are among those asked for."""
        return all(bool(_matches(pa.array([getattr(part, name)]), values)[0]) for name, values in self._part.items())

    def mask(self, rows: pa.Table) -> NDArray[np.bool_]:
        """Which of some rows, with :attr:`columns`, meet the conditions: [n]."""
        keep = np.ones(len(rows), np.bool_)
        for name, values in self._rows.items():
            keep &= _matches(rows[name], values)
        return keep


def conditions_of(texts: Sequence[str]) -> dict[str, list[str]]:
    """Conditions written ``column=value``, as on the command line; the same column twice means either value."""
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(where="--where", found=repr(text), expected="COLUMN=VALUE, as in --where modality=crystal",
                              remedy=f"Columns are {', '.join(COLUMNS)}; * and ? in the value stand for any text and one letter.")
        found.setdefault(name.strip(), []).append(value)
    return found


def _values(name: str, value: str | Sequence[str]) -> list[str]:
    if name not in COLUMNS:
        raise UnknownNameError(where="where", found=f"a column {name!r}", expected=f"one of {', '.join(COLUMNS)}",
                               remedy="Name a column that says where a row came from.")
    values = [value] if isinstance(value, str) else list(value)
    for one in values:
        if not isinstance(one, str):
            raise ConfigError(where=f"where, column {name!r}", found=repr(one), expected="a text or a list of texts",
                              remedy="Write the value as the column has it; * stands for any text.")
    return [text_name(one) for one in values]


def _matches(column: pa.Array | pa.ChunkedArray, values: Sequence[str]) -> NDArray[np.bool_]:
    if pa.types.is_dictionary(column.type):
        masks = [_matches(chunk.dictionary, values)[chunk.indices.to_numpy()] for chunk in column.chunks]
        return np.concatenate(masks) if masks else np.empty(0, np.bool_)
    plain = [value for value in values if not {"*", "?"} & set(value)]
    keep: NDArray[np.bool_] = pc.is_in(column, value_set=pa.array(plain, pa.string())).to_numpy(zero_copy_only=False)
    for value in values:
        if value not in plain:
            keep = keep | pc.match_like(column, _like(value)).to_numpy(zero_copy_only=False)
    return keep


def _like(value: str) -> str:
    """A pattern with * and ? as the pattern of SQL's LIKE, whose own signs stand for themselves."""
    for sign in "\\%_":
        value = value.replace(sign, "\\" + sign)
    return value.replace("*", "%").replace("?", "_")
