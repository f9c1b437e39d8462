"""Patch grids as the image they were made of, with the graph of their patches on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from geoembed.graphs.grid import image_of
from geoembed.io.extras import require
from geoembed.schema import Graph
from geoembed.viz.palette import VOID, add_lines, bare_axes, name_of, quiet_axes, segments, thinned, write_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float32]

SIDE_DRAWN = 512
"""Larger images are drawn with every second, third … pixel."""

PATCHES_LINKED = 1600
"""The graph is drawn on at most so many patches; on more of them it would hide the image: a corner of it is drawn then."""


def draw_grid(graph: Graph, ax: Axes, title: str = "") -> None:
    """The image in color, or its first band; gray where not measured; patches as dots with their links.

    Spectrograms have time to the right and low sounds below. Unmeasured borders of photographs are cut off.
    """
    picture, sound = shown_image(graph), graph.provenance.modality == "spectrogram"
    rows, cols = _extent(graph)
    patch = int(str(graph.provenance.settings["patch"]))
    settings = {name: int(str(value)) for name, value in graph.provenance.settings.items() if name != "bands"}
    size = settings["rows"] * patch - settings["padded_rows"], settings["cols"] * patch - settings["padded_cols"]
    height, width = min(size[0], rows[1] * patch), min(size[1], cols[1] * patch)
    ax.imshow(picture, extent=(0, size[1], size[0], 0), aspect="auto" if sound else "equal")
    _patches(ax, graph, patch, bright=picture.mean() > 0.75 and not sound)
    ax.set_xlim(cols[0] * patch, width)
    ax.set_ylim((rows[0] * patch, height) if sound else (height, rows[0] * patch))
    if sound:
        quiet_axes(ax, "time → (frames)", "pitch → (mel bands)")
    else:
        bare_axes(ax)
    total, real = int(graph.num_nodes or 0), int(graph.mask.sum())
    some = f"of {patch} × {patch} pixels" if real == total else f"({real:,} measured)"
    write_title(ax, title or name_of(graph), f"{total:,} patches {some}, {graph.num_edges:,} links")


def shown_image(graph: Graph) -> Floats:
    """The picture [H, W, 3] in 0…1 of a patch grid; :data:`VOID` where nothing was measured."""
    bands = graph.provenance.settings.get("bands")
    names = [str(band) for band in bands] if isinstance(bands, list) else []
    triple = next((triple for triple in _RENDERED if set(triple) <= set(names)), None)
    if triple is not None:
        image, measured = _channels(graph, [names.index(band) for band in triple])
        known = np.asarray(measured.all(axis=0), dtype=np.bool_)
        picture = _RENDERED[triple](image, known)
    else:
        channels = int(str(graph.provenance.settings["channels"]))
        count = graph.measured.reshape(len(graph.measured), channels, -1).sum((0, 2))
        image, measured = _channels(graph, [int(count.argmax())])  # the band with the most measured pixels, often the first
        known = measured[0]
        picture = _mapped(_stretched(image, known)[..., 0], graph.provenance.modality)
    void = np.array([int(VOID[i : i + 2], 16) / 255 for i in (1, 3, 5)], dtype=np.float32)
    return np.where(known[..., None], picture, void).astype(np.float32)


def _channels(graph: Graph, chosen: list[int]) -> tuple[Floats, NDArray[np.bool_]]:
    """(image, measured) [c, H, W] of some channels, with every second, third … pixel of a large image."""
    area = int(str(graph.provenance.settings["patch"])) ** 2
    columns = torch.cat([torch.arange(c * area, (c + 1) * area) for c in chosen])
    part = copy(graph)  # tensors by reference
    part.x, part.measured = graph.x[:, columns], graph.measured[:, columns]
    image, measured = image_of(part.with_provenance(settings={**graph.provenance.settings, "channels": len(chosen)}))
    step = max(1, -(-max(image.shape[1:]) // SIDE_DRAWN))
    return image[:, ::step, ::step].numpy(), measured[:, ::step, ::step].numpy()


def _faithful(image: Floats, measured: NDArray[np.bool_]) -> Floats:
    """Photographs as they are: values in 0…1."""
    return np.moveaxis(image, 0, -1).clip(0, 1)


def _land(image: Floats, measured: NDArray[np.bool_]) -> Floats:
    """Scenes: haze is taken off each band, and white is 2.2 times the 70th percentile, so that clouds do not darken the land."""
    known = image[:, measured] if measured.any() else image.reshape(len(image), -1)
    haze = np.percentile(known, 1, axis=1).min()
    above = np.moveaxis(image, 0, -1) - haze * 0.8
    white = 2.2 * float(np.percentile(known.mean(0), 70) - haze * 0.8)
    return np.asarray((above / (white if white > 0 else 1.0)).clip(0, 1) ** 0.75, dtype=np.float32)


def _stretched(image: Floats, measured: NDArray[np.bool_]) -> Floats:
    """[C, H, W] -> [H, W, C] in 0…1 by one asinh curve for all channels, so that colors stay (Lupton et al. 2004).

    The sky is the 5th percentile of each channel, white the 99.7th of their mean.
    """
    known = image[:, measured] if measured.any() else image.reshape(len(image), -1)
    sky = np.percentile(known, 5, axis=1)
    above = np.moveaxis(image, 0, -1) - sky
    mean = above.mean(-1, keepdims=True)
    white = float(np.percentile(mean[measured] if measured.any() else mean, 99.7))
    white = white if white > 0 else 1.0
    curve = np.arcsinh(np.maximum(mean, 0) / white * 4) / np.arcsinh(4)
    ratio = curve / np.maximum(mean, 1e-6 * white)
    return np.asarray((above * ratio).clip(0, 1), dtype=np.float32)


_RENDERED: Mapping[tuple[str, str, str], Callable[[Floats, NDArray[np.bool_]], Floats]] = {
    ("i", "r", "g"): _stretched, ("red", "green", "blue"): _faithful, ("B04", "B03", "B02"): _land,
}
"""Bands that are drawn as red, green and blue where a graph has all three (SDSS, photographs, Sentinel-2), and how."""


def _mapped(gray: Floats, modality: str) -> Floats:
    color_map = require("matplotlib", "plot").colormaps["magma" if modality == "spectrogram" else "gray"]
    return np.asarray(color_map(gray)[..., :3], dtype=np.float32)


def _extent(graph: Graph) -> tuple[tuple[int, int], tuple[int, int]]:
    """((first row, end), (first column, end)) of the patches that hold a measured pixel."""
    place = graph.pos[graph.mask].numpy().astype(np.int64)
    low, high = place.min(0), place.max(0) + 1
    return (int(low[0]), int(high[0])), (int(low[1]), int(high[1]))


def _patches(ax: Axes, graph: Graph, patch: int, bright: bool) -> None:
    """Dots and links of the measured patches, or of their lower left corner where there are many."""
    place: NDArray[Any] = graph.pos.numpy()
    real = graph.mask.numpy()
    if real.sum() > PATCHES_LINKED:
        side = int(PATCHES_LINKED**0.5) // 2
        (low, _), (left, _) = _extent(graph)
        real = real & (place[:, 0] < low + side) & (place[:, 1] < left + side)
    center = (place[:, ::-1] + 0.5) * patch
    source, target = graph.edge_index.numpy()
    drawn = np.flatnonzero(real[source] & real[target] & (source < target))
    drawn = drawn[thinned(len(drawn), 8 * PATCHES_LINKED)]
    color, strength = "#33475B" if bright else "white", float(np.clip(8 / real.sum() ** 0.5, 0.3, 1))  # fewer patches, stronger lines
    add_lines(ax, segments(center[source[drawn]], center[target[drawn]]), colors=color, linewidths=0.5, alpha=0.45 * strength, zorder=2)
    ax.scatter(center[real, 0], center[real, 1], s=6 * strength, c=color, alpha=0.3 + 0.4 * strength, linewidths=0, zorder=3)
