"""Log-mel spectrograms against a discrete Fourier transform by hand, Parseval's theorem and the physics of sampling."""

import math

import numpy as np
import pytest
import torch
from geoembed.errors import EmptyGraphError, ValueRangeError
from geoembed.io.spectrogram import FLOOR, band_edges, hertz, log_mel, mel, top_frequency
from hypothesis import given, settings
from hypothesis import strategies as st


def tone(frequency, rate, seconds=0.6, amplitude=1.0):
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return (amplitude * torch.sin(2 * math.pi * frequency * time)).float()


def by_hand(samples, rate, middle, frame=0.025):
    """Band powers [128] of one frame, by numpy in float64: window, dense DFT at 8 Hz steps, triangles, sum."""
    width = round(frame * rate)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width)
    cut = samples[middle - width // 2 :][:width] * window
    size = 1 << (max(width, int(2 * rate / float(band_edges(16_000.0)[1]))) - 1).bit_length()
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(size // 2 + 1), np.arange(width)) / size)
    power = np.abs(fourier @ cut) ** 2 / (size * (window**2).sum())
    power[1:-1] *= 2
    frequency = np.arange(size // 2 + 1) * rate / size
    mels = 2595 * np.log10(1 + frequency / 700)
    centers = np.linspace(0, 2595 * np.log10(1 + 16000 / 700), 130)
    triangles = np.clip(1 - np.abs(mels - centers[1:-1, None]) / (centers[1] - centers[0]), 0, None)
    return triangles @ power


def test_a_frame_equals_a_fourier_transform_by_hand():
    rate = 8000
    samples = np.random.default_rng(0).normal(size=rate).astype(np.float32) * 0.1
    power, measured = log_mel(torch.from_numpy(samples), rate)
    middle = round(20 * 0.015 * rate) + 60  # cell 20 is 120 samples long
    expected = 10 * np.log10(np.maximum(by_hand(samples.astype(float), rate, middle), 1e-10))
    heard = measured[:, 20].numpy()
    assert heard.sum() > 60
    np.testing.assert_allclose(power[:, 20].numpy()[heard], expected[heard], atol=1e-3)


@pytest.mark.parametrize("frequency", [100.0, 440.0, 1000.0, 6000.0, 15000.0])
def test_the_loudest_band_is_the_one_whose_center_is_nearest_to_the_tone(frequency):
    power, _ = log_mel(tone(frequency, 48_000), 48_000)
    centers = mel(band_edges(16_000.0)[1:-1])
    nearest = (centers - mel(torch.tensor(frequency, dtype=torch.float64))).abs().argmin()
    assert abs(int(power[:, 20].argmax()) - int(nearest)) <= (2 if frequency < 200 else 1)  # 25 ms resolve about 40 Hz


def test_a_full_scale_sine_has_minus_3_decibels_in_all_its_bands_together():
    power, _ = log_mel(tone(1000.0, 32_000), 32_000)
    total = (10 ** (power[:, 10:30].double() / 10)).sum(0)
    torch.testing.assert_close(10 * total.log10(), torch.full((20,), 10 * math.log10(0.5), dtype=torch.float64), atol=0.01, rtol=0)


def test_band_powers_add_up_to_the_mean_square_under_the_window():
    # Parseval: noise from 500 Hz to 12 kHz lies between the outer centers, where the triangles add up to 1
    rate, n = 32_000, 32_000
    generator = torch.Generator().manual_seed(1)
    spectrum = torch.fft.rfft(torch.randn(n, generator=generator))
    frequency = torch.fft.rfftfreq(n, 1 / rate)
    samples = torch.fft.irfft(torch.where((frequency > 500) & (frequency < 12_000), spectrum, 0), n)
    power, _ = log_mel(samples, rate)
    window = torch.hann_window(800)
    begin = 30 * 480 - 160
    mean_square = (samples[begin : begin + 800] * window).square().sum() / window.square().sum()
    total = (10 ** (power[:, 30].double() / 10)).sum()
    assert float(total) == pytest.approx(float(mean_square), rel=2e-3)


@pytest.mark.parametrize("rate", [11_127, 16_000, 22_255, 44_100, 48_000, 64_000])
def test_a_sound_has_one_spectrogram_whatever_its_sample_rate(rate):
    reference, _ = log_mel(tone(2000.0, 32_000), 32_000, frames=40)
    power, measured = log_mel(tone(2000.0, rate), rate, frames=40)
    loud = measured & (reference > -40)
    loud[:, [0, -1]] = False  # the ends see the edges of the sound
    assert loud[:, 20].sum() >= 3
    assert float((power - reference)[loud].abs().max()) < 0.25  # dB; rounding of 25 ms to whole samples


def test_twice_the_amplitude_is_6_decibels_more():
    quiet, _ = log_mel(tone(3000.0, 32_000, amplitude=0.1), 32_000)
    loud, _ = log_mel(tone(3000.0, 32_000, amplitude=0.2), 32_000)
    heard = quiet > -60
    assert float((loud - quiet)[heard].sub(20 * math.log10(2)).abs().max()) < 1e-3


def test_silence_is_finite_and_at_the_floor():
    power, measured = log_mel(torch.zeros(32_000), 32_000)
    assert measured.all()
    assert torch.equal(power, torch.full_like(power, FLOOR))


def test_bands_above_the_nyquist_frequency_are_not_measured():
    power, measured = log_mel(tone(1000.0, 8000), 8000)
    upper = band_edges(16_000.0)[2:]
    assert torch.equal(measured[:, 5], upper <= 4000)
    assert power[~measured].abs().sum() == 0


def test_an_ultrasonic_call_stays_above_22_kilohertz():
    power, measured = log_mel(tone(80_000.0, 384_000, seconds=0.3), 384_000)
    centers = band_edges(192_000.0)[1:-1]
    assert measured.all()
    assert top_frequency(384_000) == 192_000
    assert float(centers[power[:, 10].argmax()]) == pytest.approx(80_000, rel=0.02)


def test_three_seconds_are_200_frames_and_frames_lie_on_their_cells():
    # a click at 1.5 s + 7.5 ms is in the middle of cell 100
    for rate in (32_000, 44_100):
        samples = torch.zeros(3 * rate)
        samples[round(1.5075 * rate)] = 1.0
        power, measured = log_mel(samples, rate)
        assert power.shape == (128, 200)
        assert measured.all()
        assert int(power.sum(0).argmax()) == 100


def test_frames_after_the_end_are_not_measured():
    _, measured = log_mel(torch.zeros(4801), 32_000, frames=200)  # 10 cells of 480 samples, and one sample more
    assert measured.all(0).tolist() == [True] * 11 + [False] * 189


def test_a_sample_that_is_not_a_number_blanks_the_frames_that_touch_it_and_no_others():
    samples = tone(1000.0, 32_000)
    broken = samples.clone()
    broken[480 * 10 + 240] = float("nan")
    power, measured = log_mel(broken, 32_000)
    expected, _ = log_mel(samples, 32_000)
    assert (~measured.all(0)).nonzero().flatten().tolist() == [10]  # windows of 800 samples every 480
    kept = measured.all(0)
    assert torch.equal(power[:, kept], expected[:, kept])


@settings(max_examples=30, deadline=None)
@given(rate=st.sampled_from([200, 1234, 8012, 44_100, 48_000, 96_000]), n=st.integers(1, 3000))
def test_every_length_and_rate_gives_finite_numbers(rate, n):
    samples = torch.randn(n, generator=torch.Generator().manual_seed(n))
    power, measured = log_mel(samples, rate, frames=7)
    assert torch.isfinite(power).all()
    assert measured[0, 0]
    assert (power[measured] >= FLOOR).all()


def test_mel_and_hertz_are_inverse_and_1000_hertz_are_1000_mel():
    frequency = torch.linspace(0, 250_000, 1000, dtype=torch.float64)
    torch.testing.assert_close(hertz(mel(frequency)), frequency)
    assert float(mel(torch.tensor(1000.0))) == pytest.approx(1000, abs=0.1)


def test_no_samples_and_no_rate_are_refused():
    with pytest.raises(EmptyGraphError, match="T ≥ 1"):
        log_mel(torch.empty(0), 8000)
    with pytest.raises(ValueRangeError, match="header"):
        log_mel(torch.ones(10), 100)


def test_cells_begin_at_rounded_samples_where_a_step_is_no_whole_number():
    # 15 ms at 44,100 Hz are 661.5 samples: cells begin at 0, 662 (half to even), 1323
    for length, cells in ((662, 1), (663, 2), (1323, 2), (1324, 3)):
        _, measured = log_mel(torch.zeros(length), 44_100, frames=4)
        assert int(measured[0].sum()) == cells
