"""A TIFF that was cut anywhere is refused, whatever was written last: pixels, or the values of its tags."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import rasterio
from geoembed.errors import TruncatedFileError
from geoembed.io.geotiff import GeoTiff
from geoembed.io.tiff_extent import require_tags
from PIL import Image
from rasterio.crs import CRS
from rasterio.transform import Affine


def scene(path, **options):
    """Three bands whose names and nodata stand at the end of the file."""
    array = np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32)
    array[0, 3] = -9999.123
    profile = {"driver": "GTiff", "count": 3, "height": 64, "width": 64, "dtype": "float32", "crs": CRS.from_epsg(32633),
               "transform": Affine(10, 0, 5e5, 0, -10, 5e6), "nodata": -9999.123, **options}
    with rasterio.open(path, "w", **profile) as file:
        file.write(array)
        file.descriptions = ["B04", "B03", "B02"]
    return path


@pytest.mark.parametrize("options", [
    {}, {"BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}, {"tiled": True, "blockxsize": 16, "blockysize": 16}, {"compress": "deflate"},
], ids=["classic", "big", "big-endian", "tiles", "deflate"])
def test_a_raster_cut_anywhere_is_refused(tmp_path, options):
    whole = scene(tmp_path / "a.tif", **options).read_bytes()
    require_tags(tmp_path / "a.tif")
    for kept in [*(len(whole) - cut for cut in (1, 2, 8, 20, 100, 400)), len(whole) // 2, len(whole) // 10]:
        (tmp_path / "cut.tif").write_bytes(whole[:kept])
        with pytest.raises(TruncatedFileError, match="etch"):
            list(GeoTiff().records(tmp_path / "cut.tif"))


def test_a_picture_without_its_last_tag_is_refused(tmp_path):
    Image.fromarray(np.arange(3072, dtype=np.uint8).reshape(32, 32, 3)).save(tmp_path / "a.tif")
    whole = (tmp_path / "a.tif").read_bytes()
    assert len(list(GeoTiff().records(tmp_path / "a.tif"))) == 1
    (tmp_path / "cut.tif").write_bytes(whole[:-1])
    with pytest.raises(TruncatedFileError):
        list(GeoTiff().records(tmp_path / "cut.tif"))


def test_directories_in_a_ring_and_beyond_the_end_come_to_an_end(tmp_path):
    ring = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0) + struct.pack("<I", 8)
    (tmp_path / "ring.tif").write_bytes(ring)
    require_tags(tmp_path / "ring.tif")
    for place in (1 << 20, (1 << 32) - 1):
        (tmp_path / "far.tif").write_bytes(b"II*\0" + struct.pack("<I", place))
        with pytest.raises(TruncatedFileError, match="8 bytes"):
            require_tags(tmp_path / "far.tif")
    (tmp_path / "huge.tif").write_bytes(b"II+\0" + struct.pack("<HHQ", 8, 0, (1 << 64) - 1))
    with pytest.raises(TruncatedFileError, match="16 bytes"):
        require_tags(tmp_path / "huge.tif")
    (tmp_path / "none.tif").write_bytes(b"no TIFF at all")
    require_tags(tmp_path / "none.tif")
