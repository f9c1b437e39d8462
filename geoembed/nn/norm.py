"""Scales: unit length that is safe at zero, and standardization with stored statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn


def safe_norm(x: Tensor) -> Tensor:
    """Euclidean length of the last axis, kept as an axis of 1: value 0 and gradient 0 at the zero vector."""
    square = x.square().sum(-1, keepdim=True)
    some = square != 0  # not > 0: NaN stays NaN
    return square.where(some, 1.0).sqrt().where(some, 0.0)


def unit_length(x: Tensor) -> Tensor:
    """x [..., D] divided by its length, in float32 or wider; the zero vector stays zero, with gradient 0.

    >>> unit_length(torch.tensor([[3., 4.], [0., 0.]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    norm = safe_norm(wide)
    return (wide / norm.where(norm != 0, 1.0)).where(norm != 0, 0.0)


class Standardize(nn.Module):
    """(x − mean) / scale a channel; the statistics are buffers, stored with the weights. Starts as the identity.

    Args:
        channels: number of channels C.
        repeat: consecutive columns that belong to one channel (the pixels of a patch): x [..., C · repeat].
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int, repeat: int = 1) -> None:
        super().__init__()
        self.repeat = repeat
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Statistics stay in float32 at least: rounded to bfloat16, a pressure of 101,325 Pa is 51 Pa off."""
        kept = self.mean, self.scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.mean.dtype in (torch.float16, torch.bfloat16):
            self.mean, self.scale = (statistic.to(self.mean.device) for statistic in kept)
        return self

    def forward(self, x: Tensor, measured: Tensor) -> Tensor:
        """Standardized x where ``measured``, 0 elsewhere; what is not measured is never read. Not narrower than x and float32."""
        mean, scale = (s.repeat_interleave(self.repeat) if self.repeat > 1 else s for s in (self.mean, self.scale))
        return ((x.where(measured, 0.0) - mean) / scale).where(measured, 0.0)

    @torch.no_grad()
    def fit(self, x: Tensor, measured: Tensor) -> None:
        """Take mean and standard deviation of the measured entries of x [..., C · repeat]; float64 inside."""
        values = x.double().where(measured, 0.0).reshape(-1, len(self.mean), self.repeat)
        known = measured.reshape(values.shape)
        count = known.sum((0, 2)).clamp(min=1)
        mean = values.sum((0, 2)) / count
        deviation = ((values - mean.view(1, -1, 1)).where(known, 0.0).square().sum((0, 2)) / count).sqrt()
        self.mean.copy_(mean)
        # A constant channel keeps its unit: dividing by its rounding noise would blow that up.
        self.scale.copy_(deviation.where(deviation > 1e-6 * mean.abs().clamp(min=1e-30), 1.0))
