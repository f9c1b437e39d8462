"""Photographs: depth, orientation and color kept by rule, size in pixels kept as a measurement, nothing clipped."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from geoembed.errors import BudgetError, EmptyGraphError, TruncatedFileError, UnreadableFileError
from geoembed.graphs.grid import image_of
from geoembed.io.geotiff import GeoTiff
from geoembed.io.photo import Photo, fit
from geoembed.io.pixels import Picture, decode
from geoembed.io.reader import stream
from geoembed.schema import Graph, validate
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")


def picture(height=20, width=30, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def graph_of(path, reader=None):
    reader = reader or Photo()
    (record,) = reader.records(path)
    graph = reader.to_graph(record)
    return validate(graph.with_provenance(notes=dict(record.notes)))


def pixels_of(path, reader=None):
    """(the measured rectangle [3, h, w], notes)."""
    graph = graph_of(path, reader)
    image, measured = image_of(graph)
    height, width = int(measured[0].any(1).sum()), int(measured[0].any(0).sum())
    return image[:, :height, :width], graph.notes


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "webp", "tif"])
def test_every_lossless_format_gives_the_pixels_between_0_and_1(tmp_path, suffix):
    path, array = tmp_path / f"a.{suffix}", picture()
    Image.fromarray(array).save(path, **({"lossless": True} if suffix == "webp" else {}))
    reader = GeoTiff() if suffix == "tif" else Photo()
    assert reader.can_open(path.read_bytes()[:4096], path.name)
    image, _ = pixels_of(path, reader)
    torch.testing.assert_close(image, torch.from_numpy(array).permute(2, 0, 1) / 255)


def test_a_jpeg_is_read_to_within_its_compression(tmp_path):
    smooth = np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None].repeat(48, 0).repeat(3, 2)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    image, _ = pixels_of(tmp_path / "a.jpg")
    assert float((image - torch.from_numpy(smooth).permute(2, 0, 1) / 255).abs().max()) < 0.03


def test_a_small_photograph_is_not_enlarged_and_lies_at_the_top_left(tmp_path):
    Image.fromarray(picture(20, 30)).save(tmp_path / "a.png")
    graph = graph_of(tmp_path / "a.png")
    _, measured = image_of(graph)
    expected = torch.zeros(3, 224, 224, dtype=torch.bool)
    expected[:, :20, :30] = True
    assert torch.equal(measured, expected)
    assert graph.mask.nonzero().flatten().tolist() == [0, 1, 14, 15]
    assert graph.provenance.topology == "grid:14x14"
    assert graph.notes == {"height": 20, "width": 30}


def test_a_large_photograph_is_scaled_with_its_aspect_ratio_and_its_mean(tmp_path):
    array = picture(300, 600)
    Image.fromarray(array).save(tmp_path / "a.png")
    image, notes = pixels_of(tmp_path / "a.png")
    assert image.shape == (3, 112, 224)
    assert notes["scaled"] == pytest.approx(224 / 600, abs=1e-4)
    # noise is averaged, not picked: the mean stays and the spread falls by about the linear factor
    assert float(image.mean()) == pytest.approx(array.mean() / 255, abs=2e-3)
    assert float(image.std()) < 0.55 * array.std() / 255


def test_a_large_jpeg_decoded_at_reduced_size_looks_like_its_full_decoding(tmp_path):
    yy, xx = np.mgrid[:1600, :1200]
    array = np.stack([xx * 255 / 1200, yy * 255 / 1600, 128 + 100 * np.sin(xx / 90)], -1).astype(np.uint8)
    Image.fromarray(array).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(array).save(tmp_path / "a.png")
    reduced, notes = pixels_of(tmp_path / "a.jpg")
    full, _ = pixels_of(tmp_path / "a.png")
    assert (notes["height"], notes["width"]) == (1600, 1200)
    assert float((reduced - full).abs().mean()) < 0.01


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5000), (3000, 2), (224, 224), (225, 224)])
def test_extreme_shapes_keep_at_least_one_pixel_a_side(tmp_path, height, width):
    Image.fromarray(picture(height, width)).save(tmp_path / "a.png")
    image, _ = pixels_of(tmp_path / "a.png")
    scale = min(1.0, 224 / max(height, width))
    assert image.shape == (3, max(1, round(height * scale)), max(1, round(width * scale)))


def test_a_black_picture_is_a_measurement(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    graph = graph_of(tmp_path / "a.png")
    assert int(graph.measured.sum()) == 3 * 16 * 16
    assert not graph.x.any()


def test_gray_is_repeated_and_noted(tmp_path):
    array = picture()[..., 0]
    Image.fromarray(array).save(tmp_path / "a.png")
    image, notes = pixels_of(tmp_path / "a.png")
    for channel in image:
        torch.testing.assert_close(channel, torch.from_numpy(array) / 255)
    assert notes["gray_repeated"] == 3


@pytest.mark.parametrize("name", ["a.png", "a.pgm", "a.tif"])
def test_a_16_bit_gray_ramp_keeps_its_values(tmp_path, name):
    ramp = (np.arange(16, dtype=np.uint16) * 4369).reshape(4, 4)  # 0 … 65535
    Image.fromarray(ramp).save(tmp_path / name)
    image, notes = pixels_of(tmp_path / name, GeoTiff() if name.endswith("tif") else Photo())
    torch.testing.assert_close(image[0].flatten(), torch.arange(16) / 15)
    assert notes["bits"] == 16


def png(width, height, depth, color, rows, extra=b""):
    """A PNG by hand: rows are bytes of the image, filter 0 each."""
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_16_bit_color_png_keeps_its_lower_byte(tmp_path):
    values = np.array([[[0, 1, 2], [255, 256, 257], [65_533, 65_534, 65_535]]], ">u2")
    (tmp_path / "a.png").write_bytes(png(3, 1, 16, 2, [values.tobytes()]))
    image, _ = pixels_of(tmp_path / "a.png")
    torch.testing.assert_close(image * 65_535, torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1))


def test_16_bit_alpha_is_a_mask(tmp_path):
    values = np.array([[[7, 8, 9, 0], [10, 20, 30, 1]]], ">u2")
    (tmp_path / "a.png").write_bytes(png(2, 1, 16, 6, [values.tobytes()]))
    graph = graph_of(tmp_path / "a.png")
    _, measured = image_of(graph)
    assert measured[:, 0, :2].tolist() == [[False, True]] * 3
    assert graph.notes["transparent_pixels"] == 1


@pytest.mark.parametrize("maxval", [1023, 65_535])
def test_a_deep_ppm_is_scaled_by_its_own_white(tmp_path, maxval):
    values = np.array([[[0, maxval // 2, maxval], [maxval, 1, 2]]], ">u2")
    (tmp_path / "a.ppm").write_bytes(b"P6\n# a comment\n2 1\n%d\n" % maxval + values.tobytes())
    image, _ = pixels_of(tmp_path / "a.ppm")
    torch.testing.assert_close(image * maxval, torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1))


def test_a_deep_ppm_that_is_cut_is_truncated(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P6\n4 4\n65535\n" + bytes(50))
    with pytest.raises(TruncatedFileError):
        list(Photo().records(tmp_path / "a.ppm"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_file_equals_its_upright_twin(tmp_path, orientation):
    upright = Image.fromarray(picture(300, 500))
    undo = {2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180], 4: [Image.Transpose.FLIP_TOP_BOTTOM],
            5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90], 7: [Image.Transpose.TRANSVERSE],
            8: [Image.Transpose.ROTATE_270]}.get(orientation, [])
    stored = upright
    for step in undo:  # the inverse of what a viewer does
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[274] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    upright.save(tmp_path / "upright.png")
    turned, expected = graph_of(tmp_path / "turned.png"), graph_of(tmp_path / "upright.png")
    assert torch.equal(turned.x, expected.x)
    assert (turned.notes["height"], turned.notes["width"]) == (300, 500)
    assert turned.notes.get("exif_orientation", 1) == orientation


def test_an_orientation_that_does_not_exist_is_ignored_and_noted(tmp_path):
    exif = Image.Exif()
    exif[274] = 42
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=exif)
    _, notes = pixels_of(tmp_path / "a.png")
    assert notes["exif"] == "orientation 42 ignored"


@pytest.mark.parametrize("mode", ["CMYK", "P", "1", "LA", "RGBA", "YCbCr"])
def test_every_color_mode_becomes_the_rgb_of_its_rule(tmp_path, mode):
    source = Image.fromarray(picture(8, 8) // 2 + 64)
    name = "a.jpg" if mode in ("CMYK", "YCbCr") else "a.png"
    source.convert(mode).save(tmp_path / name)
    image, notes = pixels_of(tmp_path / name)
    with Image.open(tmp_path / name) as stored:
        expected = np.asarray(stored.convert("RGB"))
        stored_mode = stored.mode
    torch.testing.assert_close(image, torch.from_numpy(expected.copy()).permute(2, 0, 1) / 255)
    assert notes.get("color") == (stored_mode if stored_mode in ("CMYK", "P", "1") else None)


@pytest.mark.parametrize("kind", ["RGBA", "palette", "gray", "color"])
def test_a_transparent_pixel_is_not_measured_whatever_its_color(tmp_path, kind):
    graphs = []
    for hidden in (0, 200):
        array = np.full((4, 4, 3), 100, np.uint8)
        array[1, 2] = hidden
        path = tmp_path / f"{kind}{hidden}.png"
        if kind == "RGBA":
            alpha = np.full((4, 4, 1), 3, np.uint8)  # nearly transparent is still measured, unblended
            alpha[1, 2] = 0
            Image.fromarray(np.concatenate([array, alpha], -1)).save(path)
        elif kind == "palette":
            image = Image.fromarray((array[..., 0] != 100).astype(np.uint8)).convert("P")
            image.putpalette([100, 100, 100, hidden, hidden, hidden])
            image.save(path, transparency=1)
        elif kind == "gray":
            Image.fromarray(array[..., 0]).save(path, transparency=hidden)
        else:
            Image.fromarray(array).save(path, transparency=(hidden,) * 3)
        graphs.append(graph_of(path))
    assert torch.equal(graphs[0].x, graphs[1].x)
    _, measured = image_of(graphs[0])
    assert int(measured[0].sum()) == 15
    assert not measured[:, 1, 2].any()
    assert graphs[0].notes["transparent_pixels"] == 1


def test_16_bit_gray_with_a_transparent_value_is_masked(tmp_path):
    values = np.array([[5, 300, 65_535]], ">u2")
    chunk = b"tRNS" + struct.pack(">H", 300)
    extra = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(png(3, 1, 16, 0, [values.tobytes()], extra))
    _, measured = image_of(graph_of(tmp_path / "a.png"))
    assert measured[0, 0, :3].tolist() == [True, False, True]


def test_a_wholly_transparent_picture_is_empty(tmp_path):
    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save(tmp_path / "a.png")
    (record,) = Photo().records(tmp_path / "a.png")
    with pytest.raises(EmptyGraphError, match="no measured pixel"):
        Photo().to_graph(record)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), height=st.integers(225, 400), width=st.integers(225, 400))
def test_what_lies_under_transparency_never_enters_the_average(seed, height, width):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    opaque = rng.random((height, width)) < 0.6
    other = np.where(opaque[..., None], values, rng.integers(0, 256, values.shape, dtype=np.uint8))
    first, mask = fit(Picture(values, 255, opaque, (height, width), {}), 224)
    second, _ = fit(Picture(other, 255, opaque, (height, width), {}), 224)
    assert torch.equal(first, second)
    constant = np.full_like(values, 90)
    third, _ = fit(Picture(constant, 255, opaque, (height, width), {}), 224)
    torch.testing.assert_close(third[:, mask], torch.full_like(third[:, mask], 90 / 255))


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_of_an_animation_the_first_frame_is_taken_and_that_is_noted(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), color) for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    image, notes = pixels_of(tmp_path / f"a.{suffix}")
    assert image[:, 0, 0].tolist() == [1, 0, 0]
    assert notes["animation"] == "first frame"


def test_a_claim_of_176_million_pixels_in_a_small_file_is_refused_before_decoding(tmp_path):
    # as many bytes as one row, said to be 176 million pixels
    (tmp_path / "bomb.png").write_bytes(png(13_300, 13_300, 8, 0, [bytes(13_300)]))
    with pytest.raises(BudgetError, match="Split the record"):
        list(Photo().records(tmp_path / "bomb.png"))
    (tmp_path / "larger.png").write_bytes(png(60_000, 60_000, 8, 2, [bytes(10)]))
    with pytest.raises(BudgetError, match="Cut the picture"):
        list(Photo().records(tmp_path / "larger.png"))


def test_a_picture_of_no_pixels_is_empty(tmp_path):
    (tmp_path / "a.gif").write_bytes(b"GIF89a" + struct.pack("<HHBBB", 0, 5, 0x80, 0, 0) + bytes(6) + b",")
    with pytest.raises(EmptyGraphError, match="0 pixels"):
        list(Photo().records(tmp_path / "a.gif"))


def test_cmyk_of_16_bits_is_refused_rather_than_misread(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / "a.tif"
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(
        path, "w", driver="GTiff", width=4, height=4, count=4, dtype="uint16", photometric="CMYK"
    ) as file:
        file.write(np.ones((4, 4, 4), np.uint16))
    # GDAL's metadata tag would make it a raster; a private tag does not
    path.write_bytes(path.read_bytes().replace(struct.pack("<HH", 42_112, 2), struct.pack("<HH", 65_000, 2)))
    with pytest.raises(UnreadableFileError, match="color profile"):
        list(GeoTiff().records(path))


@pytest.mark.parametrize(("head", "name"), [
    (b"RIFF\0\0\0\0WAVE", "a.webp"), (b"BM is a text", "a.bmp"), (b"P5 is a text", "a.txt"), (b"P9\n4 4\n255\n", "a.ppm"),
    (b"PNG\r\n\x1a\n", "a.png"), (b"", "a.jpg"), (b"II*\0", "a.tif"),
])
def test_other_files_are_not_taken_for_pictures(head, name):
    assert not Photo().can_open(head, name)


def test_plain_netpbm_is_a_picture(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P2\n# feep\n3 1\n15\n0 5 15\n")
    assert Photo().can_open(b"P2\n# feep\n3 1\n15\n", "a.pgm")
    image, _ = pixels_of(tmp_path / "a.pgm")
    torch.testing.assert_close(image[0], torch.tensor([[0.0, 1 / 3, 1.0]]), atol=1 / 510, rtol=0)


def test_a_broken_exif_block_is_ignored_and_noted(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "JPEG")
    data = buffer.getvalue()
    block = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"  # five entries announced, none there
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])
    result = decode(tmp_path / "a.jpg")
    with Image.open(buffer) as plain:
        assert np.array_equal(result.values, np.asarray(plain))
    assert "warning" in result.notes or "exif" in result.notes


@needs_shared
def test_real_orientation_files_show_one_picture():
    folder = SHARED / "ecology" / "files" / "images"
    upright, _ = pixels_of(folder / "hopper.jpg")
    for orientation in (2, 3, 6, 8):
        image, _ = pixels_of(folder / f"hopper_orientation_{orientation}.jpg")
        both = torch.stack([image.flatten(), upright.flatten()])
        assert float(torch.corrcoef(both)[0, 1]) > 0.97


@needs_shared
@pytest.mark.parametrize(("name", "error"), [
    ("broken.png", UnreadableFileError), ("broken_data_stream.png", UnreadableFileError), ("truncated_image.png", TruncatedFileError),
    ("truncated_jpeg.jpg", TruncatedFileError), ("decompression_bomb.gif", BudgetError), ("bmp_reallybig.bmp", BudgetError),
    ("bmp_shortfile.bmp", TruncatedFileError), ("zero_width.gif", EmptyGraphError),
    ("crash-0c7e0e8e11ce787078f00b5b0ca409a167f070e0.tif", TruncatedFileError),
    ("oom-225817ca0f8c663be7ab4b9e717b02c661e66834.tif", TruncatedFileError), ("seek_too_large.tif", TruncatedFileError),
])
def test_real_broken_pictures_are_refused(name, error):
    ((_, raised),) = stream(SHARED / "ecology" / "files" / "nasty" / name)
    assert isinstance(raised, error)


@needs_shared
@pytest.mark.parametrize("name", ["hopper_bad_exif.jpg", "invalid-exif.jpg", "junk_jpeg_header.jpg", "apng_chunk_no_fdat.png"])
def test_real_odd_pictures_are_read(name):
    (graph,) = stream(SHARED / "ecology" / "files" / "nasty" / name)
    assert isinstance(graph, Graph)
    assert graph.provenance.modality == "photo"


@needs_shared
def test_a_real_16_bit_color_tiff_is_neither_clipped_nor_cut_to_8_bits():
    (graph,) = stream(SHARED / "ecology" / "files" / "images" / "tiff_16bit_RGB.tiff")
    values = (graph.x[graph.measured] * 65_535).round()
    assert float(values.max()) == 39_661
    assert len(values.unique()) > 256
