"""Patch grids: an image becomes a graph whose nodes are its square patches, linked to the 8 around each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geoembed.errors import EmptyGraphError, SchemaError, ValueRangeError
from geoembed.graphs.bands import SDSS, SENTINEL2, place_bands
from geoembed.graphs.kind import Kind
from geoembed.graphs.patches import from_patches, grid_topology, induced, near_pixels, padding_of, to_patches
from geoembed.schema import FIELDS, Graph, GraphBatch, Provenance, Scalar, Setting, level_of

__all__ = ["SDSS", "SENTINEL2", "grid_batch", "grid_graph", "image_of", "place_bands", "turn"]


def grid_graph(
    image: Any, *, patch: int = 4, mask: Any = None, bands: Sequence[str] | None = None, modality: str = "image",
    drop_empty: bool = False,
) -> Graph:
    """An image as a graph: image [C, H, W] (or [H, W], one channel) of any real dtype -> grid of N = ⌈H/p⌉·⌈W/p⌉ patches.

    x [N, C·p·p] float32, patches row by row, channel-major then row and column inside a patch; measured, like x, True where
    the pixel was measured; mask [N], True where any of the patch was; pos [N, 2] = (row, column) of the patch; edges from the
    3 × 3 neighborhood without its center, edge_attr = (distance, row step, column step) in patches.

    ``mask`` [H, W] or [C, H, W], True = measured. NaN, infinity (also float64 beyond float32) and the masked entries of a
    masked array are unmeasured too; the value under the mask never enters x. Nothing is cut off at the border: a side that is
    no multiple of ``patch`` is padded at the bottom or right with unmeasured pixels, their number is in the settings as
    ``padded_rows`` and ``padded_cols`` (181 × 360 with patch 8 is 23 × 45 patches, 3 rows padded). ``bands`` names the
    channels. ``drop_empty`` leaves out patches without a measured pixel; the graph then has its own topology and may hold
    isolated nodes.

    Raises :class:`EmptyGraphError` where nothing was measured, :class:`ValueRangeError` on a wrong shape or dtype.

    >>> graph = grid_graph(torch.arange(16.0).reshape(1, 4, 4), patch=2)
    >>> graph.x[1].tolist(), graph.num_edges
    ([2.0, 3.0, 6.0, 7.0], 12)
    """
    pixels, masked = pixels_of(image)
    if pixels.dim() == 2:
        pixels, masked = pixels.unsqueeze(0), None if masked is None else masked.unsqueeze(0)
    _require(pixels.dim() == 3, "image", f"shape {list(pixels.shape)}", "[C, H, W] or [H, W]", "For a batch call grid_batch.")
    claimed = _measured(pixels.unsqueeze(0), None if mask is None else _flags(mask).unsqueeze(0), masked)
    graph = _batch(pixels.unsqueeze(0), claimed, patch, bands, modality).get_example(0)
    if not bool(graph.mask.any()):
        raise EmptyGraphError(
            where=modality, found=f"no measured pixel in {list(pixels.shape)}", expected="at least one",
            remedy="Check the mask and the nodata value, or leave the image out.",
        )
    if wild := int(claimed.count_nonzero()) - int(graph.measured.count_nonzero()):
        graph = graph.with_provenance(notes={"not_finite": wild})
    return _without_empty(graph) if drop_empty else graph


def grid_batch(
    images: Any, *, patch: int = 4, mask: Any = None, bands: Sequence[str] | None = None, modality: str = "image"
) -> GraphBatch:
    """images [B, C, H, W] -> stacked batch of B patch grids on one topology: x [B, N, C·p·p]; no loop, no device synchronization.

    ``mask`` [B, H, W] or [B, C, H, W]; the rest as in :func:`grid_graph`, of which this is the batched form. An image without
    a measured pixel is legal here: its mask is False everywhere.
    """
    pixels, masked = pixels_of(images)
    _require(pixels.dim() == 4, "images", f"shape {list(pixels.shape)}", "[B, C, H, W]", "For one image call grid_graph.")
    return _batch(pixels, _measured(pixels, None if mask is None else _flags(mask), masked), patch, bands, modality)


def image_of(graph: Graph) -> tuple[Tensor, Tensor]:
    """(image [C, H, W] float32, measured [C, H, W] bool) of a patch grid, padding removed; unmeasured pixels are 0."""
    patch, rows, cols, channels = _shape(graph)
    index = (graph.pos[:, 0] * cols + graph.pos[:, 1]).long()
    values = []
    for field in (graph.x, graph.measured):
        full = field.new_zeros((rows * cols, field.shape[1]))
        full[index] = field
        values.append(from_patches(full.unsqueeze(0), rows, cols, patch)[0])
    settings = graph.provenance.settings
    height, width = rows * patch - _int(settings["padded_rows"]), cols * patch - _int(settings["padded_cols"])
    return values[0][:channels, :height, :width], values[1][:channels, :height, :width]


def turn(graph: Graph, k: int = 1, flip: bool = False) -> Graph:
    """The graph of the image turned by ``k`` quarter turns counterclockwise and then, with ``flip``, mirrored left to right.

    The group D4 acting on patch grids: nodes are renumbered, pixels move inside their patch. Equal, bit by bit, to
    ``grid_graph(torch.rot90(image, k, (-2, -1)))`` where both sides are multiples of the patch; else it is the graph of the
    turned *padded* image, whose padding counts as unmeasured pixels. A user's ``node_*``, ``edge_*`` and ``graph_*`` fields
    move along.
    """
    patch, rows, cols, channels = _shape(graph)
    n = graph.x.shape[0]
    canvas = torch.full((rows, cols), -1, device=graph.x.device)
    canvas[graph.pos[:, 0].long(), graph.pos[:, 1].long()] = torch.arange(n, device=graph.x.device)
    canvas = _turned(canvas, k, flip)
    keep = canvas.flatten() >= 0
    order = canvas.flatten()[keep]  # [N] old number of each new node
    number = torch.empty_like(order).scatter_(0, order, torch.arange(n, device=order.device))
    source, target = number[graph.edge_index]
    edges = torch.argsort(target * n + source)
    fields = {name: _moved(name, value, order, edges) for name, value in graph.items() if isinstance(value, Tensor)}
    for name in ("x", "measured"):
        square = graph[name].reshape(n, channels, patch, patch)
        fields[name] = _turned(square, k, flip).reshape(n, -1)[order]
    radius, key = graph.provenance.settings.get("radius"), ""
    if isinstance(radius, float):  # lit pixels
        row, col = (canvas >= 0).nonzero(as_tuple=True)
        index, step = near_pixels(row, col, canvas.shape[1], radius)
        pos = torch.stack([row, col], -1).float()
    else:
        topology = grid_topology(canvas.shape[0], canvas.shape[1], str(graph.x.device))
        key = topology.key if graph.provenance.topology else ""
        pos, index, step = induced(topology, keep) if n < rows * cols else (topology.pos, topology.edge_index, topology.edge_attr)
    fields.update(pos=pos, edge_index=index, edge_attr=step)
    settings = {**graph.provenance.settings, "rows": canvas.shape[0], "cols": canvas.shape[1], "padded_rows": 0, "padded_cols": 0}
    return Graph(graph.provenance, n, **fields).with_provenance(settings=settings, topology=key)


def pixels_of(image: Any) -> tuple[Tensor, Tensor | None]:
    """(float32 tensor, mask of a masked array or None)."""
    if isinstance(image, Tensor):
        pixels, masked = image, None
    else:
        array = np.asarray(np.ma.getdata(image))
        masked = torch.from_numpy(~np.ma.getmaskarray(image)) if isinstance(image, np.ma.MaskedArray) else None
        _require(array.dtype.kind in "buifc", "image", f"dtype {array.dtype}", "numbers", "Decode the image first.")
        native = array.dtype.newbyteorder("=")
        if native.itemsize > 8:  # torch has no long double
            native = np.dtype(np.complex128 if native.kind == "c" else np.float64)
        # A copy of what is foreign or read-only, which torch would not take
        pixels = torch.from_numpy(np.require(array, native, ["C", "W"]))
    _require(not pixels.is_complex(), "image", f"dtype {pixels.dtype}", "real numbers", "Take the magnitude of complex data.")
    return pixels.detach().to(torch.float32), masked


def _flags(mask: Any) -> Tensor:
    return mask.bool() if isinstance(mask, Tensor) else torch.from_numpy(np.array(mask, dtype=bool))


def _measured(pixels: Tensor, mask: Tensor | None, masked: Tensor | None) -> Tensor:
    """Pixels [B, C, H, W] that the caller calls measured; finiteness is checked where they are cut."""
    known = torch.ones_like(pixels, dtype=torch.bool)
    if mask is not None:
        b, c, h, w = pixels.shape
        _require(
            tuple(mask.shape) in ((b, h, w), (b, c, h, w)), "mask", f"shape {list(mask.shape)}", f"{[b, h, w]} or {[b, c, h, w]}",
            "Give one value a pixel, True = measured.",
        )
        known = known & (mask if mask.dim() == 4 else mask.unsqueeze(1)).to(pixels.device)
    return known if masked is None else known & masked.to(pixels.device)


def _batch(pixels: Tensor, known: Tensor, patch: int, bands: Sequence[str] | None, modality: str) -> GraphBatch:
    b, c, h, w = pixels.shape
    _require(patch >= 1, "patch", str(patch), "≥ 1", "Give the side of a patch in pixels.")
    names: list[Scalar] = [] if bands is None else [str(name) for name in bands]
    _require(bands is None or len(names) == c, "bands", f"{len(names)} names", f"{c}, one a channel", "Name each channel.")
    if c * h * w == 0:
        raise EmptyGraphError(
            where=modality, found=f"an image of {c} × {h} × {w}", expected="at least one pixel", remedy="Leave the image out."
        )
    known = known & torch.isfinite(pixels)
    measured = to_patches(known, patch)
    # where, not multiplication: a masked pixel may hold NaN
    x = to_patches(torch.where(known, pixels, 0.0), patch)
    pad_h, pad_w = padding_of(h, patch), padding_of(w, patch)
    topology = grid_topology((h + pad_h) // patch, (w + pad_w) // patch, str(pixels.device))
    settings: dict[str, Setting] = {
        "patch": patch, "channels": c, "rows": (h + pad_h) // patch, "cols": (w + pad_w) // patch,
        "padded_rows": pad_h, "padded_cols": pad_w,
    }
    if bands is not None:
        settings["bands"] = names
    provenance = Provenance(kind="grid", modality=modality, settings=settings, topology=topology.key)
    return GraphBatch.from_fields(
        [provenance] * b, torch.arange(b + 1, device=x.device) * x.shape[1], topology.key, x=x, measured=measured,
        mask=measured.any(-1), pos=topology.pos, edge_index=topology.edge_index, edge_attr=topology.edge_attr,
    )


def _without_empty(graph: Graph) -> Graph:
    keep = graph.mask
    if bool(keep.all()):
        return graph
    _, rows, cols, _ = _shape(graph)
    pos, index, step = induced(grid_topology(rows, cols, str(keep.device)), keep)
    fields = {"x": graph.x[keep], "measured": graph.measured[keep], "mask": graph.mask[keep]}
    smaller = Graph(graph.provenance, **fields, pos=pos, edge_index=index, edge_attr=step)
    return smaller.with_provenance(topology="", notes={"patches_dropped": int((~keep).sum())})


def _shape(graph: Graph) -> tuple[int, int, int, int]:
    """(patch, rows, cols, channels) of a patch grid."""
    settings = graph.provenance.settings
    if graph.kind != "grid" or "rows" not in settings:
        raise SchemaError(where=repr(graph), found=graph.kind, expected="a patch grid", remedy="Build it with grid_graph.")
    return _int(settings["patch"]), _int(settings["rows"]), _int(settings["cols"]), _int(settings["channels"])


def _int(setting: Setting) -> int:
    return int(setting) if isinstance(setting, int) else 0


def _turned(values: Tensor, k: int, flip: bool) -> Tensor:
    turned = torch.rot90(values, k, (-2, -1))
    return torch.flip(turned, (-1,)) if flip else turned


def _moved(name: str, value: Tensor, order: Tensor, edges: Tensor) -> Tensor:
    """A field in the new order of nodes or edges."""
    level = level_of(name)
    if level == "node":
        return value[order]
    if level == "edge":
        return value.index_select(FIELDS[name].axis if name in FIELDS else 0, edges)
    return value


def _require(ok: bool, where: str, found: str, expected: str, remedy: str) -> None:
    if not ok:
        raise ValueRangeError(where=where, found=found, expected=expected, remedy=remedy)


KIND = Kind("grid", grid_graph)
