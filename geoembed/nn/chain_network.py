"""Samples of a chain to node states: gated convolutions whose edges carry the step between the samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geoembed.nn.basis import StepBasis
from geoembed.nn.gated_conv import CrystalGraphConv
from geoembed.ops import gated_serves, plan_edges


class ChainNetwork(nn.Module):
    """x [N, H], edge_index [2, E] sorted by target with bounds ptr [N+1], steps [E, 1] -> [N, H].

    Offsets 1…16 and L layers reach 16·L samples to each side.
    """

    def __init__(self, hidden_dim: int, layers: int, basis: StepBasis) -> None:
        super().__init__()
        self.basis = basis
        self.edge_embed = nn.Linear(basis.width, hidden_dim)
        self.convs = nn.ModuleList(CrystalGraphConv(hidden_dim, hidden_dim) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_dim) for _ in range(layers))

    def forward(self, x: Tensor, edge_index: Tensor, step: Tensor, ptr: Tensor) -> Tensor:
        features = self.basis(step)
        fused = gated_serves(x, features.shape[1])
        plan = plan_edges(edge_index, ptr, gradients=torch.is_grad_enabled(), unsafe=True) if fused else None
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x, edge_index, features, ptr, embed=self.edge_embed, plan=plan))
        return x
