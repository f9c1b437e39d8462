"""Strain in HDF5: the files of the Gravitational Wave Open Science Center, and time series as GWpy writes them.

GWOSC (Abbott et al. 2021, SoftwareX 13, 100658): ``strain/Strain`` with its spacing, ``meta`` with the detector and the GPS time,
``quality/simple/DQmask`` with a bit mask a second. GWpy: vectors with the attributes ``dx``, ``x0`` and the unit ``strain``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from geoembed.errors import EmptyGraphError, GeoembedError, TruncatedFileError, ValueRangeError
from geoembed.io.arrays import texts_of
from geoembed.io.damage import damage
from geoembed.io.record import BadRecord, Record
from geoembed.io.strain import WINDOW, Strain
from geoembed.schema import Scalar

RATES = (64, 1 << 17)
"""Samples a second."""

_GWOSC, _MASK, _MASK_NAMES = "strain/Strain", "quality/simple/DQmask", "quality/simple/DQShortnames"
_FATAL = ("DATA", "CBC_CAT1", "BURST_CAT1")  # category 1: must not be analyzed


@dataclass(frozen=True)
class Series:
    """A channel: its samples, an HDF5 dataset that is read in slices; start [GPS s]; good [seconds] or None."""

    name: str
    samples: Any
    rate: int
    start: float
    good: npt.NDArray[np.bool_] | None
    notes: Mapping[str, Scalar]


def strain_series(datasets: Mapping[str, Any], where: str | PathLike[str]) -> list[Series]:
    """The strain channels among the datasets of a file, by their full names; empty where there are none.

    Raises :class:`ValueRangeError` where the spacing of samples is impossible, or the quality mask has another length.
    """
    found = []
    for name, dataset in datasets.items():
        if dataset.ndim != 1 or dataset.dtype.kind not in "fiu":
            continue
        with damage(where, "readable attributes"):
            attributes = dict(dataset.attrs)
        if name == _GWOSC and "Xspacing" in attributes:
            found.append(_gwosc(datasets, dataset, attributes, where))
        elif {"dx", "x0"} <= attributes.keys() and _is_strain(name, attributes):
            rate = _rate(attributes["dx"], f"{where} [{name}]")
            found.append(Series(name, dataset, rate, _number(attributes["x0"], f"{where} [{name}]: x0"), None, {"rate": rate}))
    return found


def strain_records(series: list[Series], where: str | PathLike[str]) -> Iterator[Record | BadRecord]:
    """Windows of 4 s, one after the other, of each channel; the key is the channel and the GPS second at which it starts.

    The last window may be shorter. A window that the quality mask excludes whole, or without data, is a :class:`BadRecord`.
    """
    for channel in series:
        if not len(channel.samples):
            yield BadRecord(channel.name, EmptyGraphError(where=f"{where} [{channel.name}]", found="no samples", expected="strain",
                                                          remedy="Leave the channel out."))
        for start in range(0, len(channel.samples), WINDOW * channel.rate):
            key = f"{channel.name} {channel.start + start / channel.rate:.3f}s"
            try:
                yield _window(channel, start, key, f"{where} [{key}]")
            except GeoembedError as error:
                yield BadRecord(key, error)


def _window(channel: Series, start: int, key: str, where: str) -> Record:
    stop = min(start + WINDOW * channel.rate, len(channel.samples))
    with damage(where, "readable HDF5 data"):
        samples = torch.from_numpy(np.array(channel.samples[start:stop], dtype=np.float64))
    good = torch.ones(len(samples), dtype=torch.bool)
    if channel.good is not None:
        good = torch.from_numpy(channel.good[(np.arange(start, stop) // channel.rate).clip(max=len(channel.good) - 1)])
    missing = int(torch.isnan(samples).sum())
    if bool(torch.isinf(samples).any()):
        raise ValueRangeError(where=where, found="an infinite strain", expected="finite numbers, NaN for no data",
                              remedy="Fetch the file again.")
    counts = {"excluded_samples": int((~good).sum()), "missing_samples": missing,
              "padded_samples": WINDOW * channel.rate - len(samples)}
    notes = {**channel.notes, **{name: count for name, count in counts.items() if count}}
    return Record(key, Strain(samples, channel.rate, good), notes)


def _gwosc(datasets: Mapping[str, Any], dataset: Any, attributes: Mapping[str, Any], where: str | PathLike[str]) -> Series:
    rate = _rate(attributes["Xspacing"], f"{where} [{_GWOSC}]")
    declared = attributes.get("Npoints")
    if declared is not None and _number(declared, f"{where}: Npoints") > len(dataset):
        raise TruncatedFileError(where=where, found=f"{len(dataset)} samples", expected=f"{declared} (Npoints)",
                                 remedy="Fetch the file again.")
    with damage(where, "readable metadata"):
        detector = _meta(datasets, "Detector") or "strain"
        start = attributes.get("Xstart", _meta(datasets, "GPSstart") or 0.0)
    good, notes = _quality(datasets, len(dataset), rate, where)
    return Series(detector, dataset, rate, _number(start, f"{where}: Xstart"), good, {"rate": rate, **notes})


def _meta(datasets: Mapping[str, Any], name: str) -> str:
    value = datasets[f"meta/{name}"][()] if f"meta/{name}" in datasets else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _quality(
    datasets: Mapping[str, Any], samples: int, rate: int, where: str | PathLike[str]
) -> tuple[npt.NDArray[np.bool_] | None, dict[str, Scalar]]:
    """Seconds that may be analyzed: DATA and category 1 of each search are set."""
    if _MASK not in datasets:
        return None, {"without_quality_mask": True}
    with damage(where, "a readable quality mask"):
        mask = np.asarray(datasets[_MASK][:])
        names = texts_of(datasets[_MASK_NAMES][:]) if _MASK_NAMES in datasets else ["DATA"]
    seconds = -(-samples // rate)
    if mask.ndim != 1 or mask.dtype.kind not in "iu" or len(mask) != seconds:
        raise ValueRangeError(where=f"{where} [{_MASK}]", found=f"{mask.dtype} {list(mask.shape)}",
                              expected=f"{seconds} integers, one a second", remedy="Fetch the file again.")
    needed = sum(1 << bit for bit, name in enumerate(names[:31]) if name in _FATAL)
    return (mask & needed) == needed, {"quality": " ".join(name for name in names[:31] if name in _FATAL)}


def _is_strain(name: str, attributes: Mapping[str, Any]) -> bool:
    unit = attributes.get("unit", b"")
    unit = unit.decode("ascii", "replace") if isinstance(unit, bytes) else str(unit)
    return unit.strip().lower() == "strain" or "STRAIN" in name.upper()


def _rate(spacing: object, where: str) -> int:
    """Samples a second, a whole number, of their spacing [s]."""
    step = _number(spacing, where)
    rate = round(1 / step) if step > 1e-9 else 0
    if not RATES[0] <= rate <= RATES[1] or abs(rate * step - 1) > 1e-9:
        raise ValueRangeError(where=where, found=f"a sample every {step:g} s", expected=f"a whole number a second, {RATES[0]}…{RATES[1]}",
                              remedy="Correct the spacing, or resample the series.")
    return rate


def _number(value: object, where: str) -> float:
    with damage(where, "a number"):
        number = float(np.asarray(value, dtype=np.float64).reshape(()))
    if not np.isfinite(number):
        raise ValueRangeError(where=where, found=number, expected="a finite number", remedy="Fetch the file again.")
    return number
