"""A table in the currencies of other libraries: AnnData for single-cell tools, a networkx graph of nearest neighbors."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from geoembed.errors import MissingExtraError, ValueRangeError

if TYPE_CHECKING:
    import networkx as nx

    from geoembed.store.table import VectorTable

_QUERIES = 4096  # rows that ask for their neighbors at once
_NODE = ("source", "record", "kind", "modality")


def rows_frame(table: VectorTable, encoder: str | None) -> pd.DataFrame:
    """Where the rows of one encoder came from, in row order: source, record, kind, modality, notes (JSON)."""
    columns = [*_NODE, "notes"]
    frames = [pq.read_table(table.folder / part.file, columns=columns).to_pandas() for part in table.parts_of(encoder)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def to_anndata(table: VectorTable, encoder: str | None = None) -> Any:
    """The rows of one encoder as an ``anndata.AnnData``: ``X`` [n, D] float32; ``obs``: source, record, kind, modality, notes (JSON),
    named by row number; ``uns``: the encoder and the hash of its weights.

    Raises :class:`MissingExtraError` without the extra ``anndata``, :class:`UnknownNameError` where an encoder has to be named.
    """
    try:
        anndata = import_module("anndata")
    except ImportError as error:
        raise MissingExtraError(where="to_anndata", found=f"no anndata ({error})", expected="an installed library",
                                remedy="pip install 'geoembed[anndata]'") from error
    vectors, frame = table.vectors(encoder), rows_frame(table, encoder).astype(object)  # AnnData does not write pandas' own strings
    frame.index, columns = _names(len(frame)), pd.DataFrame(index=_names(vectors.shape[1]))
    names = {part.encoder: part.weights for part in table.parts_of(encoder)} or {"": ""}
    ((name, weights),) = names.items()
    return anndata.AnnData(vectors, obs=frame, var=columns, uns={"encoder": name, "weights": weights})


def _names(n: int) -> pd.Index[Any]:
    return pd.Index([str(i) for i in range(n)], dtype=object)


def to_networkx(table: VectorTable, k: int = 5, encoder: str | None = None) -> nx.DiGraph:
    """The k-nearest-neighbor graph of the rows of one encoder: an edge i → j says that row j is one of the k rows most similar to
    row i, itself left out, and carries their cosine as ``score``.

    Nodes are row numbers (as in ``vectors(encoder)``) with source, record, kind and modality. To be near is not mutual:
    ``to_undirected()`` joins rows of which one is near the other, ``to_undirected(reciprocal=True)`` those of which both are.
    Rows are compared as in ``search``. Raises :class:`ValueRangeError` for k < 1.
    """
    import networkx as nx

    if k < 1:
        raise ValueRangeError(where="to_networkx", found=f"k = {k}", expected="at least 1", remedy="Ask for one neighbor or more.")
    graph = nx.DiGraph()
    vectors, rows = table.vectors(encoder), rows_frame(table, encoder)[list(_NODE)]
    graph.add_nodes_from(enumerate(rows.to_dict("records")))
    for start in range(0, len(vectors), _QUERIES):
        hits = table.nearest(vectors[start : start + _QUERIES], k + 1, encoder=encoder)
        query = hits.query + start
        others = hits.row != query
        # A row that has k + 1 equals of smaller numbers does not find itself: then the last of its neighbors is one too many
        rank = np.cumsum(others) - np.concatenate([[0], np.cumsum(others)])[np.searchsorted(query, query)]
        keep = others & (rank <= k)
        edges = zip(query[keep].tolist(), hits.row[keep].tolist(), hits.score[keep].tolist(), strict=True)
        graph.add_weighted_edges_from(edges, weight="score")
    return graph
