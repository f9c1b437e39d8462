"""Log-mel spectrograms of sound at any sample rate, in absolute units: decibels of power in a band, relative to full scale.

Mel scale: O'Shaughnessy 1987, "Speech Communication", p. 150, m = 2595 · log10(1 + f / 700 Hz); triangular bands that are
linear in mel: HTK (Young et al. 2006, "The HTK Book", section 5.6). Band powers are integrals over frequency in Hz, so the
same sound has the same spectrogram whatever rate it was sampled at, and nothing needs to be resampled.
"""

from __future__ import annotations

from functools import lru_cache
from os import PathLike

import torch
from torch import Tensor

from geoembed.errors import EmptyGraphError, ValueRangeError

BINS = 128
FRAME, HOP = 0.025, 0.015  # s; 200 frames are 3 s
FLOOR = -100.0
"""dB; a full-scale 16-bit recording has its rounding noise at about −98 dB."""

AUDIBLE = 16_000.0
"""Upper end of the mel scale [Hz] for ordinary recordings: few birds, frogs or mammals call above it."""

ULTRASONIC = 64_000
"""Sample rate [Hz] above which a recording was made for ultrasound: its mel scale then ends at its own Nyquist frequency."""

RATES = (200, 2_000_000)
"""Sample rates [Hz] from geophones to hydrophones for porpoises; a header that says something else is damaged."""


def mel(frequency: Tensor) -> Tensor:
    """Hertz to mel.

    >>> round(float(mel(torch.tensor(1000.0))))
    1000
    """
    return 2595.0 * torch.log10(1.0 + frequency / 700.0)


def hertz(mels: Tensor) -> Tensor:
    """Mel to hertz, the inverse of :func:`mel`."""
    return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)


def top_frequency(rate: int) -> float:
    """Upper end [Hz] of the mel scale used for a recording of ``rate`` samples a second.

    >>> top_frequency(8000), top_frequency(48000), top_frequency(384000)
    (16000.0, 16000.0, 192000.0)
    """
    return rate / 2 if rate > ULTRASONIC else AUDIBLE


def check_rate(where: str | PathLike[str], rate: int) -> None:
    """Raise :class:`ValueRangeError` for a sample rate outside :data:`RATES`."""
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueRangeError(
            where=where, found=f"{rate} samples a second", expected=f"{RATES[0]}…{RATES[1]}",
            remedy="Correct the rate in the file's header.",
        )


def band_edges(top: float, bins: int = BINS) -> Tensor:
    """Frequencies [bins + 2] in Hz, float64: band m rises from edge m to edge m + 1 and falls to edge m + 2."""
    return hertz(torch.linspace(0.0, float(mel(torch.tensor(top, dtype=torch.float64))), bins + 2, dtype=torch.float64))


def log_mel(
    samples: Tensor, rate: int, *, frames: int | None = None, bins: int = BINS, frame: float = FRAME, hop: float = HOP,
    top: float | None = None,
) -> tuple[Tensor, Tensor]:
    """samples [T] at ``rate`` per second -> (power [bins, frames] in dB float32, measured [bins, frames] bool).

    0 dB is the mean square 1 (a full-scale sine has −3 dB); nothing is below −100 dB, so silence is finite. Frame i is a
    Hann window of ``frame`` seconds centered on the middle of its cell, samples round(i · hop · rate) up to the next cell, in
    the order of the sound; beyond its ends the sound is taken as zero. Without ``frames`` the cells cover all samples.

    Not measured, and 0 in the result: cells that begin at or after the end of the samples, frames that touch a sample that
    is NaN or infinite, and bands whose upper edge is above rate / 2 (``top``, the end of the mel scale, does not depend on
    the rate up to 64 kHz). Raises :class:`EmptyGraphError` without samples, :class:`ValueRangeError` for an impossible rate.
    """
    if samples.dim() != 1 or not len(samples):
        raise EmptyGraphError(
            where="log_mel", found=f"samples {list(samples.shape)}", expected="[T] with T ≥ 1", remedy="Leave the recording out."
        )
    check_rate("log_mel", rate)
    if frames is None:
        frames = max(1, -(-len(samples) // max(1, round(hop * rate))))
    finite = torch.isfinite(samples)
    spectrum, touched = _spectrum(torch.where(finite, samples, 0.0), finite, rate, frames, frame, hop, bins, top)
    filters, reachable = _filters(rate, (spectrum.shape[0] - 1) * 2, top_frequency(rate) if top is None else top, bins)
    decibels = 10.0 * torch.log10((filters @ spectrum).clamp(min=10 ** (FLOOR / 10)))  # [bins, frames]
    begun = _starts(frames, hop, rate) < len(samples)
    measured = reachable.unsqueeze(1) & (begun & ~touched).unsqueeze(0)
    return torch.where(measured, decibels, 0.0), measured


def _starts(frames: int, hop: float, rate: int) -> Tensor:
    """First sample of each cell [frames]: rounded one by one, so that no error adds up where hop · rate is no integer."""
    return (torch.arange(frames, dtype=torch.float64) * (hop * rate)).round().long()


def _spectrum(
    samples: Tensor, finite: Tensor, rate: int, frames: int, frame: float, hop: float, bins: int, top: float | None
) -> tuple[Tensor, Tensor]:
    """(mean square in each Fourier bin [n/2 + 1, frames], frames that touch a sample that is not finite [frames])."""
    width = max(2, round(frame * rate))
    window = torch.hann_window(width, dtype=samples.dtype)
    before = (width - round(hop * rate)) // 2  # the frame is centered on its cell
    index = _starts(frames, hop, rate).unsqueeze(1) - before + torch.arange(width)  # [frames, width]
    inside = (index >= 0) & (index < len(samples))
    index = index.clamp(0, len(samples) - 1)
    cut = torch.where(inside, samples[index], 0.0) * window
    size = _fourier_size(rate, width, top_frequency(rate) if top is None else top, bins)
    power = torch.fft.rfft(cut, n=size).abs().square()  # [frames, n/2 + 1]
    # One-sided, so that the sum over bins is the window's weighted mean square (Parseval)
    power[:, 1:-1] *= 2.0
    return power.T / (size * window.square().sum()), (inside & ~finite[index]).any(1)


def _fourier_size(rate: int, width: int, top: float, bins: int) -> int:
    """A power of two that holds the window and puts two Fourier bins into the narrowest band's rise."""
    narrowest = float(band_edges(top, bins)[1])
    return 1 << (max(width, int(2 * rate / narrowest)) - 1).bit_length()


@lru_cache(maxsize=8)
def _filters(rate: int, size: int, top: float, bins: int) -> tuple[Tensor, Tensor]:
    """(triangles [bins, size/2 + 1], bands that the rate can show [bins]); triangles add up to 1 between the outer centers."""
    edges = mel(band_edges(top, bins))
    step = edges[1] - edges[0]
    fourier = mel(torch.arange(size // 2 + 1, dtype=torch.float64) * rate / size)
    filters = (1.0 - (fourier - edges[1:-1].unsqueeze(1)).abs() / step).clamp(min=0.0)
    return filters.float(), band_edges(top, bins)[2:] <= rate / 2 * (1 + 1e-9)
