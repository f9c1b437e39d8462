"""Images that are mostly empty as sparse graphs: the lit pixels are the nodes, near ones are linked.

Jet images, detector planes, time projection chambers, radio sources: where a few hundred of 90,000 pixels hold something, a dense
grid is mostly nothing. The graph is of the kind ``grid`` with patches of one pixel, so every encoder of grids takes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from geoembed.errors import EmptyGraphError, ValueRangeError
from geoembed.graphs.arrays import as_tensor
from geoembed.graphs.grid import pixels_of
from geoembed.graphs.patches import near_pixels
from geoembed.schema import Graph, Provenance, Setting, validate


def lit_pixel_graph(
    image: Any, *, threshold: float = 0.0, radius: float = 1.5, mask: Any = None, bands: Sequence[str] | None = None,
    modality: str = "image",
) -> Graph:
    """The lit pixels of an image as a graph: image [C, H, W] or [H, W] of any real dtype -> grid of N lit pixels.

    A pixel is lit where one of its channels is measured and above ``threshold``. x [N, C] float32, row by row; measured, like x,
    False where a channel is not (NaN, infinity, or ``mask`` [H, W] or [C, H, W] False); pos [N, 2] = (row, column); edges between
    lit pixels at most ``radius`` pixels apart (1: 4 neighbors, 1.5: 8, 2.9: 24), edge_attr = (distance, row step, column step).

    Pixels that are not lit have no influence at all, and a shift of the image changes nothing but ``pos``: the graph of a track is
    the same in a frame of any size. Raises :class:`EmptyGraphError` where nothing is lit, :class:`ValueRangeError` on a wrong
    shape, dtype, radius or threshold.

    >>> graph = lit_pixel_graph([[0.0, 3.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    >>> graph.x.tolist(), graph.edge_index.tolist()
    ([[3.0], [2.0]], [[1, 0], [0, 1]])
    """
    pixels, known = _measured(image, mask)
    channels, rows, cols = pixels.shape
    if bands is not None and len(bands) != channels:
        raise _wrong("bands", f"{len(bands)} names", f"{channels}, one a channel")
    if not 1 <= radius <= 32:
        raise _wrong("radius", f"{radius} pixels", "1…32")
    if threshold != threshold:
        raise _wrong("threshold", "NaN", "a number")
    lit = (known & (pixels > threshold)).any(0)
    row, col = lit.nonzero(as_tuple=True)
    if not len(row):
        raise EmptyGraphError(where=modality, found=f"no pixel above {threshold:g} in {[channels, rows, cols]}", expected="at least one",
                              remedy="Lower the threshold, or leave the image out.")
    index, step = near_pixels(row, col, cols, radius)
    measured = known[:, row, col].T.contiguous()
    settings: dict[str, Setting] = {
        "patch": 1, "channels": channels, "rows": rows, "cols": cols, "padded_rows": 0, "padded_cols": 0,
        "radius": float(radius), "threshold": float(threshold),
    }
    if bands is not None:
        settings["bands"] = [str(band) for band in bands]
    dark = rows * cols - len(row)
    return validate(Graph(
        Provenance(kind="grid", modality=modality, settings=settings, notes={"pixels_not_lit": dark} if dark else {}),
        x=torch.where(measured, pixels[:, row, col].T, 0.0), measured=measured, mask=measured.any(1),
        pos=torch.stack([row, col], -1).float(), edge_index=index, edge_attr=step,
    ))


def _measured(image: Any, mask: Any) -> tuple[Tensor, Tensor]:
    """(pixels [C, H, W] float32, measured [C, H, W])."""
    pixels, masked = pixels_of(image)
    if pixels.dim() == 2:
        pixels, masked = pixels.unsqueeze(0), None if masked is None else masked.unsqueeze(0)
    if pixels.dim() != 3 or not pixels.numel():
        raise _wrong("image", f"shape {list(pixels.shape)}", "[C, H, W] or [H, W], not empty")
    known = torch.isfinite(pixels)
    if masked is not None:
        known &= masked
    if mask is not None:
        given = as_tensor(mask, torch.bool).to(pixels.device)
        if tuple(given.shape) not in (tuple(pixels.shape), tuple(pixels.shape[1:])):
            raise _wrong("mask", f"shape {list(given.shape)}", f"{list(pixels.shape[1:])} or {list(pixels.shape)}")
        known = known & given
    return pixels, known


def _wrong(where: str, found: str, expected: str) -> ValueRangeError:
    return ValueRangeError(where=f"lit_pixel_graph: {where}", found=found, expected=expected, remedy="Correct the argument.")
