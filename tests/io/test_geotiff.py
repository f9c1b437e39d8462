"""Rasters: a missing pixel is a mask whatever the file calls it, bands find their slots, large scenes come in tiles."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from geoembed.errors import BudgetError, EmptyGraphError, TruncatedFileError, UnreadableFileError
from geoembed.graphs.grid import SENTINEL2, image_of
from geoembed.io.geotiff import GeoTiff
from geoembed.io.reader import stream
from geoembed.schema import Graph, validate
from PIL import Image
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
PLACE = {"crs": CRS.from_epsg(32631), "transform": Affine(10, 0, 500_000, 0, -10, 5_600_000)}


def write(path, array, names=(), alpha=False, mask=None, scale=None, **options):
    array = np.asarray(array)
    count, height, width = array.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": array.dtype, **PLACE, **options}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as file:
        if alpha:
            file.colorinterp = [*file.colorinterp[:-1], ColorInterp.alpha]
        file.write(array)
        if names:
            file.descriptions = names
        if mask is not None:
            file.write_mask(mask)
        if scale:
            file.scales, file.offsets = [scale[0]] * count, [scale[1]] * count
    return path


def read(path):
    """[(graph with the notes of its record)] of a file."""
    reader = GeoTiff()
    return [validate(reader.to_graph(r).with_provenance(record=r.key, notes=dict(r.notes))) for r in reader.records(path)]


def test_a_scene_keeps_its_numbers_and_says_where_it_is(tmp_path):
    array = np.random.default_rng(0).integers(0, 10_000, (6, 20, 25)).astype(np.int16)
    (graph,) = read(write(tmp_path / "a.tif", array))
    image, measured = image_of(graph)
    assert torch.equal(image, torch.from_numpy(array).float())
    assert measured.all()
    assert graph.record == "0,0"
    assert graph.provenance.modality == "scene"
    assert dict(graph.notes) == {"crs": "EPSG:32631", "x": 500_000.0, "y": 5_600_000.0}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_every_type_of_number_is_read(tmp_path, dtype):
    (graph,) = read(write(tmp_path / "a.tif", np.arange(16).reshape(1, 4, 4).astype(dtype)))
    assert image_of(graph)[0].flatten().tolist() == list(range(16))


WAYS = ["nodata", "nan", "internal mask", "alpha", "undeclared fill"]


@pytest.mark.parametrize("way", WAYS)
def test_a_missing_pixel_is_a_mask_and_never_a_number(tmp_path, way):
    array = np.random.default_rng(1).normal(1000, 100, (2, 16, 16)).astype(np.float32)
    hole = np.zeros((16, 16), bool)
    hole[3:6, 2:9] = True
    graphs = []
    for under in (-9999.0, 123.0):
        holed = np.where(hole, np.float32(under), array)
        options = {}
        if way == "nodata":
            options, holed = {"nodata": under}, holed
        elif way == "nan":
            holed = np.where(hole, np.float32("nan"), array)
        elif way == "undeclared fill":
            holed = np.where(hole, np.float32(-3.4e38 if under < 0 else 9.97e36), array)
        elif way == "internal mask":
            options = {"mask": np.where(hole, 0, 255).astype(np.uint8)}
        else:
            holed = np.concatenate([holed, np.where(hole, 0, 1).astype(np.float32)[None]])
            options = {"alpha": True}
        graphs += read(write(tmp_path / f"{under}.tif", holed, **options))
    for graph in graphs:
        image, measured = image_of(graph)
        assert torch.equal(measured, torch.from_numpy(~hole).expand(2, 16, 16))
        assert torch.equal(image, torch.from_numpy(np.where(hole, 0, array)))
    assert torch.equal(graphs[0].x, graphs[1].x)
    if way == "undeclared fill":
        assert graphs[0].notes["beyond_1e30"] == 2 * 21


def test_a_16_bit_alpha_below_256_is_not_transparent(tmp_path):
    alpha = np.zeros((8, 8), np.uint16)
    alpha[:, 4:] = 100  # an 8-bit mask would round it to 0
    array = np.concatenate([np.full((3, 8, 8), 7, np.uint16), alpha[None]])
    (graph,) = read(write(tmp_path / "a.tif", array, alpha=True))
    assert int(image_of(graph)[1].any(0).sum()) == 32


def test_nothing_measured_is_an_error_that_asks_for_the_nodata_value(tmp_path):
    path = write(tmp_path / "a.tif", np.full((1, 600, 20), 7, np.uint8), nodata=7)
    with pytest.raises(EmptyGraphError, match="nodata value"):
        read(path)


def test_scale_and_offset_of_the_file_are_applied_and_noted(tmp_path):
    array = np.array([[[0, 100], [200, 30_000]]], np.int16)
    (graph,) = read(write(tmp_path / "a.tif", array, scale=(1e-4, -0.1), nodata=30_000))
    image, measured = image_of(graph)
    torch.testing.assert_close(image[0], torch.tensor([[-0.1, -0.09], [-0.08, 0.0]]))
    assert measured[0].tolist() == [[True, True], [True, False]]
    assert "scale" in graph.notes["scaled"]


def test_complex_radar_pixels_become_their_magnitude(tmp_path):
    array = np.array([[[3 + 4j, 0], [-5, 12j]]], np.complex64)
    (graph,) = read(write(tmp_path / "a.tif", array))
    assert image_of(graph)[0].flatten().tolist() == [5, 0, 5, 12]
    assert graph.notes["complex"] == "magnitude"


def test_named_bands_take_their_slots_among_the_thirteen(tmp_path):
    array = np.stack([np.full((8, 8), value) for value in (2.0, 8.0, 99.0)]).astype(np.float32)
    (graph,) = read(write(tmp_path / "a.tif", array, names=("B2", "B8A", "SCL")))
    image, measured = image_of(graph)
    assert measured[:, 0, 0].nonzero().flatten().tolist() == [1, 8]
    assert (image[1] == 2).all()
    assert (image[8] == 8).all()
    assert graph.provenance.settings["bands"] == list(SENTINEL2)
    assert graph.notes["bands_placed"] == "B2 as B02, B8A as B8A"
    assert graph.notes["bands_left_out"] == 1


def test_an_rgb_scene_is_red_green_and_blue_light(tmp_path):
    array = np.stack([np.full((8, 8), v, np.uint8) for v in (30, 20, 10)])
    (graph,) = read(write(tmp_path / "a.tif", array, photometric="RGB"))
    image, _ = image_of(graph)
    assert image[:, 0, 0].tolist() == [0, 10, 20, 30, 0, 0, 0, 0, 0, 0, 0, 0, 0]


def test_landsat_numbers_are_not_taken_for_sentinels(tmp_path):
    (graph,) = read(write(tmp_path / "a.tif", np.ones((3, 8, 8), np.float32), names=("B4", "B5", "B6")))
    assert graph.provenance.settings["channels"] == 3
    assert graph.provenance.settings["bands"] == ["B4", "B5", "B6"]


def test_a_large_scene_comes_in_tiles_that_together_are_the_scene(tmp_path):
    array = np.random.default_rng(0).normal(size=(2, 700, 530)).astype(np.float32)
    graphs = read(write(tmp_path / "a.tif", array, tiled=True, blockxsize=128, blockysize=128))
    assert [graph.record for graph in graphs] == [f"{r},{c}" for r in (0, 256, 512) for c in (0, 256, 512)]
    assert {graph.provenance.topology for graph in graphs} == {"grid:32x32"}
    scene, seen = torch.zeros(2, 768, 768), torch.zeros(2, 768, 768, dtype=torch.bool)
    for graph in graphs:
        row, col = map(int, graph.record.split(","))
        scene[:, row : row + 256, col : col + 256], seen[:, row : row + 256, col : col + 256] = image_of(graph)
    assert torch.equal(scene[:, :700, :530], torch.from_numpy(array))
    assert seen[:, :700, :530].all()
    assert int(seen.sum()) == 2 * 700 * 530
    assert (graphs[5].notes["x"], graphs[5].notes["y"]) == (500_000 + 5120, 5_600_000 - 2560)


def test_empty_tiles_are_no_records_and_are_counted(tmp_path):
    array = np.zeros((1, 600, 600), np.uint8)
    array[0, :10, :10], array[0, 300, 300] = 5, 5
    graphs = read(write(tmp_path / "a.tif", array, nodata=0))
    assert [graph.record for graph in graphs] == ["0,0", "256,256"]
    assert "empty_tiles" not in graphs[0].notes
    assert graphs[1].notes["empty_tiles"] == 7


def test_tiles_before_a_cut_are_kept(tmp_path):
    array = np.random.default_rng(0).normal(size=(1, 600, 600)).astype(np.float32)
    path = write(tmp_path / "a.tif", array, tiled=True, blockxsize=256, blockysize=256)
    data = path.read_bytes()
    head = len(data) - 9 * 256 * 256 * 4
    path.write_bytes(data[: head + 3 * 256 * 256 * 4])  # the first row of three tiles
    items = list(stream(path))
    assert [isinstance(item, Graph) for item in items] == [True, True, True, False]
    assert isinstance(items[-1][1], TruncatedFileError)


def test_jpeg_2000_is_read_and_a_cut_one_is_truncated(tmp_path):
    array = np.random.default_rng(0).integers(0, 4000, (1, 64, 64)).astype(np.uint16)
    path = write(tmp_path / "T31UFS_B04.jp2", array, driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES")
    assert GeoTiff().can_open(path.read_bytes()[:4096], path.name)
    (graph,) = read(path)
    assert torch.equal(image_of(graph)[0], torch.from_numpy(array.astype(np.float32)))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TruncatedFileError, match="Fetch"):
        read(path)


def test_a_plain_picture_is_a_photo_and_a_georeferenced_one_a_scene(tmp_path):
    array = np.full((3, 32, 32), 51, np.uint8)
    Image.fromarray(np.moveaxis(array, 0, -1)).save(tmp_path / "photo.tif")
    (photo,) = read(tmp_path / "photo.tif")
    (scene,) = read(write(tmp_path / "scene.tif", array))
    assert (photo.provenance.modality, scene.provenance.modality) == ("photo", "scene")
    assert float(photo.x.max()) == pytest.approx(0.2)
    assert float(scene.x.max()) == 51


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("array", [np.ones((1, 4, 4), np.float32), np.ones((2, 4, 4), np.uint8), np.ones((7, 4, 4), np.int16)])
def test_what_is_no_picture_is_a_scene_without_a_place(tmp_path, array):
    (graph,) = read(write(tmp_path / "a.tif", array, crs=None, transform=None))
    assert graph.provenance.modality == "scene"
    assert graph.notes == {}


def test_a_virtual_raster_that_names_other_files_is_not_opened(tmp_path):
    write(tmp_path / "secret.tif", np.ones((1, 4, 4), np.uint8))
    (tmp_path / "a.tif").write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f'<SourceFilename>{tmp_path / "secret.tif"}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    )
    assert not GeoTiff().can_open((tmp_path / "a.tif").read_bytes()[:4096], "a.tif")
    with pytest.raises(UnreadableFileError, match="Fetch"):
        read(tmp_path / "a.tif")


def test_a_sparse_file_that_declares_terabytes_is_refused(tmp_path):
    path = tmp_path / "sparse.tif"
    profile = {"driver": "GTiff", "count": 1, "height": 200_000, "width": 200_000, "dtype": "float32", "tiled": True, **PLACE}
    with rasterio.open(path, "w", SPARSE_OK=True, blockxsize=4096, blockysize=4096, **profile):
        pass
    with pytest.raises(BudgetError, match="part that holds data"):
        read(path)


@pytest.mark.parametrize("name", ["run[1] é #x.tif", "a b.tif", "UPPER.TIF", "100%.tif", "zip!x.tif"])
def test_odd_names_are_names(tmp_path, name):
    (graph,) = read(write(tmp_path / name, np.ones((2, 4, 4), np.uint16)))
    assert graph.num_nodes == 1


@needs_shared
@pytest.mark.parametrize(("name", "error"), [("all-nodata.tif", EmptyGraphError), ("inverted_lat.tif", EmptyGraphError)])
def test_real_scenes_without_a_valid_pixel_are_refused(name, error):
    ((_, raised),) = stream(SHARED / "satellite" / "nasty" / name)
    assert isinstance(raised, error)


@needs_shared
@pytest.mark.parametrize(("name", "records", "share"), [
    ("nasty/cint16.tif", 1, None), ("nasty/RGBA.uint16.tif", 6, None), ("nasty/float_nan.tif", 1, 5 / 6),
    ("nasty/float_raster_with_nodata.tif", 1, None), ("files/goes.tif", 8, None), ("files/img-16bit.jp2", 64, None),
    ("files/sent2_L2A_2024-08-24.tif", 1, None), ("nasty/rotated.tif", 1, 1.0), ("nasty/test_esri_wkt.tif", 1, 1.0),
])
def test_real_scenes_are_read_with_their_holes(name, records, share):
    graphs = list(stream(SHARED / "satellite" / name))
    assert len(graphs) == records
    assert all(isinstance(graph, Graph) and graph.provenance.modality == "scene" for graph in graphs)
    assert all(float(graph.x.abs().max()) < 1e30 for graph in graphs)
    if share is not None:
        assert float(image_of(graphs[0])[1].float().mean()) == pytest.approx(share)
