"""Graphs and the field table."""

from __future__ import annotations

import copy

import pytest
import torch
from geoembed.schema import FIELDS, Graph, Provenance, level_of
from hypothesis import given
from hypothesis import strategies as st

from generators import sample


def test_a_graph_prints_one_line_that_says_what_it_is():
    graph = sample("crystal").with_provenance(record="mp-149")
    assert repr(graph) == f"Graph(crystal mp-149: 3 nodes, {graph.num_edges} edges, cutoff 5.0, neighbors 12)"
    assert repr(sample("jet")) == "Graph(jet: 5 nodes, 20 edges, rule eta_phi, k 4)"


def test_the_node_count_comes_from_features_positions_mask_or_tokens_and_can_be_given():
    kind = Provenance(kind="cloud")
    assert Graph(kind, x=torch.zeros(3, 2)).num_nodes == 3
    assert Graph(kind, pos=torch.zeros(4, 2)).num_nodes == 4
    assert Graph(kind, token=torch.zeros(5, 1, dtype=torch.int64)).num_nodes == 5
    assert Graph(kind, num_nodes=7, edge_index=torch.tensor([[0], [1]])).num_nodes == 7


def test_changed_provenance_leaves_the_graph_as_it_was_and_adds_notes():
    graph = sample("event")
    other = graph.with_provenance(source="run.root", notes={"checked": 1})
    assert (graph.source, other.source, other.record, other.kind) == ("", "run.root", "", "cloud")
    assert "checked" not in graph.notes
    assert other.notes == {**graph.notes, "checked": 1}
    assert other.x.data_ptr() == graph.x.data_ptr()


def test_provenance_is_ready_for_json():
    import json

    origin = Provenance(kind="chain", settings={"of": [1, 2]}, notes={"gaps_removed": 3})
    assert Provenance(**json.loads(json.dumps(origin.to_dict()))) == origin


def test_copies_of_a_graph_keep_its_provenance_and_class():
    graph = sample("light_curve")
    for other in (copy.copy(graph), copy.deepcopy(graph), graph.clone()):
        assert isinstance(other, Graph)
        assert other.provenance == graph.provenance
        assert torch.equal(other.x, graph.x)
        assert other.num_nodes == graph.num_nodes


@given(st.text(min_size=1, max_size=12))
def test_a_prefix_states_the_level_of_a_field_of_ones_own(tail):
    for level in ("node", "edge", "graph"):
        name = f"{level}_{tail}"
        assert level_of(name) == (FIELDS[name].level if name in FIELDS else level)


def test_the_table_says_once_what_is_shifted_and_what_is_shared():
    assert {name for name, field in FIELDS.items() if field.offset} == {"edge_index", "token_node", "angle_index"}
    assert {name for name, field in FIELDS.items() if field.axis} == {"edge_index", "angle_index"}
    assert not {name for name, field in FIELDS.items() if field.shared and field.level == "graph"}
    for name, field in FIELDS.items():
        assert field.shape.count(",") + 1 == field.ndim or " or " in field.shape, name


@pytest.mark.parametrize("name", ["class_index", "batch", "indices", "weights", "Node_x", ""])
def test_a_name_outside_the_table_without_a_prefix_has_no_level(name):
    assert level_of(name) is None
