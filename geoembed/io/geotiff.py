"""Georeferenced rasters to patch grids: any bands and types, missing pixels masked, large scenes read tile by tile."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoembed.errors import BudgetError, EmptyGraphError, TruncatedFileError, UnreadableFileError
from geoembed.graphs.bands import SENTINEL2, place_bands, sentinel2_slots
from geoembed.graphs.grid import grid_graph
from geoembed.io.budget import LIMIT, check_budget
from geoembed.io.extras import require
from geoembed.io.photo import Photo
from geoembed.io.pixels import Picture
from geoembed.io.record import Record
from geoembed.io.tiff_extent import require_tags
from geoembed.schema import Graph, Scalar

WHOLE, TILE, PATCH = 512, 256, 8

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG2000 = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
# GeoTIFF 1.1 (OGC 19-008r4): pixel scale, tie points, transformation, keys; RPC; GDAL's metadata and nodata
_GEO_TAGS = frozenset({33550, 33922, 34264, 34735, 50844, 42112, 42113})
_SAMPLE_FORMAT, _BITS = 339, 258
_HUGE = 1e30  # no physical quantity; fill values that a writer forgot to declare (-3.4e38, 9.97e36)
_EMPTY_RATIO = 2000  # declared : stored bytes beyond LIMIT; deflate reaches 1,032, sparse files anything


@dataclass(frozen=True)
class Scene:
    """Payload of a record: values and measured [C, H, W]; ``bands``: the name of each channel, empty where unknown."""

    values: Tensor
    measured: Tensor
    bands: tuple[str, ...]


class GeoTiff:
    """GeoTIFF, BigTIFF, cloud-optimized GeoTIFF and JPEG 2000 with any bands and types -> grid of 8 × 8 pixel patches.

    Up to 512 × 512 pixels are one record, ``"0,0"``. A larger scene is cut into tiles of 256 × 256, read one by one; the key
    is the (row, column) of a tile's first pixel. Tiles at the border are filled up with unmeasured pixels; tiles without a
    measured pixel are no records, their number is noted with the last one.

    Not measured: nodata, mask bands, alpha 0, NaN, infinity, and magnitudes above 1e30. Scale and offset of the file are
    applied, else the numbers are those of the file. Complex pixels become their magnitude. Where two or more bands carry
    Sentinel-2 names, STAC common names (``nir``) or the colors red, green, blue, they are put into the 13 slots of
    ``SENTINEL2``, other bands are left out, and both are noted; otherwise the channels stay as they are.

    A plain TIFF picture (1, 3 or 4 channels of 8 or 16 bits, no georeference) goes to :class:`Photo`.
    """

    kind = "grid"
    suffixes = (".tif", ".tiff", ".gtiff", ".jp2", ".j2k")

    def __init__(self) -> None:
        self._photo = Photo()

    def can_open(self, head: bytes, name: str) -> bool:
        """By magic number."""
        return head.startswith(_TIFF + _JPEG2000)

    def records(self, path: Path) -> Iterator[Record]:
        """The scene or its tiles, row by row; raises :class:`EmptyGraphError` where no pixel was measured."""
        with open(path, "rb") as file:
            tiff = file.read(4) in _TIFF
        if tiff:
            require_tags(path)
        if tiff and _is_picture(path):
            yield from self._photo.records(path)
            return
        with _opened(path, "GTiff" if tiff else "JP2OpenJPEG") as dataset:
            _check_size(path, dataset)
            yield from _tiles(path, dataset)

    def to_graph(self, record: Record) -> Graph:
        """The graph of a scene or tile (or of a picture)."""
        if isinstance(record.payload, Picture):
            return self._photo.to_graph(record)
        scene: Scene = record.payload
        slots = sentinel2_slots(scene.bands)
        if len(slots) < 2:
            names = scene.bands if all(scene.bands) else None
            return grid_graph(scene.values, patch=PATCH, mask=scene.measured, bands=names, modality="scene")
        chosen = list(slots)
        image, mask = place_bands(scene.values[chosen], list(slots.values()), SENTINEL2, scene.measured[chosen])
        graph = grid_graph(image, patch=PATCH, mask=mask, bands=SENTINEL2, modality="scene")
        notes: dict[str, Scalar] = {"bands_placed": ", ".join(f"{scene.bands[i]} as {slot}" for i, slot in slots.items())}
        if len(chosen) < len(scene.bands):
            notes["bands_left_out"] = len(scene.bands) - len(chosen)
        return graph.with_provenance(notes=notes)


def _is_picture(path: Path) -> bool:
    """Whether a TIFF is an ordinary picture: no georeference, 1, 3 or 4 channels of at most 16 bits, unsigned."""
    pillow = require("PIL.Image", "satellite")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pillow.open(path, formats=("TIFF",)) as image:
                tags = image.tag_v2
                if _GEO_TAGS.intersection(tags) or set(tags.get(_SAMPLE_FORMAT, (1,))) != {1}:
                    return False
                bits = tags.get(_BITS, (1,))
                return len(bits) in (1, 3, 4) and max(bits) <= 16
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, EOFError, IndexError, pillow.DecompressionBombError):
        return False  # GDAL's message is the better one


@contextmanager
def _opened(path: Path, driver: str) -> Iterator[Any]:
    """The raster dataset; GDAL's errors become typed, and only the named driver is tried (a VRT may name other files)."""
    rasterio = require("rasterio", "satellite")
    errors = require("rasterio.errors", "satellite")
    try:
        with warnings.catch_warnings():  # closed before the yield: a suspended generator must not hold the filters
            warnings.simplefilter("ignore", errors.NotGeoreferencedWarning)
            # Absolute: GDAL reads prefixes such as /vsicurl/ or GTIFF_DIR: off the start of a name
            dataset = rasterio.open(os.path.abspath(path), driver=driver)
        with dataset:
            yield dataset
    except (errors.RasterioError, errors.RasterioIOError) as error:
        text = f"{error} {error.__cause__ or ''}".strip()
        cut = re.search(r"scanline|TIFFFill|read error|truncat|not enough|IReadBlock|beyond|seek|opj_", text, re.IGNORECASE)
        kind = TruncatedFileError if cut else UnreadableFileError
        raise kind(where=path, found=text[:300], expected="a raster that decodes", remedy="Fetch the file again.") from error


def _check_size(path: Path, dataset: Any) -> None:
    if not dataset.count or not dataset.width or not dataset.height:
        raise EmptyGraphError(where=path, found="no band", expected="a raster", remedy="Name one of its sub-datasets.")
    shape = (dataset.count, dataset.height, dataset.width)
    itemsize = max(np.dtype(_numpy_type(name)).itemsize for name in dataset.dtypes)
    side = WHOLE if max(shape[1:]) <= WHOLE else TILE
    check_budget(path, (dataset.count, side, side), 16)
    for block in dataset.block_shapes[:1]:
        check_budget(path, (dataset.count, *block), itemsize)
    size, stored = prod(shape) * itemsize, os.path.getsize(path)
    if size > LIMIT and size > _EMPTY_RATIO * stored:
        raise BudgetError(
            where=path, found=f"{size / 2**30:.1f} GiB declared by a file of {stored} bytes",
            expected=f"a ratio of at most {_EMPTY_RATIO}", remedy="Cut the raster to the part that holds data.",
        )


def _numpy_type(name: str) -> str:
    return {"complex_int16": "complex64"}.get(name, name)


def _tiles(path: Path, dataset: Any) -> Iterator[Record]:
    """Records of the scene, one step behind the reading: the last one carries the count of empty tiles."""
    errors = require("rasterio.errors", "satellite")
    height, width = dataset.height, dataset.width
    tiled = max(height, width) > WHOLE
    step = (TILE, TILE) if tiled else (height, width)
    last: Record | None = None
    empty = 0
    for row in range(0, height, step[0]):
        for col in range(0, width, step[1]):
            try:
                scene, notes = _read(dataset, row, col, min(step[0], height - row), min(step[1], width - col))
            except errors.RasterioError:
                if last is not None:
                    yield last  # whole, and before the damage
                raise
            if not bool(scene.measured.any()):
                empty += 1
                continue
            if last is not None:
                yield last
            last = Record(f"{row},{col}", _filled(scene) if tiled else scene, {**_place(dataset, row, col), **notes})
    if last is None:
        raise EmptyGraphError(
            where=path, found=f"no measured pixel in {height} × {width}", expected="at least one",
            remedy="Check the nodata value and the mask, or leave the scene out.",
        )
    yield Record(last.key, last.payload, {**last.notes, "empty_tiles": empty}) if empty else last


def _filled(scene: Scene) -> Scene:
    """A tile at the border, filled up to 256 × 256 with unmeasured pixels, so that all tiles share one topology."""
    pad = (0, TILE - scene.values.shape[2], 0, TILE - scene.values.shape[1])
    padded = torch.nn.functional.pad
    return Scene(padded(scene.values, pad), padded(scene.measured, pad), scene.bands)


def _place(dataset: Any, row: int, col: int) -> dict[str, Scalar]:
    """Where on Earth: coordinate system and the coordinates of the record's upper left corner."""
    if not dataset.crs or dataset.transform.is_identity:
        return {}
    x_col, x_row, x, y_col, y_row, y = dataset.transform[:6]
    epsg = dataset.crs.to_epsg()
    crs = f"EPSG:{epsg}" if epsg else dataset.crs.to_proj4()
    return {"crs": crs, "x": float(x + x_col * col + x_row * row), "y": float(y + y_col * col + y_row * row)}


def _read(dataset: Any, row: int, col: int, height: int, width: int) -> tuple[Scene, dict[str, Scalar]]:
    """Values and measured pixels [C, height, width] of a window, alpha bands turned into the mask."""
    window = ((row, row + height), (col, col + width))
    colors = [color.name for color in dataset.colorinterp]
    alpha = [index + 1 for index, color in enumerate(colors) if color == "alpha"]
    bands = [index for index in dataset.indexes if index not in alpha] or list(dataset.indexes)
    raw = dataset.read(bands, window=window)
    notes: dict[str, Scalar] = {}
    if np.iscomplexobj(raw):
        notes["complex"] = "magnitude"
        raw = np.abs(raw)
    if alpha:  # GDAL's own mask from alpha is 8 bits wide
        measured = np.broadcast_to((dataset.read(alpha, window=window) > 0).all(0), raw.shape)
    else:
        measured = dataset.read_masks(bands, window=window) > 0
    values = _scaled(raw, [dataset.scales[i - 1] for i in bands], [dataset.offsets[i - 1] for i in bands], notes)
    with np.errstate(invalid="ignore"):
        huge = (np.abs(values) > _HUGE) & measured
    if huge.any():
        notes["beyond_1e30"] = int(huge.sum())
        measured = measured & ~huge
    names = tuple(dataset.descriptions[i - 1] or _color(colors[i - 1]) for i in bands)
    return Scene(torch.from_numpy(values), torch.from_numpy(np.array(measured)), names), notes


def _scaled(raw: NDArray[Any], scales: list[float], offsets: list[float], notes: dict[str, Scalar]) -> NDArray[np.float64]:
    """float64 [C, H, W]; scale and offset of the file applied, band by band."""
    with np.errstate(invalid="ignore"):  # a signaling NaN is a missing pixel like any other
        values = raw.astype(np.float64)
    if any(scale != 1 for scale in scales) or any(offsets):
        notes["scaled"] = "by the file's scale and offset"
        values = values * np.reshape(scales, (-1, 1, 1)) + np.reshape(offsets, (-1, 1, 1))
    return values


def _color(name: str) -> str:
    return name if name in ("red", "green", "blue") else ""
