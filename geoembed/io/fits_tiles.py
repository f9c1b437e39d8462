"""Tiles of HCOMPRESS images, checked before the decoder sees them: it writes as many pixels as a tile claims, wherever they go."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from geoembed.errors import UnsafeFileError
from geoembed.io.extras import require
from geoembed.io.fits_headers import Hdu, quiet

_MAGIC = b"\xdd\x99"


def check_tiles(path: Path, file: BinaryIO, hdu: Hdu) -> None:
    """Raise :class:`UnsafeFileError` where a tile of an HCOMPRESS image claims another size than its place in the image has.

    The size stands in the first 10 bytes of a tile: magic number, rows and columns as 4 bytes each (White 1992).
    """
    if hdu.kind != "compressed" or hdu.text("ZCMPTYPE").upper() != "HCOMPRESS_1":
        return
    fits = require("astropy.io.fits", "astronomy")
    with quiet(path), fits.open(file, memmap=False, disable_image_compression=True) as opened:
        streams: list[Any] = list(opened[hdu.index].data["COMPRESSED_DATA"])
    sizes = _sizes(hdu)
    for number, stream in enumerate(streams):
        head = np.asarray(stream)[:10].astype(np.uint8).tobytes()
        if not head:  # the tile lies in another column, not compressed or by gzip
            continue
        rows, columns = (int.from_bytes(head[start : start + 4], "big", signed=True) for start in (2, 6))
        expected = sizes[number] if number < len(sizes) else (0, 0)
        if len(head) < 10 or head[:2] != _MAGIC or (rows, columns) != expected:
            raise UnsafeFileError(
                where=f"{path} [{hdu.name}]", found=f"a compressed tile {number} of {rows} × {columns} pixels",
                expected=" × ".join(map(str, expected)), remedy="Fetch the file again; the tile would be written beyond its place.",
            )


def _sizes(hdu: Hdu) -> list[tuple[int, int]]:
    """Rows and columns of each tile, in the order of the table; tiles of three-dimensional images are planes of it."""
    tile = [int(hdu.number(f"ZTILE{axis}") or (hdu.shape[-1] if axis == 1 else 1)) for axis in range(len(hdu.shape), 0, -1)]
    spans = [[min(step, side - start) for start in range(0, side, max(step, 1))] for side, step in zip(hdu.shape, tile, strict=True)]
    grids = np.meshgrid(*spans, indexing="ij")
    flat = np.stack([grid.ravel() for grid in grids], axis=-1)
    return [(int(np.prod(row[:-1])), int(row[-1])) for row in flat]
