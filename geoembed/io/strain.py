"""Gravitational-wave strain as time-frequency grids of excess power, one a window and detector.

In a window of some seconds the power in each frequency band is divided by the median of the band: the noise of a detector,
whose colors span ten decades, becomes flat, and what rises above it for a moment stands out (the normalized energy of
Chatterji et al. 2004, Class. Quantum Grav. 21, S1809, with windows of one length).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log

import torch
from torch import Tensor

from geoembed.errors import EmptyGraphError
from geoembed.graphs.grid import grid_graph
from geoembed.schema import Graph

WINDOW = 4
"""Seconds a record: a merger of black holes stays less than one second above 20 Hz."""

FRAMES, BANDS, PATCH = 200, 128, 8  # the grid that spectrograms of sound have
FREQUENCIES = (20.0, 1600.0)
"""Hz: below, the ground moves the mirrors; above, recordings at 4096 Hz are not calibrated."""

_FRAME = 0.125  # s: resolves 16 Hz with the window below
_FLOOR = 1e-3  # of the median power: a silent frame is not log 0


@dataclass(frozen=True)
class Strain:
    """One window of a detector: samples [T] float64 (NaN: no data), their rate [Hz], and good [T] by the quality mask."""

    samples: Tensor
    rate: int
    good: Tensor

    def to_graph(self) -> Graph:
        """Grid of 16 × 25 patches of 8 × 8; row 0 holds the lowest bands; x = log10 of power over the band's median."""
        excess, measured = excess_power(self.samples, self.rate, self.good)
        return grid_graph(excess.unsqueeze(0), patch=PATCH, mask=measured, modality="spectrogram")


def excess_power(samples: Tensor, rate: int, good: Tensor) -> tuple[Tensor, Tensor]:
    """samples [T], good [T] at ``rate`` a second -> (log10 of power over its median [128, 200] float32, measured [128, 200]).

    Frame i is centered on the middle of the i-th of 200 cells of the window of 4 s; T may be shorter. Not measured are frames
    that touch a sample which is not good, not finite or not there, and bands above half the rate. Samples that are not measured
    change nothing, nor does a factor common to all. Raises :class:`EmptyGraphError` without a whole frame or any power.
    """
    good = good & torch.isfinite(samples)
    width = round(_FRAME * rate)
    center = (torch.arange(FRAMES, dtype=torch.float64) + 0.5) * (WINDOW * rate / FRAMES)
    index = (center - width / 2).round().long().unsqueeze(1) + torch.arange(width)  # [frames, width]
    whole = ((index >= 0) & (index < len(samples))).all(1)
    index = index.clamp(0, max(len(samples) - 1, 0))
    whole &= good[index].all(1) if len(samples) else False
    if not bool(whole.any()):
        raise EmptyGraphError(where="strain", found="no frame of good samples", expected=f"{_FRAME} s of data without a gap",
                              remedy="Leave the window out: the detector was not observing, or the quality mask excludes it.")
    frames = torch.where(good, samples, 0.0)[index[whole]]
    frames = frames - frames.mean(1, keepdim=True)
    # Hann squared: its side lobes fall fast enough for a ground motion that is 10⁵ times the signal
    power = torch.fft.rfft(frames * torch.hann_window(width, dtype=torch.float64).square(), n=_size(rate)).abs().square()
    filters, reachable = _filters(rate)
    banded = filters @ power.T  # [bands, whole frames]
    median = banded.median(1, keepdim=True).values
    reachable = reachable & (median.squeeze(1) > 0)
    if not bool(reachable.any()):
        raise EmptyGraphError(where="strain", found="samples that are all equal", expected="a detector's noise",
                              remedy="Leave the window out.")
    excess = torch.zeros(BANDS, FRAMES)
    relative = banded / median.where(median > 0, 1.0)
    excess[:, whole] = torch.log10(relative.clamp(min=_FLOOR)).float()
    measured = reachable.unsqueeze(1) & whole.unsqueeze(0)
    return torch.where(measured, excess, 0.0), measured


def band_centers() -> Tensor:
    """Frequencies [128] in Hz, equal steps of the logarithm.

    >>> [round(float(f)) for f in band_centers()[[0, 64, 127]]]
    [20, 182, 1600]
    """
    low, high = FREQUENCIES
    return torch.linspace(log(low), log(high), BANDS, dtype=torch.float64).exp()


def _size(rate: int) -> int:
    """Fourier length: a power of two with two bins in the narrowest band."""
    centers = band_centers()
    return 1 << int(2 * rate / float(centers[1] - centers[0])).bit_length()


@lru_cache(maxsize=8)
def _filters(rate: int) -> tuple[Tensor, Tensor]:
    """(triangles [bands, size/2 + 1] over the logarithm of frequency, bands below half the rate [bands])."""
    centers = band_centers().log()
    step = centers[1] - centers[0]
    fourier = (torch.arange(_size(rate) // 2 + 1, dtype=torch.float64) * rate / _size(rate)).clamp(min=1e-3).log()
    filters = (1.0 - (fourier - centers.unsqueeze(1)).abs() / step).clamp(min=0.0)
    return filters, (centers + step).exp() <= rate / 2
