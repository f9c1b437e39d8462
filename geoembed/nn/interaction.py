"""Interaction network on a relation between two node sets (Battaglia et al. 2016; as in Lam et al. 2023, GraphCast)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from geoembed.nn.mlp import mlp
from geoembed.ops import segment_sum


class InteractionNetwork(nn.Module):
    """One step along a relation: (source [..., S, H], target [..., T, H], edges [E, H] or [..., E, H]) -> (target′, edges′).

    edges′ = edges + MLP[edges, source_s, target_t]; target′ = target + MLP[target, Σ edges′]. The first linear map is split by
    columns and applied to nodes before gathering. Edges are sorted by target; ``ptr`` [T+1] bounds them.
    """

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.edge_first = nn.Linear(3 * hidden_dim, hidden_dim)
        self.edge_second = nn.Linear(hidden_dim, hidden_dim)
        self.edge_norm = nn.LayerNorm(hidden_dim)
        self.node_mlp = mlp(2 * hidden_dim, hidden_dim, hidden_dim, activation=nn.SiLU)
        self.node_norm = nn.LayerNorm(hidden_dim)

    def forward(self, source: Tensor, target: Tensor, edges: Tensor, edge_index: Tensor, ptr: Tensor) -> tuple[Tensor, Tensor]:
        of_edge, of_source, of_target = self.edge_first.weight.chunk(3, dim=1)
        hidden = (
            linear(edges, of_edge)
            + linear(source, of_source).index_select(-2, edge_index[0])
            + linear(target, of_target, self.edge_first.bias).index_select(-2, edge_index[1])
        )
        edges = edges + self.edge_norm(self.edge_second(nn.functional.silu(hidden)))
        received = segment_sum(edges, ptr)
        target = target + self.node_norm(self.node_mlp(torch.cat([target, received], dim=-1)))
        return target, edges
