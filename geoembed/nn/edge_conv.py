"""EdgeConv on neighbor tables (Wang et al. 2019; the block of ParticleNet, Qu & Gouskos 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from geoembed.ops import gather_neighbors


class EdgeConv(nn.Module):
    """relu(W x_i + mean_j MLP[x_i, x_j − x_i]) over a neighbor table: x [..., N, F], table [N, K] -> [..., N, H].

    −1 in the table is no neighbor; a node without neighbors keeps its shortcut. Layer norm stands where ParticleNet has batch
    norm, so that a record's embedding does not depend on its batch. The first linear map is factorized:
    W [x_i; x_j − x_i] = (W_a − W_b) x_i + W_b x_j.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(2 * inputs, outputs)
        self.rest = nn.Sequential(
            nn.LayerNorm(outputs), nn.ReLU(), nn.Linear(outputs, outputs), nn.LayerNorm(outputs), nn.ReLU(), nn.Linear(outputs, outputs)
        )
        self.shortcut = nn.Linear(inputs, outputs)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        at_self, at_other = self.first.weight.chunk(2, dim=1)
        neighbors, exists = gather_neighbors(linear(x, at_other), table)  # [..., N, K, H]
        own = linear(x, at_self - at_other, self.first.bias).unsqueeze(-2)
        messages = self.rest(own + neighbors).where(exists, 0.0)
        mean = messages.sum(-2) / exists.sum(-2).clamp(min=1)
        return torch.relu(self.norm(mean + self.shortcut(x)))
