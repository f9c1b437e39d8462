"""Images in FITS files: which HDUs are pictures of the sky, which belong together as bands, and their tiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geoembed.errors import ValueRangeError
from geoembed.graphs.grid import grid_graph
from geoembed.io.budget import check_budget
from geoembed.io.fits_headers import Hdu, quiet
from geoembed.io.fits_masks import good_pixels, mask_notes, sky_notes
from geoembed.io.record import Record
from geoembed.schema import Graph, Scalar

PATCH = 4
"""Pixels a side of a patch."""

WHOLE, TILE = 512, 256
"""An image with a side over ``WHOLE`` pixels is cut into tiles of ``TILE``; the last of a row is moved back to fit."""

BANDS = 16
"""Planes of a cube that are bands of one picture; more are a spectral cube."""

_HUGE = 1e30  # default fills that no BLANK declares


@dataclass(frozen=True)
class Picture:
    """Pixels [C, H, W] float32 (NaN: not measured), which of them [C, H, W] are good, and the names of the C bands or nothing."""

    pixels: npt.NDArray[np.float32]
    good: npt.NDArray[np.bool_]
    bands: tuple[str, ...]

    def to_graph(self) -> Graph:
        """The patch grid."""
        return grid_graph(self.pixels, patch=PATCH, mask=self.good, bands=self.bands or None, modality="galaxy")


def stacks(hdus: list[Hdu]) -> list[list[Hdu]]:
    """Images that are bands of one picture: equal shapes and filters that all differ; else each image alone."""
    filters = [_filter(hdu) for hdu in hdus]
    flat = all(len(_planes(hdu)) == 2 for hdu in hdus)
    if flat and len(hdus) > 1 and len({hdu.shape for hdu in hdus}) == 1 and all(filters) and len(set(filters)) == len(hdus):
        return [hdus]
    return [[hdu] for hdu in hdus]


def pictures(path: Path, opened: Any, stack: list[Hdu], primary: Hdu, known: Mapping[int, list[Hdu]]) -> Iterator[Record]:
    """Each tile of a stack as a record with a :class:`Picture`; tiles are read from the file one at a time.

    ``known``: masks, weights and errors of each image, by its index; pixels that one of them excludes are not measured.
    Raises :class:`ValueRangeError` for cubes of more than :data:`BANDS` planes and for pixels beyond 1e30.
    """
    *planes, height, width = _planes(stack[0])
    where = f"{path} [{stack[0].name}]"
    if len(planes) > 1 or (planes and planes[0] > BANDS):
        raise ValueRangeError(
            where=where, found=f"a cube of {' × '.join(map(str, stack[0].shape))}", expected=f"at most {BANDS} planes",
            remedy="Select planes, or collapse the cube along its spectral axis.",
        )
    name = "+".join(_filter(hdu) for hdu in stack) if len(stack) > 1 else stack[0].name
    bands = () if planes else tuple(band for hdu in stack if (band := _filter(hdu) or _filter(primary)))
    cut = max(height, width) > WHOLE
    for rows in _spans(height, cut):
        for columns in _spans(width, cut):
            check_budget(where, (len(stack), *planes, rows.stop - rows.start, columns.stop - columns.start), 12)
            tile, good, notes = _tile(path, opened, stack, known, rows, columns)
            notes |= sky_notes(opened, stack[0], (rows.start + rows.stop - 1) / 2, (columns.start + columns.stop - 1) / 2)
            key = f"{name}[{rows.start}:{rows.stop},{columns.start}:{columns.stop}]" if cut else name
            yield Record(key, Picture(tile, good, bands), notes)


def _tile(
    path: Path, opened: Any, stack: list[Hdu], known: Mapping[int, list[Hdu]], rows: slice, columns: slice
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], dict[str, Scalar]]:
    """(pixels [C, h, w] of a part of a stack, which of them are good, notes of what was masked)."""
    parts, masks, names, masked = [], [], dict[str, None](), 0
    for hdu in stack:
        good, by = good_pixels(path, opened, known.get(hdu.index, []), rows, columns)
        part = _read(path, opened, hdu, rows, columns, good)
        masked += int((np.isfinite(part) & ~good).sum())
        names |= dict.fromkeys(by)
        parts.append(part)
        masks.append(np.broadcast_to(good, part.shape))
    return np.concatenate(parts), np.concatenate(masks), mask_notes(masked, names)


def _planes(hdu: Hdu) -> tuple[int, ...]:
    """The shape without leading axes of length 1 (Stokes, frequency); at least two axes stay."""
    shape = hdu.shape
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return shape


def _filter(hdu: Hdu) -> str:
    return hdu.text("BAND", "FILTER").split(" ")[0]


def _spans(side: int, cut: bool) -> list[slice]:
    """Cuts of a side: equal tiles, the last one moved back so that it ends with the image."""
    if not cut or side <= TILE:
        return [slice(0, side)]
    starts = [*range(0, side - TILE, TILE), side - TILE]
    return [slice(start, start + TILE) for start in starts]


def _read(
    path: Path, opened: Any, hdu: Hdu, rows: slice, columns: slice, good: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Pixels [C, h, w] of a part of an image: scaled, BLANK as NaN, a native copy that holds no part of the file.

    Values beyond 1e30 are refused where ``good`` [h, w].
    """
    lead = len(hdu.shape) - len(_planes(hdu))
    index = (*([0] * lead), *([slice(None)] * (len(_planes(hdu)) - 2)), rows, columns)
    with quiet(path), np.errstate(all="ignore"):
        part = np.asarray(opened[hdu.index].section[index], dtype=np.float64)
        if part.shape[-2:] != (rows.stop - rows.start, columns.stop - columns.start):
            raise ValueError(f"shape {part.shape} where {hdu.shape} is declared")
        pixels = np.array(part.reshape(-1, *part.shape[-2:]), dtype=np.float32, order="C")
    wild = np.isfinite(part) & (np.abs(part) > _HUGE) & good
    if wild.any():
        raise ValueRangeError(
            where=f"{path} [{hdu.name}]", found=f"{part[wild][0]:g} in {int(wild.sum())} pixels",
            expected=f"absolute values below {_HUGE:g}", remedy="Declare the fill value as BLANK, or write NaN.",
        )
    return pixels
