"""``search``: the nearest rows of a table for a file, or for a source that is in the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from geoembed.encoders import Encoder, load
from geoembed.errors import EmptyGraphError
from geoembed.io.reader import read
from geoembed.pipeline.choose import kept_for
from geoembed.store import VectorTable, open_table
from geoembed.store.filters import Where


def search(
    table: VectorTable | str | Path, query: str | Path, k: int = 5, *, encoder: str | None = None, where: Where | None = None,
    exact: bool | None = None,
) -> pd.DataFrame:
    """The k nearest rows of each record of ``query`` by cosine: columns query, rank, score, source, record.

    ``query`` is a source of the table, whose own vectors are then taken (it finds itself first), or a file, which is embedded by
    the encoder that made the rows of its sort (or the one called ``encoder``). Column ``query`` holds the record's key.
    ``where`` and ``exact`` say among which rows and how, as in :meth:`geoembed.store.VectorTable.search`.
    """
    opened = table if isinstance(table, VectorTable) else open_table(table)

    def ask(vectors: NDArray[np.float32], records: list[str], name: str) -> pd.DataFrame:
        hits = opened.search(vectors, k, encoder=name, where=where, exact=exact)
        return hits.assign(query=[records[row] for row in hits["query"]])

    stored = [rows for rows in opened.rows_of(str(query)) if encoder in (None, rows[0])]
    found = [ask(vectors, records, name) for name, vectors, records in stored] or _embedded(opened, query, encoder, ask)
    return pd.concat(found, ignore_index=True)


def _embedded(
    table: VectorTable, query: str | Path, name: str | None, ask: Callable[[NDArray[np.float32], list[str], str], pd.DataFrame]
) -> list[pd.DataFrame]:
    reading = read(query)
    loaded: dict[str, Encoder[Any]] = {}
    found = []
    for graph in reading:
        chosen = name or kept_for(table, graph)
        encoder = loaded.setdefault(chosen, loaded.get(chosen) or load(table.encoder_folder(chosen)))
        with torch.inference_mode():
            found.append(ask(encoder(graph).float().numpy(), [graph.record], chosen))
    if not found:
        reasons = "; ".join(bad.reason for bad in reading.quarantined[:3])
        raise EmptyGraphError(where=query, found="no graph", expected="a readable file, or a source of the table", remedy=reasons)
    return found
