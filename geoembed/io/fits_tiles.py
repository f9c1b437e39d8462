"""Tiles of HCOMPRESS images, checked before the decoder sees them: it writes as many pixels as a tile claims, wherever they go."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from geoembed.errors import UnreadableFileError, UnsafeFileError
from geoembed.io.extras import require
from geoembed.io.fits_headers import Hdu, quiet

_MAGIC = b"\xdd\x99"


def check_tiles(local: Path, path: Path, hdu: Hdu) -> None:
    """Raise :class:`UnsafeFileError` where a tile of an HCOMPRESS image claims another size than its place in the image has.

    The size stands in the first 10 bytes of a tile: magic number, rows and columns as 4 bytes each (White 1992).
    """
    if hdu.kind != "compressed" or hdu.text("ZCMPTYPE").upper() != "HCOMPRESS_1":
        return
    fits = require("astropy.io.fits", "astronomy")
    sizes = _sizes(path, hdu)
    with open(local, "rb") as file, quiet(path), fits.open(file, memmap=False, disable_image_compression=True) as opened:
        streams: list[Any] = list(opened[hdu.index].data["COMPRESSED_DATA"])
    for number, stream in enumerate(streams):
        head = np.asarray(stream)[:10].astype(np.uint8).tobytes()
        if not head:  # the tile lies in another column, not compressed or by gzip
            continue
        rows, columns = (int.from_bytes(head[start : start + 4], "big", signed=True) for start in (2, 6))
        if len(head) < 10 or head[:2] != _MAGIC or sorted((rows, columns)) != sorted(sizes[number]):
            raise UnsafeFileError(
                where=f"{path} [{hdu.name}]", found=f"a compressed tile {number} of {rows} × {columns} pixels",
                expected=" × ".join(map(str, sizes[number])),
                remedy="Fetch the file again; the tile would be written beyond its place.",
            )


def _sizes(path: Path, hdu: Hdu) -> list[tuple[int, int]]:
    """Rows and columns of each tile, in the order of the table."""
    axes = range(len(hdu.shape), 0, -1)
    tile = [max(int(hdu.number(f"ZTILE{axis}") or (hdu.shape[-1] if axis == 1 else 1)), 1) for axis in axes]
    count = prod(-(-side // step) for side, step in zip(hdu.shape, tile, strict=True))
    if count != hdu.number("NAXIS2"):
        raise UnreadableFileError(
            where=f"{path} [{hdu.name}]", found=f"{hdu.number('NAXIS2'):.0f} compressed tiles",
            expected=f"{count}, as ZNAXIS and ZTILE say", remedy="Fetch the file again.",
        )
    spans = [[min(step, side - start) for start in range(0, side, step)] for side, step in zip(hdu.shape, tile, strict=True)]
    sizes = np.stack([grid.ravel() for grid in np.meshgrid(*spans, indexing="ij")], axis=-1)
    return [(int(np.prod(size[:-1])), int(size[-1])) for size in sizes]
