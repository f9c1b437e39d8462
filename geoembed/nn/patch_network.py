"""Patches of an image to node states: embedding of the pixels, then convolutions over the patch grid."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from geoembed.nn.mlp import mlp
from geoembed.nn.neighbor_conv import NeighborConv
from geoembed.nn.norm import Standardize
from geoembed.ops import table_from_edges

NEIGHBORS = 8
"""In-degree of an inner patch of the 3 × 3 neighborhood."""


class PatchEmbedding(nn.Module):
    """Pixels and which of them were measured -> node states: x, measured [..., N, C·p·p] -> [..., N, H]."""

    def __init__(self, channels: int, patch: int, hidden_dim: int) -> None:
        super().__init__()
        width = channels * patch * patch
        self.norm = Standardize(channels, repeat=patch * patch)
        self.pixels = mlp(2 * width, hidden_dim, hidden_dim, activation=nn.SiLU)

    def forward(self, x: Tensor, measured: Tensor) -> Tensor:
        values: Tensor = self.norm(x, measured).to(cast(nn.Linear, self.pixels[0]).weight.dtype)
        return self._embed(values, measured)

    def _embed(self, values: Tensor, measured: Tensor) -> Tensor:
        embedded: Tensor = self.pixels(torch.cat([values, measured.to(values.dtype)], dim=-1))
        return embedded


class TurnAveragedEmbedding(PatchEmbedding):
    """:class:`PatchEmbedding` averaged over the 8 turns and flips of the square: no orientation is left in a node's state."""

    turns: Tensor

    def __init__(self, channels: int, patch: int, hidden_dim: int) -> None:
        super().__init__(channels, patch, hidden_dim)
        pixel = torch.arange(channels * patch * patch).view(channels, patch, patch)
        views = [view.rot90(k, (1, 2)).flatten() for view in (pixel, pixel.flip(2)) for k in range(4)]
        self.register_buffer("turns", torch.stack(views), persistent=False)  # [8, C·p·p]

    def _embed(self, values: Tensor, measured: Tensor) -> Tensor:
        states = [super(TurnAveragedEmbedding, self)._embed(values[..., t], measured[..., t]) for t in self.turns.unbind(0)]
        return torch.stack(states).mean(0)


class PatchNetwork(nn.Module):
    """Node states of a patch grid: x, measured [..., N, C·p·p], mask [..., N] and the grid's edges -> [..., N, H].

    ``isotropic``'s geometry is the distance alone and its pixels are averaged over turns and flips; otherwise edges carry
    (distance, rows, columns). The two are chosen by the class of the embedding, :class:`PatchEmbedding` or
    :class:`TurnAveragedEmbedding`.
    """

    def __init__(self, embedding: PatchEmbedding, hidden_dim: int, layers: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.geometry_dim = 1 if isinstance(embedding, TurnAveragedEmbedding) else 3
        self.convs = nn.ModuleList(NeighborConv(hidden_dim, self.geometry_dim) for _ in range(layers))

    def forward(self, x: Tensor, measured: Tensor, mask: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        table, numbers = table_from_edges(edge_index, x.shape[-2], NEIGHBORS)
        geometry = edge_attr[:, : self.geometry_dim]
        # Row 0 stands for the geometry of a missing neighbor, which is never read: also of a graph without edges.
        rows = torch.nn.functional.pad(geometry, (0, 0, 1, 0))
        states: Tensor = self.embedding(x, measured)
        for conv in self.convs:
            states = conv(states, table, rows[numbers + 1], mask)
        return states
