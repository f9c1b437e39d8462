"""Bases: how a distance, a signed step or a position enters a layer."""

from __future__ import annotations

import math

import torch
from e3nn.math import soft_one_hot_linspace
from torch import Tensor, nn


class RadialBasis(nn.Module):
    """Distances [..., E, 1] -> Gaussians [..., E, count], evenly spaced on [start, end] (e3nn's ``soft_one_hot_linspace``)."""

    def __init__(self, start: float, end: float, count: int) -> None:
        super().__init__()
        self.start, self.end, self.count = start, end, count

    def forward(self, distance: Tensor) -> Tensor:
        values: Tensor = soft_one_hot_linspace(distance.squeeze(-1), self.start, self.end, self.count, basis="gaussian", cutoff=False)
        return values


class StepBasis(nn.Module):
    """Signed steps [..., E, 1] -> [..., E, 2·scales]: asinh(Δ/τ) and exp(−|Δ|/τ) for time scales τ, geometrically spaced.

    Odd and even parts: negating Δ negates the first half and keeps the second, which is how the opposite strand of a
    sequence is read.
    """

    scale: Tensor

    def __init__(self, shortest: float, longest: float, scales: int = 6) -> None:
        super().__init__()
        self.register_buffer("scale", torch.logspace(math.log10(shortest), math.log10(longest), scales), persistent=False)

    @property
    def width(self) -> int:
        """Number of outputs."""
        return 2 * len(self.scale)

    def forward(self, step: Tensor) -> Tensor:
        ratio = step / self.scale.to(step.dtype)
        return torch.cat([torch.asinh(ratio), torch.exp(-ratio.abs())], dim=-1)


class PositionBasis(nn.Module):
    """Positions [..., N, 1] on [start, end] -> sines and cosines [..., N, 2·waves], wavelengths from the range down by halves."""

    frequency: Tensor

    def __init__(self, start: float, end: float, waves: int) -> None:
        super().__init__()
        self.start = start
        self.register_buffer("frequency", torch.pi * 2.0 ** torch.arange(waves) / (end - start), persistent=False)

    @property
    def width(self) -> int:
        """Number of outputs."""
        return 2 * len(self.frequency)

    def forward(self, position: Tensor) -> Tensor:
        angle = (position - self.start) * self.frequency.to(position.dtype)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)
