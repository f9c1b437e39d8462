"""Recordings: exact window times, nothing of the sound left out, every rate and container, short files named as short."""

import struct
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from geoembed.errors import BudgetError, ConfigError, EmptyGraphError, TruncatedFileError, UnreadableFileError, ValueRangeError
from geoembed.graphs.grid import image_of
from geoembed.io.audio import Audio
from geoembed.io.audio_ending import mp3_frame, mp3_starts
from geoembed.io.reader import stream
from geoembed.io.spectrogram import band_edges
from geoembed.schema import Graph, validate
from hypothesis import given, settings
from hypothesis import strategies as st

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
CONTAINERS = [("wav", "WAV", "PCM_16"), ("flac", "FLAC", "PCM_16"), ("ogg", "OGG", "VORBIS"), ("opus", "OGG", "OPUS"),
              ("mp3", "MP3", "MPEG_LAYER_III"), ("aiff", "AIFF", "PCM_16")]


def sine(seconds, rate=48_000, frequency=2000.0):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def wav(data, declared, riff=None, rate=8000):
    body = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16) + b"data" + struct.pack("<I", declared) + data
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


@pytest.mark.parametrize(("suffix", "container", "subtype"), CONTAINERS)
def test_every_container_gives_the_same_sound(tmp_path, suffix, container, subtype):
    path = tmp_path / f"call.{suffix}"
    soundfile.write(path, sine(4.0), 48_000, format=container, subtype=subtype)
    reader = Audio()
    assert reader.can_open(path.read_bytes()[:4096], path.name)
    assert reader.can_open(path.read_bytes()[:4096], "nameless.mp3")
    records = list(reader.records(path))
    assert [record.key for record in records] == ["0.000s", "3.000s"]
    graph = reader.to_graph(records[0])
    power, measured = image_of(validate(graph))
    assert power.shape == (1, 128, 200)
    assert measured.all()
    centers = band_edges(16_000.0)[1:-1]
    assert float(centers[power[0, :, 50].argmax()]) == pytest.approx(2000, rel=0.02)
    assert float(power[0, :, 50].max()) == pytest.approx(1 - 0.09 - 0.025, abs=0.03)  # −9 dB over two bands at most
    assert graph.provenance.modality == "spectrogram"
    assert graph.num_nodes == 16 * 25


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 5000), rate=st.sampled_from([200, 999, 1000]), window=st.sampled_from(["0.5", "1.0", "2.0"]),
       part=st.sampled_from([1, 2, 5]))
def test_windows_cover_every_sample_and_start_at_whole_samples(tmp_path_factory, n, rate, window, part):
    path = tmp_path_factory.mktemp("sound") / "a.wav"
    soundfile.write(path, (np.arange(n) % 32768).astype(np.int16), rate, subtype="PCM_16")
    step = Fraction(window) / part
    records = list(Audio(float(window), float(step)).records(path))
    starts = [record.notes["start_sample"] for record in records]
    assert starts == [floor(k * step * rate) for k in range(len(records))]
    size = ceil(Fraction(window) * rate)
    covered = np.zeros(n, bool)
    for start, record in zip(starts, records, strict=True):
        samples = record.payload.samples.numpy()
        covered[start : start + len(samples)] = True
        assert len(samples) == min(size, n - start)
        np.testing.assert_array_equal(samples, (np.arange(start, start + len(samples)) / 32768).astype(np.float32))
    assert covered.all()
    if (step * rate).denominator == 1:
        overlap = size - step * rate
        assert len(records) == max(1, ceil((n - overlap) / (step * rate)))


@pytest.mark.parametrize(("suffix", "container", "subtype"), CONTAINERS)
def test_reading_in_blocks_is_reading_at_once(tmp_path, suffix, container, subtype):
    # A sine makes a variable bit rate: after each block the library would seek, and miss, in such an MP3
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, sine(4.0), 48_000, format=container, subtype=subtype)
    whole, _ = soundfile.read(path, dtype="float32")
    joined = torch.cat([record.payload.samples for record in Audio().records(path)])
    torch.testing.assert_close(joined, torch.from_numpy(whole), atol=1e-6, rtol=0)


def test_blocks_do_not_show(tmp_path):
    # 3 s at 44,100 Hz are 16.15 blocks of 8192 samples
    path = tmp_path / "long.wav"
    samples = np.random.default_rng(0).normal(size=400_001).astype(np.float32)
    soundfile.write(path, samples, 44_100, subtype="FLOAT")
    joined = torch.cat([record.payload.samples for record in Audio().records(path)])
    assert torch.equal(joined, torch.from_numpy(samples))


def test_a_file_that_is_a_whole_number_of_windows_has_no_empty_one(tmp_path):
    path = tmp_path / "six.wav"
    soundfile.write(path, sine(6.0, 8000), 8000)
    assert [record.key for record in Audio().records(path)] == ["0.000s", "3.000s"]


def test_a_file_shorter_than_a_window_is_one_record_with_unmeasured_frames(tmp_path):
    path = tmp_path / "short.wav"
    soundfile.write(path, sine(0.15, 32_000), 32_000)
    (record,) = Audio().records(path)
    _, measured = image_of(Audio().to_graph(record))
    assert measured[0].all(0).tolist() == [True] * 10 + [False] * 190
    assert record.notes["padded_samples"] == 96_000 - 4800


def test_five_second_windows_keep_200_frames(tmp_path):
    path = tmp_path / "five.wav"
    soundfile.write(path, sine(5.0, 16_000), 16_000)
    reader = Audio(window=5.0)
    (record,) = reader.records(path)
    power, measured = image_of(reader.to_graph(record))
    assert power.shape == (1, 128, 200)
    assert measured[0, 0].all()


def test_channels_are_averaged_and_that_is_noted(tmp_path):
    path = tmp_path / "stereo.wav"
    left, right = sine(0.1, 8000), sine(0.1, 8000, 500.0)
    soundfile.write(path, np.stack([left, right], 1), 8000, subtype="FLOAT")
    (record,) = Audio().records(path)
    np.testing.assert_allclose(record.payload.samples.numpy(), (left + right) / 2, atol=1e-7)
    assert record.notes["channels_averaged"] == 2


def test_bands_above_a_files_nyquist_frequency_are_unmeasured_and_nothing_is_resampled_away(tmp_path):
    path = tmp_path / "phone.wav"
    soundfile.write(path, sine(3.0, 8000, 1000.0), 8000)
    (record,) = Audio().records(path)
    _, measured = image_of(Audio().to_graph(record))
    assert torch.equal(measured[0, :, 0], band_edges(16_000.0)[2:] <= 4000)


def test_a_bats_ultrasound_survives(tmp_path):
    path = tmp_path / "bat.wav"
    soundfile.write(path, sine(0.5, 384_000, 80_000.0), 384_000)
    (record,) = Audio().records(path)
    graph = Audio().to_graph(record)
    power, _ = image_of(graph)
    centers = band_edges(192_000.0)[1:-1]
    assert record.notes["ultrasonic"] is True
    assert graph.notes["top_hz"] == 192_000
    assert float(centers[power[0, :, 10].argmax()]) == pytest.approx(80_000, rel=0.03)


def test_silence_is_a_graph_of_finite_numbers(tmp_path):
    path = tmp_path / "silence.flac"
    soundfile.write(path, np.zeros(48_000), 16_000)
    (record,) = Audio().records(path)
    graph = validate(Audio().to_graph(record))
    assert (graph.x == 0).all()
    assert graph.measured.any()


@pytest.mark.parametrize(("declared", "riff"), [(0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFF000, 0x7FFFF024)])
def test_a_wav_written_to_a_pipe_is_read_and_noted(tmp_path, declared, riff):
    path = tmp_path / "pipe.wav"
    path.write_bytes(wav(np.arange(1000, dtype="<i2").tobytes(), declared, riff))
    (record,) = Audio().records(path)
    assert len(record.payload.samples) == 1000
    assert record.notes["length_open"] is True


def test_a_recorder_that_died_before_it_wrote_the_length_is_named(tmp_path):
    path = tmp_path / "battery.wav"
    path.write_bytes(wav(np.full(1000, -5, dtype="<i2").tobytes(), 0, 0))
    with pytest.raises(TruncatedFileError, match=r"0 before 2000 bytes.*Repair the header"):
        list(Audio().records(path))


def test_a_header_without_sound_is_empty(tmp_path):
    path = tmp_path / "header.wav"
    path.write_bytes(wav(b"", 0))
    with pytest.raises(EmptyGraphError, match="nothing but a header"):
        list(Audio().records(path))


def test_a_wav_without_a_data_chunk_is_truncated(tmp_path):
    path = tmp_path / "fmt.wav"
    path.write_bytes(wav(b"", 0)[:-8])
    with pytest.raises(TruncatedFileError, match="data chunk"):
        list(Audio().records(path))


def test_whole_windows_before_a_cut_are_kept(tmp_path):
    path = tmp_path / "cut.wav"
    soundfile.write(path, sine(10.0, 8000), 8000)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 8000 * 7])  # 7 s of 10
    items = list(stream(path))
    graphs = [item for item in items if isinstance(item, Graph)]
    ((bad, error),) = [item for item in items if not isinstance(item, Graph)]
    assert [graph.record for graph in graphs] == ["0.000s", "3.000s"]
    assert isinstance(error, TruncatedFileError)
    assert "112000 bytes of sound (56000 samples" in bad.reason
    assert "its whole windows before the break are kept" in bad.reason


def test_a_window_that_ends_exactly_at_the_cut_is_kept(tmp_path):
    path = tmp_path / "cut.wav"
    soundfile.write(path, sine(10.0, 8000), 8000)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 8000 * 6])
    items = list(stream(path))
    assert [isinstance(item, Graph) for item in items] == [True, True, False]


def test_an_ogg_whose_last_page_lacks_its_end_is_truncated(tmp_path):
    path = tmp_path / "a.ogg"
    soundfile.write(path, sine(2.0), 48_000, format="OGG", subtype="VORBIS")
    data = path.read_bytes()
    path.write_bytes(data[: data.rfind(b"OggS")])
    with pytest.raises(TruncatedFileError, match="end-of-stream"):
        list(Audio().records(path))


def test_an_mp3_without_a_count_is_truncated_where_its_last_frame_is_cut(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, sine(2.0), 48_000, format="MP3", subtype="MPEG_LAYER_III")
    data = path.read_bytes()
    path.write_bytes(data[mp3_frame(data[:4]) :])  # the first frame holds the Xing header, with the counts
    assert len(list(Audio().records(path))) == 1
    path.write_bytes(data[mp3_frame(data[:4]) : -1])
    with pytest.raises(TruncatedFileError, match="last MPEG frame"):
        list(Audio().records(path))


def test_an_mp3_with_a_count_is_truncated_where_whole_frames_are_missing(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, sine(2.0), 48_000, format="MP3", subtype="MPEG_LAYER_III")
    data, ends = path.read_bytes(), [0]
    while (length := mp3_frame(data[ends[-1] :][:4])) is not None:
        ends.append(ends[-1] + length)
    assert ends[-1] == len(data)
    path.write_bytes(data[: ends[-2]])
    with pytest.raises(TruncatedFileError, match="Xing header"):
        list(Audio().records(path))


def test_damage_in_the_middle_of_a_flac_is_a_typed_error(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).normal(size=480_000) * 0.1, 48_000)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 60_000] = bytes(60_000)
    path.write_bytes(data)
    items = list(stream(path))
    assert [isinstance(item, Graph) for item in items] == [True, False]
    assert items[0].record == "0.000s"
    assert "flac decoder" in items[1][0].reason


def test_a_header_that_libsndfile_refuses_says_why(tmp_path):
    path = tmp_path / "zero.wav"
    path.write_bytes(wav(bytes(10), 10, rate=0))
    with pytest.raises(UnreadableFileError, match="Copy the file again"):
        list(Audio().records(path))


@pytest.mark.parametrize("rate", [1, 199, 2_000_001, 2_000_000_000])
def test_an_impossible_rate_is_refused(tmp_path, rate):
    path = tmp_path / "rate.wav"
    path.write_bytes(wav(bytes(100), 100, rate=rate))
    with pytest.raises(ValueRangeError, match="rate in the file's header"):
        list(Audio().records(path))


def test_a_window_beyond_the_budget_is_refused_before_it_is_allocated(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(bytes(100), 100, rate=48_000))
    with pytest.raises(BudgetError, match="GiB"):
        list(Audio(window=10_000.0).records(path))


def test_a_step_beyond_the_window_would_leave_sound_out():
    with pytest.raises(ConfigError, match="leave sound out"):
        Audio(window=3.0, step=4.0)


def test_mpeg_frames_have_the_length_that_the_standard_computes():
    # 144 · 128,000 / 44,100 = 417.96 and a padding byte; layer II and free-format streams are not ours
    assert mp3_frame(bytes([0xFF, 0xFB, 0x90, 0x00])) == 417
    assert mp3_frame(bytes([0xFF, 0xFB, 0x92, 0x00])) == 418
    assert mp3_frame(bytes([0xFF, 0xF3, 0x40, 0xC4])) == 72 * 32_000 // 22_050
    assert mp3_frame(bytes([0xFF, 0xFD, 0x90, 0x00])) is None
    assert mp3_frame(bytes([0xFF, 0xFB, 0x00, 0x00])) is None
    frame = bytes([0xFF, 0xFB, 0x90, 0x00]) + bytes(413)
    assert mp3_starts(b"junk" + 3 * frame) == 4
    assert mp3_starts(b"junk" + 2 * frame) is None


@pytest.mark.parametrize(("head", "name"), [
    (b"RIFF\x24\0\0\0AVI LIST", "film.avi"), (b"\xff\xd8\xff\xe0" + bytes(50), "photo.jpg"), (b"FORM\0\0\0\0ILBM", "picture.iff"),
    (b"\xff\xfb\x90\0" + bytes(100), "no_suffix"), (bytes(4096), "zeros.mp3"),
])
def test_other_files_are_not_taken_for_sound(head, name):
    assert not Audio().can_open(head, name)


@needs_shared
@pytest.mark.parametrize(("name", "records"), [
    ("audio/bat_500kHz_MYOMYS.wav", 1), ("audio/test1_22050.mp3", 2), ("audio/silence_10s.mp3", 4), ("audio/8khz_5s.opus", 2),
    ("audio/test-44100Hz-le-1ch-4bytes-rf64.wav", 1), ("audio/test-44100Hz-2ch-32bit-float-be.wav", 1), ("audio/gsm_6_10.wav", 1),
    ("audio/mp3_audio.wav", 1), ("nasty/data_after_eos.ogg", 2), ("nasty/riff_extra_zero.wav", 1),
])
def test_real_recordings_give_their_windows_and_nothing_is_left_out(name, records):
    items = list(stream(SHARED / "ecology" / "files" / name))
    assert len(items) == records
    assert all(isinstance(item, Graph) for item in items)


@needs_shared
@pytest.mark.parametrize(("name", "error", "reason"), [
    ("empty_2c.wav", TruncatedFileError, "116"), ("no_audio.ogg", EmptyGraphError, "no samples"),
    ("no_audio_data_uncompressed.wav", EmptyGraphError, "no samples"), ("variable-block.flac", TruncatedFileError, "11540088"),
    ("test-44100Hz-le-1ch-4bytes-early-eof.wav", TruncatedFileError, "17640"), ("zero_value_properties.wav", UnreadableFileError, "fmt"),
    ("test_flac.oga", UnreadableFileError, "flac decoder"), ("detect_wav.x", TruncatedFileError, "data chunk"),
])
def test_real_broken_recordings_are_refused_with_their_reason(name, error, reason):
    ((bad, raised),) = stream(SHARED / "ecology" / "files" / "nasty" / name)
    assert isinstance(raised, error)
    assert reason in bad.reason
