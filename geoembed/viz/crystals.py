"""Crystals and molecules as balls and sticks in a cell, seen along a fixed direction without perspective."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoembed.io.cif_checks import SYMBOLS
from geoembed.schema import Graph
from geoembed.viz.palette import COLORS, EDGE, INK, LINE, add_discs, add_lines, bare_axes, legend, name_of, segments, write_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ATOMS_DRAWN = 1200
"""Of a larger structure the atoms nearest to its middle are drawn."""

SHELL = 1.12
"""Sticks go to neighbors within this factor of an atom's nearest one; hydrogen has a shell of its own."""

STUB = 0.38
"""Length of a stick that leaves the picture, as a share of the whole one."""

_USUAL = {1: "#F4F4F4", 6: "#5A5A5A", 7: "#0072B2", 8: "#D55E00", 16: "#E8C500", 17: "#009E73"}
"""Colors that chemists expect: H white, C gray, N blue, O red, S yellow, Cl green, in tones of the palette."""

_NOBLE = np.array([2, 10, 18, 36, 54, 86])
_EPSILON = 1e-3  # of a cell: an atom on a face is drawn on the opposite face, too


class Copies(NamedTuple):
    """Atoms as drawn: ``node`` [M] of the graph, lattice translation ``shift`` [M, 3], Cartesian place ``xyz`` [M, 3]."""

    node: Ints
    shift: Ints
    xyz: Floats


def draw_crystal(graph: Graph, ax: Axes, title: str = "") -> None:
    """Balls in the colors of their elements, sticks to the nearest shell, the cell; a disordered site has a disc in its ball.

    Atoms on a face of the cell are drawn on the opposite one, too; a stick whose other atom is not drawn is a stub.
    """
    copies = displayed(graph)
    start, end, whole = sticks(graph, copies)
    view = _view(graph, copies.xyz)
    atoms, start, end = copies.xyz @ view, start @ view, end @ view
    corners = _cell_lines(graph)
    if corners is not None:
        lines = corners @ view
        add_lines(ax, list(lines[:, :, :2]), colors=LINE, linewidths=1.0, zorder=1)
        atoms_and_cell = np.concatenate([atoms, lines.reshape(-1, 3)])
    else:
        atoms_and_cell = atoms
    near = _nearness(end[:, 2], atoms_and_cell[:, 2])
    add_lines(ax, segments(start[:, :2], end[:, :2]), colors=[_shade(EDGE, value) for value in near],
              linewidths=np.where(whole, 2.2, 1.2), capstyle="round", zorder=2)
    scale = float(np.ptp(atoms_and_cell[:, :2], axis=0).max()) or 1.0
    elements = _balls(graph, copies.node, atoms, scale, ax)
    low, high = atoms_and_cell[:, :2].min(0), atoms_and_cell[:, :2].max(0)
    edge = 0.09 * scale + 0.3
    ax.set_xlim(low[0] - edge, high[0] + edge + 0.14 * scale)  # room for the legend
    ax.set_ylim(low[1] - edge, high[1] + edge)
    bare_axes(ax)
    legend(ax, [SYMBOLS[z - 1] for z in elements], list(elements.values()))
    count = int(graph.num_nodes or 0)
    shown = f" (the {len(set(copies.node.tolist())):,} in the middle drawn)" if len(set(copies.node.tolist())) < count else ""
    write_title(ax, title or name_of(graph), f"{count:,} site{'s' * (count != 1)}{shown}, {graph.num_edges:,} links; nearest shell drawn")


def displayed(graph: Graph) -> Copies:
    """Atoms wrapped into the cell, with their images on opposite faces; the ones nearest to the middle where there are many."""
    position, periodic = _array(graph.pos), _periodic(graph)
    node: Ints = np.arange(len(position))
    shift = np.zeros((len(position), 3), dtype=np.int64)
    if periodic.any():
        cell = _whole_cell(graph)
        fraction = position @ np.linalg.inv(cell)
        shift = np.where(periodic, -np.floor(fraction + _EPSILON), 0).astype(np.int64)
        if len(position) <= ATOMS_DRAWN:
            on_face = (np.abs(fraction + shift) < _EPSILON) & periodic  # [N, 3]
            steps = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), -1).reshape(8, 3)
            copied, step = np.nonzero((on_face[:, None, :] | (steps == 0)).all(-1))
            node, shift = node[copied], shift[copied] + steps[step]
        xyz = position[node] + shift @ cell
    else:
        xyz = position
    if len(node) > ATOMS_DRAWN:
        keep = np.argsort(np.linalg.norm(xyz - xyz.mean(0), axis=1), kind="stable")[:ATOMS_DRAWN]
        node, shift, xyz = node[keep], shift[keep], xyz[keep]
    return Copies(node, shift, xyz)


def sticks(graph: Graph, copies: Copies) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Sticks of the drawn atoms: (start [S, 3], end [S, 3], whole [S]); one whose other atom is not drawn is a stub."""
    source, target, step = _near_edges(graph)
    order = np.argsort(target, kind="stable")
    source, target, step = source[order], target[order], step[order]
    first = np.searchsorted(target, copies.node)
    count = np.searchsorted(target, copies.node, "right") - first
    owner = np.repeat(np.arange(len(copies.node)), count)  # drawn atom of each stick
    edge = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    other, shift = source[edge], copies.shift[owner] + step[edge]
    start = copies.xyz[owner]
    cell = _whole_cell(graph) if _periodic(graph).any() else np.zeros((3, 3))
    end = _array(graph.pos)[other] + shift @ cell
    whole = np.isin(_key(other, shift), _key(copies.node, copies.shift))
    return start, np.where(whole[:, None], end, start + STUB * (end - start)), whole


def _near_edges(graph: Graph) -> tuple[Ints, Ints, Ints]:
    """(source, target, shift [E, 3]) of the edges to the nearest shell of either atom; hydrogen is judged apart."""
    source, target = (_array(row) for row in graph.edge_index)
    distance, step = _array(graph.edge_attr[:, 0]), _array(graph.edge_shift).astype(np.int64)
    hydrogen = (_main_elements(graph) == 1).astype(np.int64)
    nearest = np.full((int(graph.num_nodes or 0), 2), np.inf)
    np.minimum.at(nearest, (target, hydrogen[source]), distance)
    # Of either atom: an oxygen far from its own nearest may be the nearest of a large cation
    near = distance <= SHELL * np.maximum(nearest[target, hydrogen[source]], nearest[source, hydrogen[target]])
    near &= (hydrogen[source] + hydrogen[target] < 2) | (distance < 0.9)  # two hydrogens are no pair, unless they are H₂
    return source[near], target[near], step[near]


def _balls(graph: Graph, node: Ints, atoms: Floats, scale: float, ax: Axes) -> dict[int, str]:
    """Draw the atoms, far ones first; returns the colors of the elements."""
    numbers = np.unique(_array(graph.token[:, 0])).tolist()
    colors = element_colors(numbers)
    main = _main_elements(graph)
    radius = 0.20 + 0.07 * (np.searchsorted(_NOBLE, main) + 1)  # Å: by period, small enough that sticks are seen
    radius *= np.clip(scale / 9, 0.4, 3)
    order = np.argsort(atoms[:, 2], kind="stable")
    node, atoms = node[order], atoms[order]
    near = _nearness(atoms[:, 2], atoms[:, 2])
    fill = [_shade(colors[z], value) for z, value in zip(main[node].tolist(), near, strict=True)]
    add_discs(ax, atoms[:, :2], radius[node], facecolors=fill, edgecolors=INK, linewidths=0.6, zorder=3)
    for place, second in _minor_species(graph).items():
        here = node == place
        inner = radius[node[here]] * np.sqrt(second[1])
        add_discs(ax, atoms[here, :2], inner, facecolors=colors[second[0]], edgecolors="none", zorder=4)
    shine = atoms[:, :2] + radius[node, None] * np.array([-0.32, 0.34])
    add_discs(ax, shine, radius[node] * 0.24, facecolors="white", edgecolors="none", alpha=0.65, zorder=5)
    return colors


def element_colors(numbers: list[int]) -> dict[int, str]:
    """Color of each atomic number: the usual one of six elements, else the next of the palette that is free.

    >>> element_colors([8, 22])
    {8: '#D55E00', 22: '#0072B2'}
    """
    usual = {z: _USUAL[z] for z in numbers if z in _USUAL}
    free = [color for color in COLORS if color not in usual.values()] or list(COLORS)
    others = [z for z in numbers if z not in _USUAL]
    return {z: usual[z] if z in usual else free[others.index(z) % len(free)] for z in numbers}


def _main_elements(graph: Graph) -> Ints:
    """Atomic number [N] of the species with the largest occupancy at each site."""
    order = np.argsort(_array(graph.token_weight), kind="stable")  # the largest is written last
    main = np.zeros(int(graph.num_nodes or 0), dtype=np.int64)
    main[_array(graph.token_node)[order]] = _array(graph.token[:, 0])[order]
    return main


def _minor_species(graph: Graph) -> dict[int, tuple[int, float]]:
    """{site: (atomic number, share)} of the second species of disordered sites."""
    site, weight = _array(graph.token_node), _array(graph.token_weight)
    if len(site) == int(graph.num_nodes or 0):
        return {}
    main, z = _main_elements(graph), _array(graph.token[:, 0])
    minor = z != main[site]
    share = weight / np.bincount(site, weights=weight)[site]
    return {int(i): (int(number), float(part)) for i, number, part in zip(site[minor], z[minor], share[minor], strict=True)}


def _view(graph: Graph, xyz: Floats) -> Floats:
    """Rotation [3, 3] to (right, up, towards the reader): crystals from a little above and aside, molecules from their flat side."""
    base = np.eye(3)
    if not _periodic(graph).any():
        axes = np.linalg.svd(xyz - xyz.mean(0), full_matrices=True)[2]
        base = axes.T * np.where(np.linalg.det(axes) < 0, [1, 1, -1], 1)
        return base @ _turn(18.0, 10.0)
    first = _whole_cell(graph)[0] / np.linalg.norm(_whole_cell(graph)[0])
    third = np.cross(first, _whole_cell(graph)[1])
    third /= np.linalg.norm(third)
    base = np.stack([first, third, np.cross(first, third)], axis=1)  # a to the right, up along a × b
    return base @ _turn(-24.0, 14.0)


def _turn(aside: float, above: float) -> Floats:
    """Rotation about the vertical axis, then about the horizontal one, in degrees."""
    a, b = np.radians([aside, above])
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    turn: Floats = about_y @ about_x
    return turn


def _cell_lines(graph: Graph) -> Floats | None:
    """The 12 edges of the cell, [12, 2, 3]; None without a cell."""
    if not _periodic(graph).any():
        return None
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), -1).reshape(8, 3)
    a, b = np.nonzero(np.triu(np.abs(corners[:, None] - corners[None]).sum(-1) == 1))
    lines: Floats = np.stack([corners[a], corners[b]], axis=1) @ _whole_cell(graph)
    return lines


def _whole_cell(graph: Graph) -> Floats:
    """The cell with unit vectors in place of missing ones (slabs and wires), so that it can be inverted."""
    cell = _array(graph.cell[0]).copy()
    for axis in np.flatnonzero(np.linalg.norm(cell, axis=1) < 1e-9):
        others = [i for i in range(3) if i != axis and np.linalg.norm(cell[i]) > 1e-9]
        _, _, rows = np.linalg.svd(cell[others] if others else np.zeros((1, 3)))
        cell[axis] = rows[-1]
    return cell


def _periodic(graph: Graph) -> NDArray[np.bool_]:
    return np.asarray(graph.pbc[0].numpy(), dtype=bool)


def _key(node: Ints, shift: Ints) -> Ints:
    """One number for an image of an atom; translations reach −512…511."""
    key: Ints = ((node * 1024 + shift[:, 0] + 512) * 1024 + shift[:, 1] + 512) * 1024 + shift[:, 2] + 512
    return key


def _nearness(depth: Floats, among: Floats) -> Floats:
    low, high = float(among.min()), float(among.max())
    return (depth - low) / (high - low) if high > low else np.ones_like(depth)


def _shade(color: str, near: float) -> tuple[float, float, float]:
    """A color mixed with white by up to 45 % for what is far."""
    strength = 0.55 + 0.45 * float(np.clip(near, 0, 1))
    red, green, blue = (int(color[i : i + 2], 16) / 255 * strength + 1 - strength for i in (1, 3, 5))
    return red, green, blue


def _array(tensor: Any) -> NDArray[Any]:
    return np.asarray(tensor.detach().cpu().numpy())
