"""Photographs and scans to patch grids of one size: camera traps, citizen science, plankton."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from geoembed.graphs.grid import grid_graph
from geoembed.io.pixels import Picture, decode
from geoembed.io.record import Record
from geoembed.schema import Graph, Scalar

CANVAS, PATCH = 224, 16


class Photo:
    """PNG, JPEG, WebP, GIF, BMP, PGM and PPM (and TIFF by way of :class:`GeoTiff`) -> grid of 14 × 14 patches of 16 × 16.

    One record, the first frame, key ``"0"``. Values are scaled from the file's depth to [0, 1]; gray is repeated to three
    channels and noted; the rules for alpha, palettes, CMYK and EXIF are those of :func:`geoembed.io.pixels.decode`.

    A picture whose longer side is above 224 is scaled down to it, antialiased, aspect ratio kept; a smaller one is **not**
    enlarged, since its size in pixels tells its physical size. It lies at the top left of a 224 × 224 canvas, the rest of
    which is unmeasured, so that all photographs share one topology. The notes have the original height and width.
    """

    kind = "grid"
    suffixes = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".gif", ".bmp", ".pgm", ".ppm", ".pbm", ".pnm")

    def can_open(self, head: bytes, name: str) -> bool:
        """By magic number; the two letters of BMP and netpbm need a header that fits."""
        if head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")):
            return True
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return True
        if head[:2] == b"BM":
            return len(head) >= 18 and head[14:18] in (b"\x0c\0\0\0", b"\x28\0\0\0", b"\x38\0\0\0", b"\x6c\0\0\0", b"\x7c\0\0\0")
        return head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace() and head[2:].split()[0][:1] in b"#0123456789"

    def records(self, path: Path) -> Iterator[Record]:
        """The one picture of the file."""
        picture = decode(path, reduce_to=2 * CANVAS)
        notes: dict[str, Scalar] = {"height": picture.size[0], "width": picture.size[1], **picture.notes}
        if picture.opaque is not None and not picture.opaque.all():
            notes["transparent_pixels"] = int((~picture.opaque).sum())
        if picture.values.shape[2] == 1:
            notes["gray_repeated"] = 3
        yield Record("0", picture, notes)

    def to_graph(self, record: Record) -> Graph:
        """The graph of a decoded picture; one that is wholly transparent raises :class:`EmptyGraphError`."""
        picture: Picture = record.payload
        values, measured = fit(picture, CANVAS)
        canvas = values.new_zeros((3, CANVAS, CANVAS))
        mask = torch.zeros((CANVAS, CANVAS), dtype=torch.bool)
        height, width = measured.shape
        canvas[:, :height, :width] = values  # one channel is repeated
        mask[:height, :width] = measured
        graph = grid_graph(canvas, patch=PATCH, mask=mask, bands=("red", "green", "blue"), modality="photo")
        scale = max(height, width) / max(picture.size)
        return graph.with_provenance(notes={"scaled": round(scale, 4)}) if scale < 1 else graph


def fit(picture: Picture, side: int) -> tuple[Tensor, Tensor]:
    """(values [C, h, w] in [0, 1], measured [h, w]) with both sides at most ``side``; never enlarged.

    Transparent pixels have no weight in the average; a pixel is measured where at least half of what it averages is.
    """
    # A copy: Pillow's arrays are read-only, which torch does not know
    values = torch.from_numpy(picture.values.astype(np.uint8 if picture.values.dtype == np.uint8 else np.float32))
    values = values.permute(2, 0, 1).unsqueeze(0)  # [1, C, H, W]
    opaque = None if picture.opaque is None else torch.from_numpy(picture.opaque).float()[None, None]
    scale = side / max(values.shape[-2:])
    if scale < 1:
        size = [max(1, round(length * scale)) for length in values.shape[-2:]]
        if opaque is None:
            values = _shrink(values, size)
        else:
            weight = _shrink(opaque, size)
            values = _shrink(torch.where(opaque > 0, values.float(), 0.0), size) / weight.clamp(min=1e-6)
            opaque = (weight >= 0.5).float()
    measured = torch.ones(values.shape[-2:], dtype=torch.bool) if opaque is None else opaque[0, 0] > 0
    return values[0].float() / picture.white, measured


def _shrink(image: Tensor, size: list[int]) -> Tensor:
    return functional.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)
