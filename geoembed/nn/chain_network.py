"""Samples of a chain to node states: gated convolutions whose edges carry the step between the samples."""

from __future__ import annotations

from torch import Tensor, nn

from geoembed.nn.basis import StepBasis
from geoembed.nn.gated_conv import CrystalGraphConv


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
        edges = self.edge_embed(self.basis(step))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x, edge_index, edges, ptr))
        return x
