"""Chains: light curves by passband, spectra over wavelength, sequences as letters, and the links over dilated steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geoembed.graphs.passbands import PASSBANDS, WAVELENGTH
from geoembed.graphs.sequence import ALPHABET
from geoembed.schema import Graph
from geoembed.viz.palette import (
    COLORS,
    EDGES_DRAWN,
    FAINT,
    INK,
    LINE,
    MARKERS,
    VOID,
    add_lines,
    legend,
    name_of,
    quiet_axes,
    segments,
    thinned,
    write_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

SAMPLES_DRAWN = 2000
LETTERS_DRAWN = 33
ZOOMED = 24
"""Pixels of a spectrum whose links are drawn in the small picture."""

_LETTERS = dict(zip("ACGT", (COLORS[2], COLORS[0], COLORS[1], COLORS[4]), strict=True))


def draw_chain(graph: Graph, ax: Axes, title: str = "") -> None:
    """A sequence, light curve, spectrum or any other chain, by the fields that it has."""
    if "x" not in graph:
        _draw_sequence(graph, ax)
        facts = f"{graph.num_nodes:,} bases, {graph.num_edges:,} links"
        shown = min(LETTERS_DRAWN, int(graph.num_nodes or 0))
        facts += f"; bases 1 to {shown} drawn" if shown < int(graph.num_nodes or 0) else ""
    elif "token" in graph:
        _draw_light_curve(graph, ax)
        facts = f"{graph.num_nodes:,} measurements, {graph.num_edges:,} links"
    elif "flux_scale" in graph.provenance.settings:
        _draw_spectrum(graph, ax)
        facts = f"{graph.num_nodes:,} pixels, {graph.num_edges:,} links"
    else:
        _draw_samples(graph, ax)
        facts = f"{graph.num_nodes:,} samples, {graph.num_edges:,} links"
    write_title(ax, title or name_of(graph), facts)


def arcs(start: Floats, end: Floats, height: Floats, points: int = 48) -> list[NDArray[np.floating[Any]]]:
    """Half ellipses over a line from ``start`` to ``end`` [E] of ``height`` [E], each [points, 2].

    >>> arcs(np.array([0.0]), np.array([2.0]), np.array([1.0]), points=3)[0].round(6).tolist()
    [[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]]
    """
    turn = np.linspace(np.pi, 0, points)
    middle, half = (start + end) / 2, (end - start) / 2
    x = middle[:, None] + half[:, None] * np.cos(turn)
    return list(np.stack([x, height[:, None] * np.sin(turn)], axis=-1))


def _draw_sequence(graph: Graph, ax: Axes) -> None:
    """The first letters in a row, and an arc for each of their links."""
    count = min(LETTERS_DRAWN, int(graph.num_nodes or 0))
    source, target = graph.edge_index.numpy()
    drawn = (source < target) & (target < count)
    step = (target - source)[drawn]
    height = 1.0 + 2.0 * np.log2(step)
    lines = arcs(source[drawn].astype(np.float64), target[drawn].astype(np.float64), height)
    steps = np.unique(step).tolist()
    colors = [band_color(steps.index(one), len(steps)) for one in step.tolist()]
    add_lines(ax, [line + np.array([0, 0.8]) for line in lines], colors=colors, linewidths=0.9, alpha=0.6, zorder=1)
    legend(ax, [str(one) for one in steps], [band_color(i, len(steps)) for i in range(len(steps))], ncols=5, columnspacing=0.6,
           loc="lower center", title="links over so many bases", title_fontsize=7)
    letters = [ALPHABET[token] for token in graph.token[:count, 0].tolist()]
    for place, letter in enumerate(letters):
        color = _LETTERS.get(letter, FAINT)
        ax.text(place, 0, letter, ha="center", va="center", fontsize=7, fontweight="bold", color="white", family="monospace",
                bbox={"boxstyle": "round,pad=0.12", "facecolor": color, "edgecolor": "none"}, zorder=2)
    ax.set_xlim(-1, count)
    ax.set_ylim(-3.2, float(height.max(initial=1)) + 1.2)
    ax.set_axis_off()


def _draw_light_curve(graph: Graph, ax: Axes) -> None:
    """Magnitudes with error bars, bright above; links of the nearest samples of one band."""
    time, value, error, band = (array[_kept(graph)] for array in _columns(graph))
    first = np.floor(time.min())
    present = sorted(np.unique(band).tolist(), key=lambda token: list(WAVELENGTH.values())[token])
    for number, token in enumerate(present):
        here = band == token
        color, marker = band_color(number, len(present)), MARKERS[number % len(MARKERS)]
        ax.plot(time[here] - first, value[here], color=color, linewidth=0.8, alpha=0.45, zorder=1)
        ax.errorbar(time[here] - first, value[here], np.nan_to_num(error[here]), fmt=marker, color=color, markersize=3.6,
                    markeredgecolor="white", markeredgewidth=0.3, elinewidth=0.6, zorder=2)
    low, high = np.quantile(value, [0, 1])
    rise = float(high - low) or 1.0
    ax.set_ylim(high + 0.08 * rise, low - 0.25 * rise)  # magnitudes: bright is small; room for the legend above
    unit = str(graph.provenance.settings.get("unit", "mag"))
    quiet_axes(ax, f"days since {first:.0f}", {"mag": "magnitude", "asinh mag": "asinh magnitude"}.get(unit, unit))
    names = [PASSBANDS[token] for token in present]
    legend(ax, names, [band_color(i, len(names)) for i in range(len(names))], MARKERS[: len(names)] if len(names) <= 8 else None,
           ncols=min(len(names), 6), columnspacing=0.8)


_STOPS = np.array(
    [[0.16, 0.17, 0.53], [0.00, 0.45, 0.70], [0.00, 0.62, 0.45], [0.90, 0.62, 0.00], [0.84, 0.37, 0.00], [0.50, 0.10, 0.10]]
)


def band_color(number: int, count: int) -> tuple[float, float, float]:
    """Color of item ``number`` of ``count`` in order of wavelength, from dark blue by way of the palette's tones to dark red."""
    place = number / (count - 1) * (len(_STOPS) - 1) if count > 1 else 1.0
    low = int(min(place, len(_STOPS) - 2))
    red, green, blue = (_STOPS[low] + (place - low) * (_STOPS[low + 1] - _STOPS[low])).tolist()
    return red, green, blue


def _draw_spectrum(graph: Graph, ax: Axes) -> None:
    """Flux over rest wavelength; bad pixels as gray strips; around the highest pixel the links, enlarged."""
    wave = 10 ** graph.pos[:, 0].numpy().astype(np.float64)
    good = graph.mask.numpy()
    flux = np.where(good, graph.x[:, 0].numpy().astype(np.float64), np.nan)
    error = np.where(graph.measured[:, 1].numpy() & good, graph.x[:, 1].numpy(), np.nan)
    kept = thinned(len(wave), SAMPLES_DRAWN)
    ax.fill_between(wave[kept], (flux - error)[kept], (flux + error)[kept], color=COLORS[5], alpha=0.35, linewidth=0, zorder=1)
    ax.plot(wave[kept], flux[kept], color=COLORS[0], linewidth=0.8, zorder=2)
    low, usual, high = np.nanquantile(flux, [0.002, 0.999, 1.0])
    high = min(high, low + 3 * (usual - low))  # a cosmic ray must not flatten the rest
    rise = float(high - low) or 1.0
    bad = wave[~good][thinned(int((~good).sum()), 400)]
    ax.vlines(bad, low - 0.1 * rise, low - 0.03 * rise, color=FAINT, linewidth=0.5)
    ax.set_ylim(low - 0.12 * rise, high + 0.75 * rise)  # room for the enlarged part
    quiet_axes(ax, "rest wavelength (Å)" if graph.provenance.settings.get("redshift") else "wavelength (Å)", "flux / median")
    _enlarged(graph, ax, strongest_line(flux), wave, flux)


def strongest_line(flux: Floats, width: int = 51) -> int:
    """Pixel that stands out most from the mean of its ``width`` neighbors; NaN is not looked at.

    >>> strongest_line(np.r_[np.linspace(9, 5, 100), 2.0, np.linspace(5, 1, 100)])
    100
    """
    known = np.isfinite(flux)
    window = np.ones(min(width, len(flux)))
    total = np.convolve(np.where(known, flux, 0), window, "same")
    count = np.convolve(known, window, "same")
    away = np.abs(flux - total / np.maximum(count, 1))
    edge = min(width // 2, len(flux) // 4)  # the window hangs over the ends there
    away[:edge] = away[len(flux) - edge :] = 0
    return int(np.nanargmax(away))


def _enlarged(graph: Graph, ax: Axes, middle: int, wave: Floats, flux: Floats) -> None:
    """A small picture of the pixels around ``middle``: values as dots, links of the middle pixel as arcs."""
    first = int(np.clip(middle - ZOOMED // 2, 0, max(0, len(wave) - ZOOMED - 1)))
    part = np.arange(first, min(first + ZOOMED + 1, len(wave)))
    source, target = graph.edge_index.numpy()
    near = source[(target == middle) & np.isin(source, part)]
    left = wave.max() - wave[middle] < wave[middle] - wave.min()  # away from the peak
    small = ax.inset_axes((0.03, 0.63, 0.42, 0.36) if left else (0.55, 0.63, 0.42, 0.36))
    value = flux[part] - np.nanmin(flux[part])
    value = 1.2 * value / (np.nanmax(value) or 1.0)
    ends = np.abs(near - middle).astype(np.float64)
    lines = arcs(np.minimum(near, middle).astype(np.float64), np.maximum(near, middle).astype(np.float64), 0.25 + 0.2 * np.log2(ends))
    add_lines(small, [line + np.array([0, 1.45]) for line in lines], colors=COLORS[4], linewidths=0.9)
    small.plot(part, value, "o-", color=COLORS[0], markersize=2.2, linewidth=0.6)
    small.scatter(near, np.full(len(near), 1.45), s=6, color=COLORS[4], zorder=3)
    small.scatter([middle], [1.45], s=14, color=INK, zorder=4)
    small.set_ylim(-0.15, 2.7)
    small.set_xticks([])
    small.set_yticks([])
    small.spines[:].set_color(LINE)
    small.set_facecolor("white")
    small.text(0.03, 0.95, "links of one pixel", transform=small.transAxes, fontsize=6, color=FAINT, va="top")


def _draw_samples(graph: Graph, ax: Axes) -> None:
    """Any other chain: each column of x over position, and links of neighboring samples."""
    kept = _kept(graph)
    place = graph.pos[:, 0].numpy().astype(np.float64)
    for column in range(min(graph.x.shape[1], len(COLORS))):
        known = graph.measured[:, column].numpy() & graph.mask.numpy()
        here = kept[known[kept]]
        ax.plot(place[here], graph.x[here, column].numpy(), "o-", color=COLORS[column], markersize=2.5, linewidth=0.6)
    value = graph.x[:, 0].numpy()
    source, target = graph.edge_index.numpy()
    known = graph.measured[:, 0].numpy() & graph.mask.numpy()
    edges = np.flatnonzero((source < target) & known[source] & known[target])
    edges = edges[thinned(len(edges), EDGES_DRAWN // 4)]
    ends = [np.stack([place[i[edges]], value[i[edges]]], axis=1) for i in (source, target)]
    add_lines(ax, segments(*ends), colors=VOID, linewidths=0.4, zorder=0)
    quiet_axes(ax, "position", "value")


def _columns(graph: Graph) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
    """(time, value, error with NaN where unknown, passband token), each [N]."""
    value, error = graph.x[:, 0].numpy().astype(np.float64), graph.x[:, 1].numpy().astype(np.float64)
    value = np.where(graph.measured[:, 0].numpy() & graph.mask.numpy(), value, np.nan)
    error = np.where(graph.measured[:, 1].numpy(), error, np.nan)
    return graph.pos[:, 0].numpy().astype(np.float64), value, error, graph.token[:, 0].numpy()


def _kept(graph: Graph) -> NDArray[np.int64]:
    """Rows with a measured first value, thinned where there are many."""
    known = np.flatnonzero(graph.measured[:, 0].numpy() & graph.mask.numpy())
    return known[thinned(len(known), SAMPLES_DRAWN)]
