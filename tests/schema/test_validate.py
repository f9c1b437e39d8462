"""The validator: each way to break the contract is named with field, found, expected and remedy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from geoembed.errors import MissingFieldError, SchemaError
from geoembed.schema import FIELDS, Graph, GraphBatch, Provenance, check_batch, validate
from torch import Tensor

from generators import EVERY_KIND, sample


def good() -> Graph:
    """Two disordered sites, two edges, one angle: a graph that keeps every rule of the table."""
    return Graph(
        Provenance(kind="crystal", source="a.cif", record="r7"), num_nodes=2, x=torch.ones(2, 3),
        measured=torch.ones(2, 3, dtype=torch.bool),
        mask=torch.tensor([True, False]), pos=torch.zeros(2, 3), weight=torch.ones(2), token=torch.tensor([[1], [2], [3]]),
        token_node=torch.tensor([0, 0, 1]), token_weight=torch.ones(3), edge_index=torch.tensor([[1, 0], [0, 1]]),
        edge_attr=torch.ones(2, 1), edge_shift=torch.zeros(2, 3, dtype=torch.int8), angle_index=torch.tensor([[0], [1]]),
        cell=torch.eye(3, dtype=torch.float64).unsqueeze(0), pbc=torch.ones(1, 3, dtype=torch.bool), y=torch.tensor([[torch.nan]]),
        node_own=torch.zeros(2), edge_own=torch.zeros(2, 4), graph_own=torch.zeros(1),
    )


SITE_FIELDS = [name for name in FIELDS if not name.endswith("_kind")]
"""Fields of :func:`good`; the two kinds belong to bipartite graphs."""


def with_field(name: str, value: object) -> Graph:
    graph = good()
    graph[name] = value
    return graph


def changed(name: str, change: Callable[[Tensor], object]) -> Graph:
    return with_field(name, change(good()[name]))


def test_a_graph_that_keeps_the_contract_is_returned_itself():
    graph = good()
    assert validate(graph) is graph


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_builder_keeps_the_contract_and_so_does_its_batch(kind):
    graphs = [validate(sample(kind, seed)) for seed in range(2)]
    for batch in (GraphBatch.from_data_list(graphs), GraphBatch.from_data_list(graphs).ragged()):
        check_batch(batch, needs=())


@pytest.mark.parametrize("name", ["class_index", "features", "batch_energy", "index"])
def test_a_name_that_states_no_level_is_refused(name):
    with pytest.raises(SchemaError, match=rf"a\.cif r7: {name}: .*prefix states its level"):
        validate(with_field(name, torch.zeros(2)))


def test_a_field_that_is_no_tensor_is_refused():
    with pytest.raises(SchemaError, match=r"node_own: found list; expected a tensor"):
        validate(with_field("node_own", [1, 2]))


@pytest.mark.parametrize("name", SITE_FIELDS)
def test_another_rank_than_the_table_states_is_refused(name):
    with pytest.raises(SchemaError, match=rf"{name}: found .*; expected \[.*Build the graph with a geoembed builder"):
        validate(changed(name, lambda value: value.unsqueeze(-1)))


@pytest.mark.parametrize("name", SITE_FIELDS)
def test_another_dtype_than_the_table_states_is_refused(name):
    with pytest.raises(SchemaError, match=rf"{name}: found .*torch.complex64; expected .*torch\."):
        validate(changed(name, lambda value: value.to(torch.complex64)))


@pytest.mark.parametrize(("name", "level"), [
    ("measured", "node"), ("mask", "node"), ("pos", "node"), ("weight", "node"), ("node_own", "node"), ("edge_attr", "edge"),
    ("edge_shift", "edge"), ("edge_own", "edge"), ("token_weight", "token"), ("cell", "graph"), ("pbc", "graph"), ("y", "graph"),
    ("graph_own", "graph"),
])
def test_a_field_with_a_row_too_many_is_refused(name, level):
    rows = good()[name].shape[0]
    with pytest.raises(SchemaError, match=rf"{name}: found {rows + 1} rows; expected {rows} rows \(one a {level}\)"):
        validate(changed(name, lambda value: torch.cat([value, value[:1]])))


def test_tokens_without_owners_are_one_row_a_node():
    graph = Graph(Provenance(kind="chain"), token=torch.zeros(3, 1, dtype=torch.int64), pos=torch.zeros(2, 1))
    graph.num_nodes = 2
    with pytest.raises(SchemaError, match=r"token: found 3 rows; expected 2 rows \(one a token\)"):
        validate(graph)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["x", "pos", "edge_attr", "weight", "token_weight", "cell"])
def test_a_number_that_may_be_read_is_finite(name, bad):
    graph = good()
    graph[name] = graph[name].clone()
    graph[name].view(-1)[0] = bad
    with pytest.raises(SchemaError, match=rf"{name}: found NaN or infinity.*expected finite numbers"):
        validate(graph)


def test_what_is_masked_or_unmeasured_may_hold_anything():
    graph = good()
    graph.x[1] = torch.nan  # mask is False there
    graph.measured[0, 2], graph.x[0, 2] = False, torch.inf
    assert validate(graph) is graph
    assert bool(torch.isnan(good().y).all())  # a missing label is legal too
    del graph["measured"]
    with pytest.raises(SchemaError, match="x: found NaN or infinity in a measured entry"):
        validate(graph)


@pytest.mark.parametrize(("index", "match"), [
    ([[2, 0], [0, 1]], r"edge_index: found an index outside the graph; expected 0…1"),
    ([[0, 0], [-1, 1]], r"edge_index: found an index outside the graph; expected 0…1"),
    ([[0, 1], [1, 0]], r"edge_index: found targets out of order; expected non-decreasing targets"),
])
def test_edges_lie_inside_the_graph_and_are_sorted_by_target(index, match):
    with pytest.raises(SchemaError, match=match):
        validate(with_field("edge_index", torch.tensor(index)))


def test_an_edge_of_a_graph_without_nodes_is_refused():
    graph = Graph(Provenance(kind="cloud"), x=torch.zeros(0, 1), edge_index=torch.tensor([[0], [0]]))
    with pytest.raises(SchemaError, match="outside the graph"):
        validate(graph)


@pytest.mark.parametrize(("owners", "match"), [
    ([0, 1, 0], "token_node: found out of order; expected non-decreasing"),
    ([0, 0, 2], r"token_node: found an index outside the graph; expected 0…1"),
    ([-1, 0, 1], r"token_node: found an index outside the graph; expected 0…1"),
])
def test_token_rows_belong_to_nodes_in_order(owners, match):
    with pytest.raises(SchemaError, match=match):
        validate(with_field("token_node", torch.tensor(owners)))


@pytest.mark.parametrize("pairs", [[[0], [2]], [[-1], [0]]])
def test_angles_are_pairs_of_edges_of_the_graph(pairs):
    with pytest.raises(SchemaError, match=r"angle_index: found an index outside the edges; expected 0…1"):
        validate(with_field("angle_index", torch.tensor(pairs)))


def test_a_token_below_zero_is_refused():
    with pytest.raises(SchemaError, match=r"token: found a negative token; expected ≥ 0"):
        validate(with_field("token", torch.tensor([[1], [-1], [3]])))


def bipartite(kinds: list[int], targets: list[int]) -> Graph:
    edge_index = torch.stack([torch.zeros(len(targets), dtype=torch.int64), torch.tensor(targets)])
    return Graph(Provenance(kind="sphere"), x=torch.zeros(3, 1), edge_index=edge_index, edge_kind=torch.tensor(kinds, dtype=torch.int8))


def test_edges_of_a_bipartite_graph_are_sorted_within_contiguous_kinds():
    assert validate(bipartite([0, 0, 1, 1], [1, 2, 0, 1]))
    with pytest.raises(SchemaError, match="targets out of order"):
        validate(bipartite([0, 0, 1, 1], [2, 1, 0, 1]))
    with pytest.raises(SchemaError, match="edge_kind: found kinds that are not contiguous"):
        validate(bipartite([0, 1, 0, 1], [2, 0, 1, 1]))


def test_the_kinds_of_a_batch_may_start_again_with_each_graph():
    batch = GraphBatch.from_data_list([bipartite([0, 1], [1, 0]), bipartite([0, 1], [2, 0])])
    assert not batch.stacked
    check_batch(batch, needs={"edge_kind"})
    batch.edge_kind = torch.tensor([1, 0, 0, 1], dtype=torch.int8)
    with pytest.raises(SchemaError, match="kinds that are not contiguous"):
        check_batch(batch, needs={"edge_kind"})


def test_a_batch_without_a_needed_field_names_it_and_the_way_to_get_it():
    batch = GraphBatch.from_data_list([sample("sequence")])
    with pytest.raises(MissingFieldError, match=r"expected \['cell', 'x'\]\. Build the graph with the builder of its kind"):
        check_batch(batch, needs={"x", "cell", "token"})


@pytest.mark.parametrize("token", [-1, 0, 6, 100])
def test_a_token_outside_an_encoders_vocabulary_is_refused_before_the_embedding_table(token):
    graph = sample("sequence")
    graph.token[3, 0] = token
    with pytest.raises(SchemaError, match=r"token.*expected (1…5|≥ 0)"):
        check_batch(GraphBatch.from_data_list([graph]), needs={"token"}, vocabulary=((1, 5),))


@pytest.mark.parametrize("kind", ["image", "event"])
def test_nan_that_arrives_after_building_is_found_at_the_encoders_door(kind):
    graph = sample(kind, 2)
    graph.x = graph.x.clone()
    graph.x[-1, 0] = torch.nan
    with pytest.raises(SchemaError, match="x: found NaN or infinity in a measured entry"):
        check_batch(GraphBatch.from_data_list([sample(kind, 1), graph]), needs={"x"})
