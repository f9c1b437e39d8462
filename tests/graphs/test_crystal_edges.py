"""Rules by which pairs of sites become edges, budgets, angles, and many crystals at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from geoembed.errors import EmptyGraphError, ValueRangeError
from geoembed.graphs.crystal import crystal_graph, crystal_graphs
from geoembed.graphs.crystal_edges import AdaptiveShells, MutualShells, Radius, Shells
from geoembed.schema import GraphBatch, validate

from generators import CRYSTALS, crystal

CUBE = 3.0 * np.eye(3)


def same(a, b) -> None:
    assert set(a.keys()) == set(b.keys())
    for name, value in a.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == b[name].dtype, name
            assert torch.equal(value, b[name]), name
    assert a.provenance == b.provenance


@pytest.mark.parametrize("rule", [12, None, 3, MutualShells(5), AdaptiveShells(20)], ids=str)
def test_crystals_at_once_are_the_crystals_one_by_one(rule):
    structures = [crystal(name) for name in sorted(CRYSTALS)] + [([1, 8], [[0, 0, 0], [0.5, 0.5, 0.5]], 40 * np.eye(3))]
    together = crystal_graphs(structures, cutoff=6.0, neighbors=rule)
    for structure, graph in zip(structures, together, strict=True):
        same(validate(graph), crystal_graph(structure, cutoff=6.0, neighbors=rule))
    assert GraphBatch.from_data_list(together).num_graphs == len(structures)
    assert crystal_graphs([]) == []


def test_disordered_crystals_keep_their_species_rows_when_many_are_built():
    mixed = crystal("rock salt")
    mixed.replace(0, {"Na": 0.3, "K": 0.5})
    one, two = crystal_graphs([mixed, crystal("diamond"), mixed][:2])
    assert one.token[:, 0].tolist() == [11, 19, 17]
    assert one.token_node.tolist() == [0, 0, 1]
    assert two.token_node.tolist() == [0, 1]


def test_a_number_stands_for_whole_shells_and_none_for_the_sphere():
    quartz = crystal("quartz")
    same(crystal_graph(quartz, neighbors=Shells(12)), crystal_graph(quartz, neighbors=12))
    same(crystal_graph(quartz, cutoff=5.0, neighbors=Radius()), crystal_graph(quartz, cutoff=5.0, neighbors=None))


def test_rules_are_kept_in_the_provenance():
    quartz = crystal("quartz")
    assert crystal_graph(quartz, neighbors=MutualShells(4)).provenance.settings == {"cutoff": 8.0, "neighbors": 4, "rule": "mutual"}
    assert crystal_graph(quartz, neighbors=AdaptiveShells(4)).provenance.settings == {"cutoff": None, "neighbors": 4, "rule": "adaptive"}


def test_a_radius_of_a_bit_over_the_lattice_constant_has_six_neighbors_and_is_not_enlarged():
    assert crystal_graph([1], [[0, 0, 0]], np.eye(3), cutoff=1.001).num_edges == 6
    lonely = ([1], [[0, 0, 0]], 30 * np.eye(3))
    assert crystal_graph(lonely).num_edges == 0
    assert crystal_graph(lonely, neighbors=AdaptiveShells(6)).edge_attr.flatten().tolist() == [30.0] * 6


def test_every_mutual_edge_has_its_reverse():
    graph = crystal_graph(crystal("perovskite"), neighbors=MutualShells(12))
    there = {(s, t, *shift) for s, t, shift in zip(*graph.edge_index.tolist(), graph.edge_shift.tolist(), strict=True)}
    assert there == {(t, s, *(-n for n in shift)) for s, t, *shift in there}
    assert 0 < graph.num_edges < crystal_graph(crystal("perovskite"), neighbors=12).num_edges


def test_a_budget_that_bites_is_noted_with_the_parts_of_the_graph():
    """Two pairs of atoms 1 Å apart in one long cell, the pairs 4 Å from each other."""
    far = {"numbers": [6] * 4, "positions": [[0, 0, 0], [1, 0, 0], [5, 0, 0], [6, 0, 0]], "cell": np.diag([40.0, 20, 20]), "cutoff": 4.5}
    whole = crystal_graph(**far)
    assert whole.num_edges == 6
    assert "edges_dropped" not in whole.notes
    graph = crystal_graph(**far, edge_budget=5)
    assert graph.num_edges == 4
    assert dict(graph.notes) == {"edges_dropped": 2, "components_before": 1, "components_after": 2}
    assert dict(crystal_graph(**far, edge_budget=6).notes) == {}


def test_angles_are_all_ordered_pairs_of_edges_of_a_site_and_survive_batching():
    graph = crystal_graph([84], [[0, 0, 0]], CUBE, cutoff=3.1, angles=True)
    assert graph.angle_index.shape == (2, 6 * 5)
    batch = GraphBatch.from_data_list([graph, graph])
    assert torch.equal(batch.angle_index[:, 30:], graph.angle_index + 6)


def test_a_refused_crystal_among_many_is_named():
    good = ([11], [[0, 0, 0]], CUBE)
    with pytest.raises(ValueRangeError, match=r"atomic number.*found 119.*1…118"):
        crystal_graphs([good, ([119], [[0, 0, 0]], CUBE)])
    with pytest.raises(EmptyGraphError, match="no sites"):
        crystal_graphs([([], np.zeros((0, 3)), CUBE)])
    with pytest.raises(ValueRangeError, match=r"sites 1 and 0.*0\.0300 Å apart.*Remove the duplicate site"):
        crystal_graphs([good, ([11, 11], [[0, 0, 0], [0.01, 0, 0]], CUBE)])
