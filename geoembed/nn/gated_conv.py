"""Gated graph convolution of crystals (after Xie & Grossman 2018, eq. 5), used on chains too."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from geoembed.ops import EdgePlan, LayerWeights, gated_sum


class CrystalGraphConv(nn.Module):
    """x_t + MLP[x_t, Σ_s x_s · sigmoid(MLP[x_s, x_t, e_st])]: x [..., N, H], edge_index [2, E], edge_attr [E, G] -> [..., N, H].

    Row 0 of ``edge_index`` is the source. Edges may come in any order; ``ptr`` [N+1], the bounds of each target's edges where
    they are sorted, spares the scatter and makes the sum deterministic on a GPU; with the ``plan`` of the edges kernels may run.
    """

    def __init__(self, hidden_dim: int, edge_dim: int) -> None:
        super().__init__()
        self.edge_mlp = nn.Sequential(
            nn.Linear(2 * hidden_dim + edge_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, hidden_dim), nn.Sigmoid()
        )
        self.node_mlp = nn.Sequential(nn.Linear(2 * hidden_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, hidden_dim))

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, ptr: Tensor | None = None, *, embed: nn.Linear | None = None,
        plan: EdgePlan | None = None,
    ) -> Tensor:
        """``embed`` maps edge_attr to the G features of an edge; it is folded into the first linear map and never applied to edges."""
        update: Tensor = self.node_mlp[2](self.hidden(x, edge_index, edge_attr, ptr, embed=embed, plan=plan))
        return x + update

    def hidden(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, ptr: Tensor | None = None, *, embed: nn.Linear | None = None,
        plan: EdgePlan | None = None,
    ) -> Tensor:
        """Hidden layer [..., N, H] of the update: what is left to do is linear, and may be done after a mean over nodes."""
        second = cast(nn.Linear, self.edge_mlp[2])
        received = gated_sum(x, edge_index, edge_attr, self.first(embed), (second.weight, second.bias), ptr, plan)
        inner, h = cast(nn.Linear, self.node_mlp[0]), x.shape[-1]
        return torch.relu(linear(x, inner.weight[:, :h], inner.bias) + linear(received, inner.weight[:, h:]))

    def first(self, embed: nn.Linear | None) -> tuple[Tensor, Tensor]:
        """Weight and bias of the first linear map of an edge, of [x_s, x_t, what ``embed`` reads]: W (V f + v) = (W V) f + W v."""
        first = cast(nn.Linear, self.edge_mlp[0])
        if embed is None:
            return first.weight, first.bias
        wide = first.in_features - embed.out_features
        nodes, of_edge = first.weight[:, :wide], first.weight[:, wide:]
        return torch.cat([nodes, of_edge @ embed.weight], dim=1), first.bias + of_edge @ embed.bias

    def weights(self, embed: nn.Linear | None) -> LayerWeights:
        """All maps of the layer, ``embed`` folded into the first."""
        second, inner, outer = (cast(nn.Linear, module) for module in (self.edge_mlp[2], self.node_mlp[0], self.node_mlp[2]))
        return LayerWeights(*self.first(embed), second.weight, second.bias, inner.weight, inner.bias, outer.weight, outer.bias)
