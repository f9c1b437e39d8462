"""EdgeConv on neighbor tables (Wang et al. 2019; the block of ParticleNet, Qu & Gouskos 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from geoembed.errors import ConfigError
from geoembed.ops import FoldedWeights, NormedWeights, folded_edge_conv, normed_edge_conv

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d
Map = nn.Linear | nn.Conv1d | nn.Conv2d


class EdgeConv(nn.Module):
    """relu(norm(mean_j MLP[x_i, x_j − x_i] + W x_i)) over a neighbor table: x [..., N, F], table [N, K] -> [..., N, H].

    −1 in the table is no neighbor; a node without neighbors keeps its shortcut. Layer norm stands where ParticleNet has batch
    norm, so that a record's embedding does not depend on its batch.
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
        norm0, _, second, norm1, _, last = self.rest
        parts = (self.first, norm0, second, norm1, last, self.shortcut, self.norm)
        return normed_edge_conv(x, table, NormedWeights(*map(weight_and_bias, parts)))


class FoldedEdgeConv(nn.Module):
    """relu(mean_j MLP[x_i, x_j − x_i] + W x_i), three maps each with ReLU: x [..., N, F], table [N, K] -> [..., N, H].

    The block of ParticleNet as it stands at inference: :meth:`of` takes trained maps with their batch norms.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList([nn.Linear(2 * inputs, outputs), nn.Linear(outputs, outputs), nn.Linear(outputs, outputs)])
        self.shortcut = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        return folded_edge_conv(x, table, FoldedWeights(*map(weight_and_bias, (*self.maps, self.shortcut))))

    @classmethod
    @torch.no_grad()
    def of(cls, maps: Sequence[tuple[Map, BatchNorm]], shortcut: tuple[Map, BatchNorm]) -> Self:
        """The layer of three maps and a shortcut (``Linear``, or ``Conv`` of size 1), each followed by a batch norm in evaluation.

        The first map acts on [x_i; x_j − x_i], as in the paper. Raises :class:`ConfigError` unless there are three maps.
        """
        if len(maps) != 3:
            raise ConfigError(where=cls.__name__, found=f"{len(maps)} maps", expected="3, as in ParticleNet",
                              remedy="Give the three maps of a block, each with its batch norm.")
        folded = [fold_batch_norm(*pair) for pair in (*maps, shortcut)]
        outputs, inputs = folded[-1][0].shape
        layer = cls(inputs, outputs).to(folded[0][0])
        for part, (weight, bias) in zip((*layer.maps, layer.shortcut), folded, strict=True):
            part.weight.copy_(weight)
            part.bias.copy_(bias)
        return layer.eval()


def weight_and_bias(part: nn.Module) -> tuple[Tensor, Tensor]:
    """Parameters of a linear map or a norm that has both."""
    weight, bias = part.weight, part.bias
    if not (isinstance(weight, Tensor) and isinstance(bias, Tensor)):
        raise ConfigError(where=type(part).__name__, found="no weight or no bias", expected="both", remedy="Build the part with bias=True.")
    return weight, bias


def fold_batch_norm(linear: Map, norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Weight [H, F] and bias [H] of a map and the batch norm after it, with the norm's running statistics."""
    if norm.running_mean is None or norm.running_var is None:
        raise ConfigError(where="fold_batch_norm", found="a batch norm without running statistics", expected="running_mean and running_var",
                          remedy="Build the batch norm with track_running_stats=True and train it.")
    weight, bias = linear.weight, linear.bias
    wide = weight.flatten(1).double()
    gain = (norm.running_var.double() + norm.eps).rsqrt() * (1.0 if norm.weight is None else norm.weight.double())
    shift = -norm.running_mean.double() if bias is None else bias.double() - norm.running_mean.double()
    shift = gain * shift + (0.0 if norm.bias is None else norm.bias.double())
    return (gain.unsqueeze(1) * wide).to(weight.dtype), shift.to(weight.dtype)
