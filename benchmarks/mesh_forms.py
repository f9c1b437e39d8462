"""Interaction networks and the weather encoder as others would write them, on the parameters of ours.

``naive``: edges and both ends concatenated before the first linear map. ``factorized``: the map split by columns, projections on
nodes; where nothing learns, what depends on the static edges alone is computed once. Layers take and give (target [T, H], edges
[E, H]); edges are sorted by target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import torch
from geoembed.nn import Standardize, mlp
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, silu
from torch.utils.checkpoint import checkpoint

Step = Callable[..., tuple[Tensor, Tensor]]
"""(layer, source [S, H], target [T, H], edges [E, H], edge_index [2, E]) -> (target′, edges′)."""


class PlainInteraction(nn.Module):
    """The parts of a layer, named as ours."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.edge_first, self.edge_second, self.edge_norm = nn.Linear(3 * hidden, hidden), nn.Linear(hidden, hidden), nn.LayerNorm(hidden)
        self.node_mlp, self.node_norm = mlp(2 * hidden, hidden, hidden, activation=nn.SiLU), nn.LayerNorm(hidden)

    def updated(self, target: Tensor, received: Tensor) -> Tensor:
        """target + MLP[target, Σ edges′]."""
        update: Tensor = self.node_norm(self.node_mlp(torch.cat([target, received], -1)))
        return target + update


def naive(layer: PlainInteraction, source: Tensor, target: Tensor, edges: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
    """Edge features and both ends side by side, [E, 3H]."""
    both = torch.cat([edges, source[edge_index[0]], target[edge_index[1]]], -1)
    edges = edges + layer.edge_norm(layer.edge_second(silu(layer.edge_first(both))))
    return layer.updated(target, torch.zeros_like(target).index_add_(0, edge_index[1], edges)), edges


def factorized(layer: PlainInteraction, source: Tensor, target: Tensor, edges: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
    """Projections of nodes are gathered."""
    of_edge, of_source, of_target = layer.edge_first.weight.chunk(3, 1)
    hidden = (linear(edges, of_edge) + linear(source, of_source)[edge_index[0]]
              + linear(target, of_target, layer.edge_first.bias)[edge_index[1]])
    edges = edges + layer.edge_norm(layer.edge_second(silu(hidden)))
    return layer.updated(target, torch.zeros_like(target).index_add_(0, edge_index[1], edges)), edges


def in_pieces(layer: PlainInteraction, source: Tensor, target: Tensor, edges: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`naive`, 2¹⁸ edges at a time: in float64 the whole would not fit on a card."""
    received, parts = torch.zeros_like(target), []
    for some, ends in zip(edges.split(1 << 18), edge_index.split(1 << 18, dim=1), strict=True):
        both = torch.cat([some, source[ends[0]], target[ends[1]]], -1)
        parts.append(some + layer.edge_norm(layer.edge_second(silu(layer.edge_first(both)))))
        received = received.index_add(0, ends[1], parts[-1])
    return layer.updated(target, received), torch.cat(parts)


def kept(step: Step) -> Step:
    """A step that is computed again in the backward pass."""
    return lambda *inputs: cast(tuple[Tensor, Tensor], checkpoint(step, *inputs, use_reentrant=False))


class Field(NamedTuple):
    """One state on the sphere, as a form takes it: no size is read back from the device when it is used."""

    values: Tensor  # [P, C]
    measured: Tensor  # [P, C]
    grid: Tensor  # [P, 2] sine and cosine of the latitude
    mesh: Tensor  # [M, 2]
    bridge: Tensor  # [2, E'] grid to mesh
    bridge_attr: Tensor  # [E', 3]
    inner: Tensor  # [2, E] on the mesh
    inner_attr: Tensor  # [E, 3]
    weight: Tensor  # [M]

    def to(self, dtype: torch.dtype) -> Field:
        """Floating parts in another dtype."""
        return Field(*(part.to(dtype) if part.is_floating_point() else part for part in self))


def field_of(batch: Mapping[str, Tensor]) -> Field:
    """The first state of a stacked batch, whose nodes are the grid's, then the mesh's."""
    on_mesh = batch["node_kind"] == 1
    latitude = torch.stack([batch["pos"][:, 2], (1 - batch["pos"][:, 2].square()).clamp(min=0).sqrt()], -1)
    place = torch.where(on_mesh, on_mesh.cumsum(0), (~on_mesh).cumsum(0)) - 1
    (bridge, bridge_attr), (inner, inner_attr) = (
        (place[batch["edge_index"][:, batch["edge_kind"] == kind]], batch["edge_attr"][batch["edge_kind"] == kind]) for kind in (0, 1))
    measured = (batch["measured"] & batch["mask"].unsqueeze(-1))[0, ~on_mesh]
    return Field(batch["x"][0, ~on_mesh], measured, latitude[~on_mesh], latitude[on_mesh], bridge, bridge_attr, inner, inner_attr,
                 batch["weight"][on_mesh])


class PlainWeather(nn.Module):
    """The encoder of one state with any step; its parameters are named as ours."""

    def __init__(self, features: int, hidden: int, layers: int, embedding: int) -> None:
        super().__init__()
        self.norm = Standardize(features)
        sizes = {"grid_embed": 2 * features + 2, "mesh_embed": 2, "bridge_embed": 3, "edge_embed": 3}
        for name, width in sizes.items():
            self.add_module(name, mlp(width, hidden, hidden, activation=nn.SiLU))
        self.grid_to_mesh = PlainInteraction(hidden)
        self.processor = nn.ModuleList(PlainInteraction(hidden) for _ in range(layers))
        self.readout = mlp(hidden, hidden, embedding, activation=nn.SiLU)

    def static(self, field: Field) -> tuple[Tensor, Tensor]:
        """Embedded edges, which depend on no state."""
        return self.get_submodule("bridge_embed")(field.bridge_attr), self.get_submodule("edge_embed")(field.inner_attr)

    def forward(self, field: Field, step: Step, static: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Unit vector [1, D]; ``static`` edges are computed anew where they are not given."""
        bridge, edges = static or self.static(field)
        values = self.norm(field.values, field.measured)
        points = self.get_submodule("grid_embed")(torch.cat([values, field.measured.to(values.dtype), field.grid], -1))
        nodes, _ = step(self.grid_to_mesh, points, self.get_submodule("mesh_embed")(field.mesh), bridge, field.bridge)
        for layer in self.processor:
            nodes, edges = step(layer, nodes, nodes, edges, field.inner)
        share = (field.weight / field.weight.sum()).unsqueeze(-1)
        return normalize(self.readout((nodes * share).sum(0, keepdim=True)), dim=-1)
