"""Gravitational-wave strain: excess power, the quality mask, windows in GPS time; GWOSC and GWpy files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import geoembed as ge
import h5py
import numpy as np
import pytest
import torch
from geoembed.errors import EmptyGraphError
from geoembed.io.reader import stream
from geoembed.io.record import Quarantined
from geoembed.io.strain import FRAMES, WINDOW, band_centers, excess_power
from geoembed.schema import Graph
from torch import Tensor

RATE = 4096


def noise(seconds: float = WINDOW, seed: int = 0, rate: int = RATE) -> Tensor:
    return torch.randn(int(seconds * rate), dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 1e-22


def all_good(samples: Tensor) -> Tensor:
    return torch.ones(len(samples), dtype=torch.bool)


def gwosc(path: Path, samples: Tensor, mask: list[int] | None = None, start: int = 1126259446) -> Path:
    with h5py.File(path, "w") as file:
        strain = file.create_dataset("strain/Strain", data=samples.numpy(), chunks=True)
        strain.attrs.update({"Npoints": len(samples), "Xspacing": 1 / RATE, "Xstart": start, "Xunits": "second", "Yunits": ""})
        file["meta/Detector"], file["meta/GPSstart"], file["meta/Duration"] = "H1", start, len(samples) // RATE
        if mask is not None:
            file["quality/simple/DQmask"] = np.array(mask, dtype=np.uint32)
            file["quality/simple/DQShortnames"] = np.array([b"DATA", b"CBC_CAT1", b"CBC_CAT2", b"CBC_CAT3"])
    return path


def read(path: Path) -> tuple[list[Graph], list[Quarantined]]:
    items = list(stream(path))
    return [item for item in items if isinstance(item, Graph)], [item[0] for item in items if isinstance(item, tuple)]


def test_stationary_noise_of_any_color_has_its_median_at_zero() -> None:
    spectrum = torch.fft.rfft(noise())
    frequency = torch.fft.rfftfreq(WINDOW * RATE, 1 / RATE, dtype=torch.float64).clamp(min=5.0)
    red = torch.fft.irfft(spectrum * (50.0 / frequency) ** 4)  # ten decades of power over the band
    for samples in (noise(), red):
        excess, measured = excess_power(samples, RATE, all_good(samples))
        assert torch.allclose(excess[measured].reshape(len(excess), -1).median(1).values, torch.zeros(128), atol=1e-6)
        # Power of one Fourier frequency is exponential: its median is ln 2 of the mean. Higher bands hold several.
        low = measured & (band_centers() < 150).unsqueeze(1)
        assert float((10 ** excess[low].double()).mean()) == pytest.approx(1 / np.log(2), rel=0.08)


@pytest.mark.parametrize("frequency", [60.0, 250.0, 1000.0])
def test_a_burst_stands_out_in_its_band_and_at_its_time(frequency: float) -> None:
    time = torch.arange(WINDOW * RATE, dtype=torch.float64) / RATE
    burst = 3e-21 * torch.exp(-(((time - 2.51) / 0.03) ** 2)) * torch.sin(2 * torch.pi * frequency * time)
    excess, _ = excess_power(noise() + burst, RATE, all_good(time))
    band, frame = divmod(int(excess.argmax()), FRAMES)
    assert float(band_centers()[band]) == pytest.approx(frequency, rel=0.12, abs=8.0)
    assert (frame + 0.5) * WINDOW / FRAMES == pytest.approx(2.51, abs=0.03)
    assert float(excess.max()) > 1.5


def test_calibration_and_unit_change_nothing() -> None:
    samples = noise()
    first, second = (excess_power(samples * factor, RATE, all_good(samples))[0] for factor in (1.0, 1e21))
    assert torch.allclose(first, second, atol=1e-6)


def test_excluded_seconds_have_no_influence_at_all() -> None:
    samples, good = noise(), torch.ones(WINDOW * RATE, dtype=torch.bool)
    good[RATE : 2 * RATE] = False
    hostile = samples.clone()
    hostile[RATE : 2 * RATE] = torch.nan
    hostile[RATE + 5] = 1e300
    first, measured = excess_power(samples, RATE, good)
    second, again = excess_power(hostile, RATE, good)
    assert torch.equal(first, second)
    assert torch.equal(measured, again)
    touched = torch.zeros(FRAMES, dtype=torch.bool)
    center = (torch.arange(FRAMES) + 0.5) * WINDOW / FRAMES
    touched[(center > 1 - 0.0625) & (center < 2 + 0.0625)] = True
    edges = (center > 0.0625) & (center < WINDOW - 0.0625)
    assert torch.equal(measured.any(0), ~touched & edges)


def test_bands_above_half_the_rate_are_not_measured() -> None:
    samples = noise(rate=1024)
    _, measured = excess_power(samples, 1024, all_good(samples))
    top = band_centers()[measured.any(1)]
    assert 470 < float(top.max()) < 512


@pytest.mark.parametrize(("samples", "good", "match"), [
    (torch.zeros(WINDOW * RATE, dtype=torch.float64), True, "samples that are all equal"),
    (noise(), False, "no frame of good samples"),
    (noise(0.05), True, "no frame of good samples"),
    (torch.zeros(0, dtype=torch.float64), True, "no frame of good samples"),
])
def test_a_window_without_anything_says_so(samples: Tensor, good: bool, match: str) -> None:
    with pytest.raises(EmptyGraphError, match=match):
        excess_power(samples, RATE, torch.full((len(samples),), good))


def test_windows_are_keyed_by_detector_and_gps_second_and_nothing_is_left_out(tmp_path: Path) -> None:
    graphs, bad = read(gwosc(tmp_path / "H-H1_LOSC_4_V2.hdf5", noise(10), [15] * 10))
    assert not bad
    assert [graph.record for graph in graphs] == ["H1 1126259446.000s", "H1 1126259450.000s", "H1 1126259454.000s"]
    assert [graph.notes.get("padded_samples", 0) for graph in graphs] == [0, 0, 2 * RATE]
    assert graphs[0].notes["quality"] == "DATA CBC_CAT1"
    assert graphs[0].provenance.modality == "spectrogram"
    encoder = ge.BioacousticEncoder().eval()
    assert encoder(ge.GraphBatch.from_data_list(graphs)).shape == (3, 256)


def test_the_quality_mask_of_each_second_decides_what_is_measured(tmp_path: Path) -> None:
    """Bit 1 (CBC_CAT1) excludes, bit 2 (CBC_CAT2) does not."""
    whole, _ = read(gwosc(tmp_path / "a.hdf5", noise(4), [15] * 4))
    excluded, _ = read(gwosc(tmp_path / "b.hdf5", noise(4), [15, 13, 15, 11]))
    assert excluded[0].notes["excluded_samples"] == RATE
    columns = (excluded[0].pos[:, 1]).long()
    share = [float(excluded[0].measured[columns == column].float().mean()) for column in range(25)]
    assert share[8] == share[10] == 0.0  # 1.28…1.44 s and 1.6…1.76 s
    assert share[20] == 1.0
    assert int(whole[0].measured.sum()) > int(excluded[0].measured.sum())


def test_a_window_that_the_mask_excludes_whole_is_quarantined_and_the_others_are_read(tmp_path: Path) -> None:
    graphs, bad = read(gwosc(tmp_path / "a.hdf5", noise(12), [15] * 4 + [0] * 4 + [15] * 4))
    assert [graph.record for graph in graphs] == ["H1 1126259446.000s", "H1 1126259454.000s"]
    assert [(one.record, one.error) for one in bad] == [("H1 1126259450.000s", "EmptyGraphError")]
    assert "the quality mask excludes it" in bad[0].reason


def test_missing_data_is_not_a_number_and_masks_itself(tmp_path: Path) -> None:
    samples = noise(4)
    samples[:RATE] = torch.nan
    graphs, _ = read(gwosc(tmp_path / "a.hdf5", samples))
    assert (graphs[0].notes["missing_samples"], graphs[0].notes["without_quality_mask"]) == (RATE, True)
    assert bool(torch.isfinite(graphs[0].x).all())


def test_series_of_gwpy_are_read_one_a_detector(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "hw.hdf", "w") as file:
        for name, seed in (("H1:LDAS-STRAIN", 1), ("V1:h_4096Hz", 2), ("H1:LSC-POWER", 3)):
            item = file.create_dataset(name, data=noise(4, seed).numpy())
            item.attrs.update({"x0": 968654552.5, "dx": 1 / RATE, "unit": "W" if "POWER" in name else "strain"})
    graphs, bad = read(tmp_path / "hw.hdf")
    assert not bad
    assert [graph.record for graph in graphs] == ["H1:LDAS-STRAIN 968654552.500s", "V1:h_4096Hz 968654552.500s"]
    assert not torch.equal(graphs[0].x, graphs[1].x)


def shorten(file: h5py.File) -> None:
    file["strain/Strain"].attrs["Npoints"] = 10**9


def slow(file: h5py.File) -> None:
    file["strain/Strain"].attrs["Xspacing"] = 0.3


def stretch(file: h5py.File) -> None:
    file["strain/Strain"].attrs["Xspacing"] = np.nan


def unmask(file: h5py.File) -> None:
    del file["quality/simple/DQmask"]
    file["quality/simple/DQmask"] = np.arange(3)


def overflow(file: h5py.File) -> None:
    file["strain/Strain"][7] = np.inf


@pytest.mark.parametrize(("damage", "match"), [
    (shorten, r"16384 samples; expected 1000000000 \(Npoints\)"),
    (slow, "a sample every 0.3 s; expected a whole number a second"),
    (stretch, "found nan; expected a finite number"),
    (unmask, r"int64 \[3\]; expected 4 integers, one a second"),
    (overflow, "an infinite strain"),
])
def test_files_that_contradict_themselves_say_so(tmp_path: Path, damage: Callable[[h5py.File], None], match: str) -> None:
    path = gwosc(tmp_path / "a.hdf5", noise(4), [15] * 4)
    with h5py.File(path, "r+") as file:
        damage(file)
    graphs, bad = read(path)
    assert not graphs
    assert re.search(match, bad[0].reason)
