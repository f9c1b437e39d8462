"""Encoded pictures to arrays, by stated rules: depth kept, orientation applied, transparency apart, nothing clipped."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoembed.errors import BudgetError, EmptyGraphError, TruncatedFileError, UnreadableFileError
from geoembed.io.budget import check_budget
from geoembed.io.extras import require
from geoembed.schema import Scalar

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "PPM")

PICTURE_LIMIT = 1 << 30
"""Bytes of a picture as float32 RGB: 89 million pixels, the number above which Pillow, too, suspects a bomb."""

_EIGHT_BITS = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV"})
# EXIF orientation -> (quarter turns counterclockwise, mirror left to right afterwards); JEITA CP-3451, tag 274
_ORIENTATION = {
    1: (0, False), 2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False),
}
_ORIENTATION_TAG, _BITS_TAG = 274, 258


@dataclass(frozen=True)
class Picture:
    """A decoded picture, upright.

    Attributes:
        values: [H, W, C] with C 1 or 3, uint8 or uint16.
        white: the value of a full channel: 255, 65535, or what the file's depth says.
        opaque: [H, W], False where the picture is wholly transparent; None where it has no transparency.
        size: (height, width) in the file, upright; ``values`` may be a reduced decoding of a JPEG.
        notes: what was normalized.
    """

    values: NDArray[Any]
    white: int
    opaque: NDArray[np.bool_] | None
    size: tuple[int, int]
    notes: dict[str, Scalar]


def decode(path: Path, reduce_to: int = 0) -> Picture:
    """The first frame of a picture. Gray stays one channel; everything else becomes red, green, blue.

    Palette, CMYK, YCbCr, HSV: converted and noted, without color profiles. Alpha, transparent palette entries and colors:
    alpha 0 means not measured, every other alpha is ignored. 1 bit: 0 and 255. 9 to 16 bits: kept. EXIF orientation is
    applied; a broken EXIF block is ignored and noted. With ``reduce_to`` a JPEG may be decoded at 1/2, 1/4 or 1/8 of its
    size, while its longer side stays at least ``reduce_to``.

    Raises :class:`BudgetError` on the declared size before anything is decoded, :class:`TruncatedFileError`,
    :class:`EmptyGraphError` on a side of 0 and :class:`UnreadableFileError`.
    """
    pillow = require("PIL.Image", "ecology")
    notes: dict[str, Scalar] = {}
    with _typed_errors(path, pillow, notes), pillow.open(path, formats=FORMATS) as image:
        width, height = image.size
        check_budget(path, (height, width, 3), 4, PICTURE_LIMIT)
        if reduce_to and image.format in ("JPEG", "MPO"):
            scale = min(1.0, reduce_to / max(width, height))
            image.draft(None, (int(np.ceil(width * scale)), int(np.ceil(height * scale))))
        image.load()  # first: asking a PNG for EXIF loads it, too, and damage met there would be taken for a broken EXIF block
        turns, mirror = _orientation(image, notes)
        values, white, opaque = _deep_color(path, image, notes) if _is_deep_color(path, image) else _channels(path, image, notes)
        if _is_animated(image):
            notes["animation"] = "first frame"
    upright = _upright(values, turns, mirror)
    size = (width, height) if turns % 2 else (height, width)
    return Picture(upright, white, None if opaque is None else _upright(opaque, turns, mirror), size, notes)


@contextmanager
def _typed_errors(path: Path, pillow: ModuleType, notes: dict[str, Scalar]) -> Iterator[None]:
    """Pillow's many exceptions as typed errors, and its first warning as a note."""
    remedy = "Fetch the picture again, or save it as PNG."
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", pillow.DecompressionBombWarning)  # the budget is checked here
            yield
        if caught:
            notes["warning"] = str(caught[0].message).strip()[:200]
    except pillow.DecompressionBombError as error:
        raise BudgetError(
            where=path, found=str(error), expected=f"at most {PICTURE_LIMIT // 12} pixels", remedy="Cut the picture into parts."
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, MemoryError, OverflowError) as error:
        text = str(error)
        if re.search("truncated|not enough image data|unexpected end|broken data stream", text, re.IGNORECASE):
            raise TruncatedFileError(where=path, found=text, expected="a whole picture", remedy=remedy) from error
        if _has_no_side(path):
            raise EmptyGraphError(where=path, found="a picture of 0 pixels", expected="pixels", remedy="Leave it out.") from error
        found = f"{type(error).__name__}: {text}"
        raise UnreadableFileError(where=path, found=found, expected="a picture", remedy=remedy) from error


def _has_no_side(path: Path) -> bool:
    """Whether a GIF, PNG or BMP declares a side of 0, which Pillow reports as an unknown format."""
    with open(path, "rb") as file:
        head = file.read(32)
    sides = {b"GIF8": (head[6:8], head[8:10]), b"\x89PNG": (head[16:20], head[20:24])}.get(head[:4], ())
    if head[:2] == b"BM":
        sides = (head[18:22], head[22:26])
    return any(not any(side) for side in sides)


def _orientation(image: Any, notes: dict[str, Scalar]) -> tuple[int, bool]:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError) as error:
        notes["exif"] = f"broken, ignored: {error}"[:200]
        return 0, False
    if value not in _ORIENTATION:
        notes["exif"] = f"orientation {value!r} ignored"[:200]
        return 0, False
    if value != 1:
        notes["exif_orientation"] = int(value)
    return _ORIENTATION[value]


def _is_animated(image: Any) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except (OSError, SyntaxError, ValueError, EOFError, IndexError):
        return True  # the second frame is damaged; the first is whole


def _upright(values: NDArray[Any], turns: int, mirror: bool) -> NDArray[Any]:
    turned = np.rot90(values, turns)
    return np.ascontiguousarray(turned[:, ::-1] if mirror else turned)


def _channels(path: Path, image: Any, notes: dict[str, Scalar]) -> tuple[NDArray[Any], int, NDArray[np.bool_] | None]:
    """(values [H, W, C], white, opaque) by Pillow."""
    if image.mode.startswith("I"):
        bits = getattr(image, "tag_v2", {}).get(_BITS_TAG, (16,))[0]
        if not 8 < bits <= 16:
            raise UnreadableFileError(
                where=path, found=f"{bits} bits a channel", expected="at most 16", remedy="Save it as a GeoTIFF or a 16-bit PNG."
            )
        gray = np.asarray(image).astype(np.uint16)
        key = image.info.get("transparency")
        notes["bits"] = int(bits)
        return gray[..., None], (1 << bits) - 1, gray != key if isinstance(key, int) else None
    if image.mode not in _EIGHT_BITS:
        raise UnreadableFileError(
            where=path, found=f"pixels of mode {image.mode}", expected="gray, RGB, palette or CMYK", remedy="Save it as PNG."
        )
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        notes["color"] = image.mode
    opaque = None
    gray_mode = image.mode in ("1", "L", "LA", "La")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        opaque = np.asarray(image.getchannel("A")) > 0
    values = np.asarray(image.convert("L" if gray_mode else "RGB"))
    return values.reshape(*values.shape[:2], -1), 255, opaque


def _is_deep_color(path: Path, image: Any) -> bool:
    """Whether Pillow would cut the channels of this picture to 8 bits: it has no mode for 16-bit color."""
    if image.format == "PNG":
        with open(path, "rb") as file:
            head = file.read(26)
        return head[24] == 16 and head[25] != 0
    if image.format == "TIFF":
        return len(image.getbands()) > 1 and max(image.tag_v2.get(_BITS_TAG, (8,))) > 8
    return image.format == "PPM" and image.mode == "RGB" and _maxval(path) > 255


def _maxval(path: Path) -> int:
    """Largest value that a PPM header declares: magic, width, height, maxval, with comments between (netpbm, ppm(5))."""
    with open(path, "rb") as file:
        head = re.sub(rb"#[^\n]*\n", b" ", file.read(4096))
    words = head.split(maxsplit=4)
    return int(words[3]) if len(words) > 3 and words[3].isdigit() else 255


def _deep_color(path: Path, image: Any, notes: dict[str, Scalar]) -> tuple[NDArray[Any], int, NDArray[np.bool_] | None]:
    """(values [H, W, 3], white, opaque) of a 16-bit color picture by GDAL, which keeps the depth."""
    rasterio = require("rasterio", "satellite")
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)  # undone by the caller
    driver = {"PNG": "PNG", "TIFF": "GTiff", "PPM": "PNM"}[image.format]
    if image.mode == "CMYK":
        raise UnreadableFileError(
            where=path, found="CMYK of more than 8 bits", expected="gray or RGB", remedy="Convert it to RGB with a color profile."
        )
    samples = 3
    if driver == "PNM" and os.path.getsize(path) < image.width * image.height * samples * 2:
        raise TruncatedFileError(
            where=path, found=f"{os.path.getsize(path)} bytes", expected=f"{image.width} × {image.height} pixels of 6 bytes",
            remedy="Fetch the picture again.",
        )
    try:
        with rasterio.open(os.path.abspath(path), driver=driver) as dataset:
            bands = dataset.read()  # [C, H, W]
    except rasterio.errors.RasterioError as error:
        raise TruncatedFileError(
            where=path, found=f"{error}: {error.__cause__ or ''}", expected="a whole picture", remedy="Fetch the picture again."
        ) from error
    bits = max(image.tag_v2.get(_BITS_TAG, (16,))) if driver == "GTiff" else 16
    notes["bits"] = int(bits)
    white = _maxval(path) if driver == "PNM" else (1 << int(bits)) - 1
    color = bands[:samples] if len(bands) >= samples else bands[:1]
    opaque = bands[-1] > 0 if len(bands) in (2, 4) else None
    return np.moveaxis(color, 0, -1), white, opaque
