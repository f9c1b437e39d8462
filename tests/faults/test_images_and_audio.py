"""Faults of images, rasters and recordings: cut, mutated, huge, long, masked and mixed with good files."""

import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import soundfile
import torch
from geoembed.errors import BudgetError, GeoembedError
from geoembed.graphs.grid import image_of
from geoembed.io.audio import Audio
from geoembed.io.geotiff import GeoTiff
from geoembed.io.photo import Photo
from geoembed.io.reader import read, stream
from geoembed.schema import Graph, validate
from PIL import Image
from rasterio.transform import Affine

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
PICTURES = ("a.png", "a.jpg", "progressive.jpg", "a.gif", "a.bmp", "a.ppm", "a.webp", "a.tif", "deep.png", "deep.pgm")
RASTERS = ("scene.tif", "packed.tif", "scene.jp2")
SOUNDS = ("a.wav", "float.wav", "adpcm.wav", "long.wav", "a.flac", "a.ogg", "a.opus", "a.mp3", "a.aiff")
READERS = {**dict.fromkeys(PICTURES, Photo), "a.tif": GeoTiff, **dict.fromkeys(RASTERS, GeoTiff), **dict.fromkeys(SOUNDS, Audio)}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """A folder with one small good file of every format."""
    folder, rng = tmp_path_factory.mktemp("samples"), np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (24, 30, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[274] = 6
    for name in ("a.png", "a.jpg", "progressive.jpg", "a.gif", "a.bmp", "a.ppm", "a.webp", "a.tif"):
        image.save(folder / name, progressive=name.startswith("prog"), **({"exif": exif} if name[-3:] in ("png", "jpg") else {}))
    for name in ("deep.png", "deep.pgm"):
        Image.fromarray(rng.integers(0, 65_536, (20, 20)).astype(np.uint16)).save(folder / name)
    place = {"crs": "EPSG:32631", "transform": Affine(10, 0, 5e5, 0, -10, 5e6), "height": 24, "width": 24}
    for name, count, dtype, options in (
        ("scene.tif", 2, "float32", {}), ("packed.tif", 3, "int16", {"nodata": 5, "compress": "deflate"}),
        ("scene.jp2", 1, "uint16", {"driver": "JP2OpenJPEG"}),
    ):
        with rasterio.open(folder / name, "w", **{"driver": "GTiff", **place, "count": count, "dtype": dtype, **options}) as file:
            file.write(rng.integers(0, 999, (count, 24, 24)).astype(dtype))
    sound = (rng.normal(size=8000) * 0.1).astype(np.float32)
    for name, container, subtype in (
        ("a.wav", "WAV", "PCM_16"), ("float.wav", "WAV", "FLOAT"), ("adpcm.wav", "WAV", "MS_ADPCM"), ("long.wav", "RF64", "PCM_16"),
        ("a.flac", "FLAC", "PCM_16"), ("a.ogg", "OGG", "VORBIS"), ("a.opus", "OGG", "OPUS"), ("a.mp3", "MP3", "MPEG_LAYER_III"),
        ("a.aiff", "AIFF", "PCM_16"),
    ):
        soundfile.write(folder / name, sound, 24_000, format=container, subtype=subtype)
    return folder


def tensors(path, name):
    """x and measured of every record of a file, by the reader of its format."""
    reader = READERS[name]()
    return [(graph.x, graph.measured) for graph in map(reader.to_graph, reader.records(path))]


# Faults 1 and 2: one bad file costs itself, and is counted.


@pytest.mark.parametrize("name", sorted(READERS))
def test_good_files_survive_their_broken_neighbors_and_all_are_counted(samples, tmp_path, name):
    good, suffix = (samples / name).read_bytes(), Path(name).suffix
    damage = {0: b"", 1: good[:12], 10: good[: len(good) // 2], 19: b"this is no such file at all"}
    outcomes = []
    for i in range(20):
        path = tmp_path / f"{i:02d}{suffix}"
        path.write_bytes(damage.get(i, good))
        outcomes.append(list(stream(path)))
    assert all(len(outcome) == 1 for outcome in outcomes)
    assert [i for i, (item,) in enumerate(outcomes) if not isinstance(item, Graph)] == [0, 1, 10, 19]
    for i in damage:
        ((bad, error),) = outcomes[i]
        assert isinstance(error, GeoembedError)
        assert f"{i:02d}{suffix}" in bad.reason


def test_records_in_is_graphs_and_quarantined(samples, tmp_path):
    (tmp_path / "cut.png").write_bytes((samples / "a.png").read_bytes()[:-500])
    for path, graphs in ((samples / "a.png", 1), (tmp_path / "cut.png", 0)):
        reading = read(path)
        assert len(list(reading)) == graphs
        assert reading.records_in == graphs + len(reading.quarantined) == 1


# Fault 3: a cut file is refused or whole, never a shorter record.


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_cut_file_is_refused_or_was_whole_without_the_rest(samples, tmp_path, name):
    whole, data = tensors(samples / name, name), (samples / name).read_bytes()
    for size in (len(data) // 3, len(data) // 2, len(data) - 1):
        path = tmp_path / f"{size}-{name}"
        path.write_bytes(data[:size])
        try:
            cut = tensors(path, name)
        except GeoembedError:
            continue
        assert size == len(data) - 1, "half a file cannot be whole"
        for (x, measured), (x_whole, measured_whole) in zip(cut, whole, strict=True):
            assert torch.equal(x, x_whole)
            assert torch.equal(measured, measured_whole)


@needs_shared
@pytest.mark.parametrize("name", [
    "audio/LOCA_3.wav", "audio/8khz_5s.opus", "audio/flac1sMono.flac", "audio/silence_10s.mp3", "audio/silence-4ch.aif",
    "audio/gsm_6_10.wav", "audio/classical.ogg", "audio/test1_22050.mp3", "images/hopper.jpg", "images/hopper.webp",
    "images/hopper_16bit.pgm", "images/pil_sample_cmyk.jpg", "images/transparent.png", "images/tiff_16bit_RGB.tiff",
])
def test_a_cut_real_file_gives_no_record_that_the_whole_one_does_not(tmp_path, name):
    source = SHARED / "ecology" / "files" / name
    whole, data = {graph.record: graph for graph in stream(source)}, source.read_bytes()
    for size in (len(data) // 3, len(data) // 2, len(data) - 1):
        path = tmp_path / f"{size}{source.suffix}"
        path.write_bytes(data[:size])
        items = list(stream(path))
        graphs = [item for item in items if isinstance(item, Graph)]
        assert len(graphs) == len(whole) or len(graphs) < len(items), "something is missing and nobody says so"
        for graph in graphs:
            assert torch.equal(graph.measured, whole[graph.record].measured)
            assert torch.equal(graph.x, whole[graph.record].x)


# Fault 4: whatever the bytes, the reader raises typed errors only, and soon.


@pytest.mark.parametrize("name", sorted(READERS))
def test_mutated_bytes_provoke_only_typed_errors(samples, tmp_path, name):
    data, rng, reader = (samples / name).read_bytes(), np.random.default_rng(4), READERS[name]()
    path, good = tmp_path / name, 0
    start = time.perf_counter()
    for i in range(40):
        mutated = bytearray(data)
        if i % 2:
            mutated[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        else:
            for at in rng.integers(min(len(data), 200), size=6):  # headers
                mutated[at] = rng.integers(256)
        path.write_bytes(mutated)
        if reader.can_open(bytes(mutated[:4096]), name):
            try:
                for record in reader.records(path):
                    validate(reader.to_graph(record))
                good += 1
            except GeoembedError:
                pass
    assert time.perf_counter() - start < 60
    assert good < 40


# Fault 11: nodata has no influence.


@pytest.mark.parametrize("fill", [-9999, 0, 32_767])
def test_the_number_that_stands_for_nodata_has_no_influence(tmp_path, fill):
    rng = np.random.default_rng(0)
    array, hole = rng.integers(1, 9999, (4, 40, 40)).astype(np.int16), rng.random((40, 40)) < 0.3
    place = {"crs": "EPSG:32631", "transform": Affine(10, 0, 5e5, 0, -10, 5e6), "height": 40, "width": 40}
    path = tmp_path / "a.tif"
    with rasterio.open(path, "w", driver="GTiff", count=4, dtype="int16", nodata=fill, **place) as file:
        file.write(np.where(hole, np.int16(fill), array))
    (graph,) = stream(path)
    image, measured = image_of(graph)
    assert torch.equal(measured, torch.from_numpy(~hole).expand(4, 40, 40))
    assert torch.equal(image, torch.from_numpy(np.where(hole, 0, array)).float())


# Fault 13: depth, orientation, channels.


def test_a_16_bit_ramp_keeps_16_distinct_values_where_a_clipping_reader_has_two(tmp_path):
    Image.fromarray((np.arange(16, dtype=np.uint16) * 4096).reshape(1, 16)).save(tmp_path / "ramp.png")
    (graph,) = stream(tmp_path / "ramp.png")
    values = image_of(graph)[0][0, 0, :16]
    torch.testing.assert_close(values, torch.arange(16) * 4096 / 65_535)


def test_a_photograph_taken_upright_has_the_graph_of_its_rotated_twin(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = 6  # rotate 90° clockwise to see it upright
    Image.fromarray(array).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(np.rot90(array, -1)).save(tmp_path / "twin.png")
    (turned,), (twin,) = stream(tmp_path / "turned.png"), stream(tmp_path / "twin.png")
    assert torch.equal(turned.x, twin.x)
    assert (turned.notes["height"], turned.notes["width"]) == (40, 20)


# Fault 18: long recordings.


def peak_megabytes():
    """Peak resident memory of this process since the last reset."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def reset_peak():
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the peak of the memory cannot be reset here")


def test_ten_minutes_are_streamed_and_a_click_in_the_last_10_ms_is_heard(tmp_path):
    rate, seconds = 48_000, 600
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", rate, 1, subtype="PCM_16") as file:
        for second in range(seconds):
            block = np.zeros(rate, np.int16)
            if second == seconds - 1:
                block[-240] = 30_000  # 5 ms before the end
            file.write(block)
    reset_peak()
    before = peak_megabytes()
    records = 0
    for record in Audio().records(path):
        assert record.notes["start_sample"] == records * 3 * rate
        assert record.key == f"{records * 3:.3f}s"
        records += 1
    assert records == 200
    assert peak_megabytes() - before < 50
    image, _ = image_of(Audio().to_graph(record))
    assert int(image[0].sum(0).argmax()) == 199


def test_start_times_do_not_drift_over_100000_windows():
    rate = 333  # 33.3 samples a step: a step rounded to 33 would be 90 s early in the end
    silence = torch.zeros(rate * 10_000)
    starts = [start for start, _ in Audio(window=0.1, step=0.1)._windows(iter(silence.split(8192)), rate, 34)]
    assert starts == [k * 333 // 10 for k in range(100_000)]
    assert abs(starts[-1] / rate - 9_999.9) < 1 / rate


# Fault 65: bombs.


@needs_shared
@pytest.mark.parametrize("name", ["decompression_bomb.gif", "bmp_reallybig.bmp"])
def test_a_bomb_is_refused_at_once_and_before_it_is_allocated(name):
    path = SHARED / "ecology" / "files" / "nasty" / name
    list(stream(path))  # imports are no part of it
    reset_peak()
    before, start = peak_megabytes(), time.perf_counter()
    ((_, error),) = stream(path)
    assert isinstance(error, BudgetError)
    assert time.perf_counter() - start < 1
    assert peak_megabytes() - before < 100


def test_a_png_of_176_million_pixels_is_refused_at_once(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (13_300, 13_300)).save(path)
    assert path.stat().st_size < 30_000
    list(stream(path))
    reset_peak()
    before, start = peak_megabytes(), time.perf_counter()
    ((_, error),) = stream(path)
    assert isinstance(error, BudgetError)
    assert time.perf_counter() - start < 1
    assert peak_megabytes() - before < 100
