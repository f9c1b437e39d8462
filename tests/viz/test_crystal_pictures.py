"""What is drawn of a crystal."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from geoembed.graphs.crystal import crystal_graph
from geoembed.viz.crystals import ATOMS_DRAWN, displayed, draw_crystal, element_colors, sticks
from geoembed.viz.palette import new_figure
from viz_graphs import alloy, benzene, salt


def test_a_cell_of_rock_salt_is_drawn_with_27_ions() -> None:
    # 8 corners and 6 faces of one kind, 12 edges and the center of the other
    copies = displayed(salt())
    assert len(copies.node) == 27
    assert sorted(np.bincount((copies.node >= 4).astype(int)).tolist()) == [13, 14]
    assert len(np.unique(copies.xyz.round(6), axis=0)) == 27
    assert copies.xyz.min() == pytest.approx(0)
    assert copies.xyz.max() == pytest.approx(5.64)


def test_sticks_of_rock_salt_are_the_edges_of_a_grid_of_3_by_3_by_3() -> None:
    graph = salt()
    start, end, whole = sticks(graph, displayed(graph))
    assert int(whole.sum()) == 2 * 3 * 18  # 3 directions, 18 edges each, drawn from both ends
    np.testing.assert_allclose(np.linalg.norm((end - start)[whole], axis=1), 5.64 / 2)
    assert len(whole) == 27 * 6  # every ion has six neighbors, drawn or as a stub


def test_a_crystal_moved_against_its_cell_is_drawn_inside_it() -> None:
    graph = crystal_graph([29], [[0.4, -1.3, 7.5]], 3.0 * np.eye(3))
    fraction = displayed(graph).xyz / 3.0
    assert (fraction >= -1e-3).all()
    assert (fraction < 1 + 1e-3).all()


def test_benzene_has_six_bonds_of_carbon_and_six_of_hydrogen() -> None:
    graph = benzene()
    start, end, whole = sticks(graph, displayed(graph))
    lengths = np.linalg.norm(end - start, axis=1)
    assert whole.all()
    assert sorted(lengths.round(3).tolist()) == [1.084] * 12 + [1.397] * 12


def test_the_two_hydrogens_of_water_are_not_joined() -> None:
    half = math.radians(52.25)
    graph = crystal_graph(numbers=[8, 1, 1], positions=[[0, 0, 0], *([0.958 * s * math.sin(half), 0.958 * math.cos(half), 0] for s in (-1, 1))])
    start, end, _ = sticks(graph, displayed(graph))
    np.testing.assert_allclose(np.linalg.norm(end - start, axis=1), 0.958, atol=1e-6)
    assert len(start) == 4


def test_hydrogen_gas_is_a_pair() -> None:
    graph = crystal_graph(numbers=[1, 1], positions=[[0, 0, 0], [0.741, 0, 0]])
    assert len(sticks(graph, displayed(graph))[0]) == 2


def test_a_slab_without_a_third_vector_is_repeated_in_two_directions_only() -> None:
    cell = np.diag([3.0, 3.0, 0.0])
    copies = displayed(crystal_graph(numbers=[6], positions=[[0, 0, 5.0]], cell=cell, pbc=[True, True, False]))
    assert len(copies.node) == 4
    assert set(copies.xyz[:, 2].tolist()) == {5.0}


def test_of_a_large_structure_the_middle_is_drawn_and_the_title_says_so() -> None:
    side = np.stack(np.meshgrid(*[np.arange(12.0)] * 3), -1).reshape(-1, 3)
    graph = crystal_graph(numbers=[29] * len(side), positions=2.5 * side, cutoff=2.6)
    copies = displayed(graph)
    assert len(copies.node) == ATOMS_DRAWN
    away = np.linalg.norm(2.5 * side - 2.5 * 5.5, axis=1)
    assert away[copies.node].max() <= np.delete(away, copies.node).min() + 1e-9
    ax = new_figure(3, 3).add_subplot()
    draw_crystal(graph, ax)
    assert "1,728 sites (the 1,200 in the middle drawn)" in ax.texts[-1].get_text()


def test_elements_have_different_colors_and_the_usual_ones_where_there_are() -> None:
    colors = element_colors([1, 6, 7, 8, 22, 38])
    assert colors[8] == "#D55E00"
    assert len(set(colors.values())) == 6


def test_a_disordered_site_is_two_discs_whose_areas_are_as_the_occupancies() -> None:
    ax = new_figure(3, 3).add_subplot()
    draw_crystal(alloy(), ax)
    discs = [collection for collection in ax.collections if type(collection).__name__ == "EllipseCollection"]
    outer = discs[0].get_widths().max()
    inner = {round(float(width), 4) for disc in discs[1:-1] for width in disc.get_widths()}
    assert {round(width / float(outer), 4) for width in inner} == {round(math.sqrt(0.3), 4)}


def test_drawing_leaves_the_graph_as_it_was() -> None:
    graph = salt()
    before = graph.clone()
    draw_crystal(graph, new_figure(3, 3).add_subplot())
    assert all(torch.equal(value, before[name]) for name, value in graph.items() if isinstance(value, torch.Tensor))
