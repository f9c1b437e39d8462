"""Graphs as networkx graphs."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from geoembed.graphs.chain import chain_graph
from geoembed.graphs.cloud import cloud_graph
from geoembed.graphs.crystal import crystal_graph
from geoembed.viz import to_networkx, topology
from viz_graphs import EVERY, alloy, event, salt


@pytest.mark.parametrize("make", EVERY.values(), ids=list(EVERY))
def test_a_network_has_the_nodes_and_links_of_its_graph_in_their_order(make) -> None:  # type: ignore[no-untyped-def]
    graph = make()
    network = to_networkx(graph)
    assert list(network.nodes) == list(range(graph.num_nodes))
    edges = sorted(network.edges(keys=True), key=lambda edge: edge[2])
    assert [[source for source, _, _ in edges], [target for _, target, _ in edges]] == graph.edge_index.tolist()


def test_attributes_of_links_are_those_of_their_row() -> None:
    graph = salt()
    network = to_networkx(graph)
    for source, target, key, attributes in network.edges(keys=True, data=True):
        assert attributes["edge_attr"] == pytest.approx(float(graph.edge_attr[key, 0]))
        assert attributes["edge_shift"] == graph.edge_shift[key].tolist()
        place = [network.nodes[node]["pos"] for node in (source, target)]
        away = np.array(place[0]) + np.array(attributes["edge_shift"]) @ np.array(network.graph["cell"]) - np.array(place[1])
        assert np.linalg.norm(away) == pytest.approx(attributes["edge_attr"], abs=1e-5)


def test_a_disordered_site_keeps_all_its_species() -> None:
    network = to_networkx(alloy())
    assert network.nodes[1]["token"] == [26, 27]
    assert network.nodes[1]["token_weight"] == pytest.approx([0.7, 0.3])


def test_the_network_remembers_where_it_came_from() -> None:
    graph = event().with_provenance(source="run.root", record="7")
    assert to_networkx(graph).graph["provenance"]["source"] == "run.root"


def test_molecules_far_apart_are_separate_components() -> None:
    near = np.array([[0, 0, 0], [1.0, 0, 0]])
    graph = crystal_graph(numbers=[8, 8] * 3, positions=np.concatenate([near, near + 100, near + 200]))
    assert topology(graph).components == 3
    assert nx.number_weakly_connected_components(to_networkx(graph)) == 3


def test_an_atom_beyond_the_cutoff_is_isolated() -> None:
    shape = topology(crystal_graph(numbers=[8, 8, 2], positions=[[0, 0, 0], [1, 0, 0], [50, 0, 0]]))
    assert (shape.isolated, shape.components, shape.degree) == (1, 2, (0, 1.0, 1))


def test_cesium_chloride_has_eight_unlike_and_six_like_neighbors() -> None:
    # 8 links Cs to Cl and 8 back, 6 from each ion to its own images; 4 ordered pairs of nodes in all
    shape = topology(crystal_graph([55, 17], [[0, 0, 0], [0.5, 0.5, 0.5]], 4.123 * np.eye(3)))
    assert (shape.edges, shape.loops, shape.parallel, shape.degree) == (28, 12, 24, (14, 14.0, 14))


def test_a_chain_hangs_together_and_its_ends_have_fewer_neighbors() -> None:
    shape = topology(chain_graph(np.arange(40.0), np.arange(40.0)))
    assert (shape.components, shape.degree[0], shape.degree[2]) == (1, 5, 10)


def test_an_empty_cloud_has_no_component() -> None:
    shape = topology(cloud_graph(pt=[], eta=[], phi=[]))
    assert (shape.nodes, shape.edges, shape.components, shape.degree) == (0, 0, 0, (0, 0.0, 0))
