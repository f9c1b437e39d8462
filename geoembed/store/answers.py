"""Questions to a table: exact search, or the index where the table is large and has a current one; answers as a frame."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from geoembed.errors import ConfigError, MissingExtraError, StoreError, ValueRangeError
from geoembed.store.filters import Filter
from geoembed.store.index import INDEX_K, Index, current_index, key_of
from geoembed.store.parts import Floats, Part
from geoembed.store.search import Hits, best_rows, unit_rows
from geoembed.store.vectors import Vectors

log = logging.getLogger("geoembed.index")
EXACT_ROWS = 1_000_000
"""Rows up to which every search is exact: as many of 128 columns are read from memory in less time than an index takes to answer."""


class Answers:
    """What a table in ``folder`` needs to answer questions: its decoded vectors, at most ``memory_gib`` of them, and its open index."""

    def __init__(self, folder: Path, memory_gib: float) -> None:
        self.vectors = Vectors(folder, memory_gib)
        self._index: Index | None = None
        self._said = ""

    def nearest(self, parts: Sequence[Part], queries: Floats, k: int, conditions: Filter, exact: bool | None) -> Hits:
        """The k rows of some parts nearest to each query [Q, D], numbered through all rows of the parts.

        ``exact=None`` chooses: the index for more than :data:`EXACT_ROWS` rows, at most :data:`INDEX_K` neighbors and no conditions
        (for its recall was measured for such questions alone), if there is a current one, and exact search otherwise.
        ``exact=False`` asks the index or raises :class:`StoreError`.
        """
        check_queries(queries, parts, k, self.vectors.folder)
        unit = unit_rows(queries)
        rows = sum(part.rows for part in parts)
        if exact is False:
            if conditions.any or k > INDEX_K:
                raise ConfigError(where=self.vectors.folder, found=f"exact=False with {'conditions' if conditions.any else f'k = {k}'}",
                                  expected=f"no conditions and k of at most {INDEX_K}",
                                  remedy="The recall of the index is measured for such questions alone: leave exact=False out.")
            return self._ask_index(parts, unit, k)
        if exact is None and rows > EXACT_ROWS and not conditions.any and k <= INDEX_K:
            try:
                return self._ask_index(parts, unit, k)
            except (StoreError, MissingExtraError) as error:
                self._say(f"{rows:,} rows are searched exactly, without an index: {error}")
        return best_rows(unit, self.vectors.blocks(parts, conditions), k)

    def _ask_index(self, parts: Sequence[Part], unit: Floats, k: int) -> Hits:
        opened, self._index = self._index, None  # after an error it is opened, and its files are checked, anew
        if opened is None or opened.entry.key != key_of(parts):
            opened = current_index(self.vectors.folder, parts)
        hits = opened.ask(unit, k)
        self._index = opened
        return hits

    def _say(self, text: str) -> None:
        if text != self._said:  # not with every question
            log.warning(text)
        self._said = text

    def frame(self, parts: Sequence[Part], hits: Hits) -> pd.DataFrame:
        """Hits as columns query, rank (from 1), score, source, record."""
        texts = {name: np.full(len(hits.row), "", dtype=object) for name in ("source", "record")}
        for reader, places, rows in self.vectors.places(parts, hits.row):
            found = reader.take(rows, list(texts))
            for name, column in texts.items():
                column[places] = found[name].to_pylist()
        rank = np.arange(1, len(hits.query) + 1) - np.searchsorted(hits.query, hits.query)
        return pd.DataFrame({"query": hits.query, "rank": rank, "score": hits.score} | texts)


def check_queries(queries: Floats, parts: Sequence[Part], k: int, folder: Path) -> None:
    """Raise :class:`ValueRangeError` unless ``queries`` [Q, D] can be compared with the rows of ``parts``."""
    dims = sorted({part.dim for part in parts})
    if k < 1:
        raise ValueRangeError(where="search", found=f"k = {k}", expected="at least 1", remedy="Ask for one neighbor or more.")
    if queries.ndim != 2 or (dims and dims != [queries.shape[1]]):
        raise ValueRangeError(where=folder, found=f"queries {list(queries.shape)}", expected=f"[Q, D] with D = {dims}",
                              remedy="Embed the queries with the encoder that made the table.")
    good = np.isfinite(queries).all(axis=1) & (np.abs(queries).max(axis=1, initial=0.0) > 0)
    if not good.all():
        raise ValueRangeError(where=f"search, query {int(np.argmin(good))}", found="a zero or non-finite vector",
                              expected="a vector with a direction", remedy="Leave it out.")
