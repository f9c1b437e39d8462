"""``check``: how much an encoder feels what it says that it does not feel, measured in float64 on random group elements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geoembed.graphs.symmetries import Symmetry
from geoembed.schema import Graph, GraphBatch


@dataclass(frozen=True)
class Deviation:
    """Worst difference of an embedding under one symmetry.

    Attributes:
        symmetry: name of the group action.
        worst: largest absolute difference of a component, over all graphs and draws.
        graph: record of the graph where it was met.
        draws: number of group elements tried, all graphs together.
    """

    symmetry: str
    worst: float
    graph: str
    draws: int


class InvarianceReport(tuple[Deviation, ...]):
    """Deviations, one a symmetry; prints as a table."""

    @property
    def worst(self) -> float:
        """Largest deviation of all; 0 where nothing was declared."""
        return max((row.worst for row in self), default=0.0)

    def __str__(self) -> str:
        width = max((len(row.symmetry) for row in self), default=8)
        lines = [f"{'symmetry':<{width}}  worst deviation  draws  graph"]
        lines += [f"{row.symmetry:<{width}}  {row.worst:15.2e}  {row.draws:5d}  {row.graph}" for row in self]
        return "\n".join(lines)

    __repr__ = __str__


def check(
    encoder: nn.Module, graphs: Iterable[Graph], *, symmetries: Sequence[Symmetry] | None = None, draws: int = 4, seed: int = 0
) -> InvarianceReport:
    """Every declared symmetry of ``encoder`` (or the given ones), measured on ``graphs`` in float64 with ``draws`` elements each.

    Works for any module that maps a :class:`GraphBatch` to [B, D]; the encoder itself is left as it is.
    """
    double: Any = deepcopy(encoder).double().eval()
    declared = symmetries if symmetries is not None else double.symmetries
    generator = torch.Generator().manual_seed(seed)
    objects = list(graphs)
    with torch.no_grad():
        plain = [_embed(double, graph) for graph in objects]
        rows = []
        for symmetry in declared:
            found = [
                (float((_embed(double, symmetry.apply(graph, generator)) - vector).abs().max()), graph.record)
                for graph, vector in zip(objects, plain, strict=True) for _ in range(draws)
            ]
            worst, record = max(found, default=(0.0, ""))
            rows.append(Deviation(symmetry.name, worst, record, len(found)))
    return InvarianceReport(rows)


def _embed(encoder: nn.Module, graph: Graph) -> Tensor:
    vector: Tensor = encoder(GraphBatch.from_data_list([graph]))
    return vector
