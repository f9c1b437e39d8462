"""The one validator: at the exit of a builder and, as a single device reduction, at the entry of an encoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from geoembed.errors import MissingFieldError, SchemaError
from geoembed.schema.batch import GraphBatch
from geoembed.schema.fields import BOOKKEEPING, FIELDS, level_of
from geoembed.schema.graph import CHECKED, Graph


def validate(graph: Graph) -> Graph:
    """Return ``graph`` if it keeps the contract; raise :class:`SchemaError` naming field, found, expected, remedy.

    Checks names, ranks, dtypes, lengths a level, index ranges, edge order and that every number that may be read is finite.
    """
    sizes = {"node": int(graph.num_nodes or 0), "edge": graph.num_edges, "graph": 1}
    if "token_node" not in graph:
        sizes["token"] = sizes["node"]
    for name, value in graph.items():
        if name not in BOOKKEEPING:
            _check_field(graph, name, value, sizes)
    for where, found, expected, bad in _conditions(graph):
        if bool(bad):
            raise SchemaError(where=f"{_name(graph)}: {where}", found=found, expected=expected, remedy=_REMEDY)
    graph.__dict__[CHECKED] = True
    return graph


def ensure_valid(graph: Graph) -> Graph:
    """:func:`validate`, unless that was done since a field was last set: for graphs that come straight from their builder."""
    return graph if graph.__dict__.get(CHECKED) else validate(graph)


def validate_parts(graphs: Sequence[Graph], whole: GraphBatch) -> None:
    """:func:`validate` of graphs that one builder cut from ``whole``: names, ranks and dtypes of the first, numbers of all at once."""
    check_batch(whole, ())
    if graphs:
        validate(graphs[0])
    for graph in graphs:
        graph.__dict__[CHECKED] = True


def check_batch(batch: GraphBatch, needs: Iterable[str], vocabulary: Sequence[tuple[int, int]] = ()) -> None:
    """Raise unless ``batch`` has the fields that an encoder reads and they keep the contract; one device synchronization.

    ``vocabulary``: lowest and highest legal token of each column of ``token``. Under ``torch.compile`` only the presence of
    fields is checked.
    """
    missing = sorted(set(needs) - set(batch.keys()))
    if missing:
        raise MissingFieldError(
            where=repr(batch), found=sorted(set(batch.keys()) - BOOKKEEPING), expected=missing,
            remedy="Build the graph with the builder of its kind, or connect it with geoembed.graphs.connect.",
        )
    if torch.compiler.is_compiling():
        return
    conditions = list(_conditions(batch))
    for column, (low, high) in enumerate(vocabulary):
        token = batch.token[..., column]
        outside = ((token < low) | (token > high)).any()
        conditions.append((f"token, column {column}", "a token outside the vocabulary", f"{low}…{high}", outside))
    if conditions and bool(torch.stack([bad for *_, bad in conditions]).any()):
        where, found, expected, _ = next(row for row in conditions if bool(row[-1]))
        raise SchemaError(where=f"{batch!r}: {where}", found=found, expected=expected, remedy=_REMEDY)


_REMEDY = "Build the graph with a geoembed builder, or correct the field."


def _name(graph: Graph) -> str:
    return " ".join(part for part in (graph.source, graph.record) if part) or graph.kind


def _check_field(graph: Graph, name: str, value: object, sizes: dict[str, int]) -> None:
    level = level_of(name)
    if level is None or not isinstance(value, Tensor):
        raise SchemaError(
            where=f"{_name(graph)}: {name}", found=type(value).__name__,
            expected=f"a tensor called one of {', '.join(FIELDS)} or node_*, edge_*, graph_*",
            remedy="Rename the field so that its prefix states its level.",
        )
    axis = 0
    if name in FIELDS:
        field = FIELDS[name]
        axis = field.axis
        if value.dim() != field.ndim or value.dtype not in field.dtypes:
            raise SchemaError(
                where=f"{_name(graph)}: {name}", found=f"{list(value.shape)} {value.dtype}",
                expected=f"{field.shape} {' or '.join(map(str, field.dtypes))}", remedy=_REMEDY,
            )
    rows = sizes.setdefault(level, value.shape[axis])
    if value.shape[axis] != rows:
        raise SchemaError(
            where=f"{_name(graph)}: {name}", found=f"{value.shape[axis]} rows", expected=f"{rows} rows (one a {level})", remedy=_REMEDY
        )


def _conditions(graph: Graph) -> Iterable[tuple[str, str, str, Tensor]]:
    """(where, found, expected, bad) with ``bad`` a boolean scalar on the device; for a graph or a batch, flat or stacked."""
    fields = graph.to_dict()  # PyG makes a list of names at each look into a graph
    if "x" in fields:
        x = fields["x"]
        read = torch.isfinite(x)
        if "mask" in fields:
            read = read | ~fields["mask"].unsqueeze(-1)
        if "measured" in fields:
            read = read | ~fields["measured"]
        yield "x", "NaN or infinity in a measured entry", "finite numbers, or mask/measured False there", ~read.all()
    for name in ("pos", "edge_attr", "weight", "token_weight", "cell"):
        if name in fields:
            yield name, "NaN or infinity", "finite numbers", ~torch.isfinite(fields[name]).all()
    yield from _edge_conditions(graph, fields)
    if "token" in fields:
        yield "token", "a negative token", "≥ 0", (fields["token"] < 0).any()
    if "token_node" in fields:
        owner = fields["token_node"]
        yield "token_node", "out of order", "non-decreasing node indices", (owner.diff() < 0).any()
        yield "token_node", "an index outside the graph", *_range(owner, int(graph.num_nodes or 0))


def _edge_conditions(graph: Graph, fields: dict[str, Tensor]) -> Iterable[tuple[str, str, str, Tensor]]:
    if "edge_index" not in fields or not fields["edge_index"].numel():
        return
    index = fields["edge_index"]
    yield "edge_index", "an index outside the graph", *_range(index, int(graph.num_nodes or 0))
    falls = index[1, 1:] < index[1, :-1]
    if "edge_kind" in fields:  # sorted within a kind
        step = fields["edge_kind"].diff()
        falls, kinds_fall = falls & (step == 0), step < 0
        if "ptr" in fields:  # each graph of a batch starts its kinds again
            kinds_fall = kinds_fall & (torch.bucketize(index[1], fields["ptr"][1:], right=True).diff() == 0)
        yield "edge_kind", "kinds that are not contiguous", "non-decreasing kinds in a graph", kinds_fall.any()
    yield "edge_index", "targets out of order", "non-decreasing targets (within an edge kind)", falls.any()
    if "angle_index" in fields and fields["angle_index"].numel():
        yield "angle_index", "an index outside the edges", *_range(fields["angle_index"], index.shape[1])


def _range(index: Tensor, size: int) -> tuple[str, Tensor]:
    """(what is expected, whether an entry lies outside 0…size − 1)."""
    return f"0…{size - 1}", (index.amin() < 0) | (index.amax() >= size) if index.numel() else index.new_zeros((), dtype=torch.bool)
