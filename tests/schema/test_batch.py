"""Batching: by the field table, never by a field's name; nothing is lost on the way there and back."""

from __future__ import annotations

import pytest
import torch
from geoembed.errors import EmptyGraphError, SchemaError
from geoembed.graphs.grid import grid_graph
from geoembed.graphs.tensors import event_batch, light_curve_batch, sequence_batch
from geoembed.ops import segment_mean, segment_sum
from geoembed.schema import Graph, GraphBatch, Provenance, validate
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from generators import EVERY_KIND, sample

STACKED = ("image", "field")


def pair(nodes: int = 2, **fields: Tensor) -> Graph:
    """A cloud of ``nodes`` with one edge from the last to the first."""
    index = torch.tensor([[nodes - 1], [0]]) if nodes else torch.empty(2, 0, dtype=torch.int64)
    return Graph(Provenance(kind="cloud"), x=torch.arange(nodes, dtype=torch.float32).view(-1, 1) + 1, edge_index=index, **fields)


def assert_same(a: Graph, b: Graph) -> None:
    tensors = {name: value for name, value in a.items() if isinstance(value, Tensor)}
    assert set(tensors) == {name for name, value in b.items() if isinstance(value, Tensor)}
    for name, value in tensors.items():
        assert value.dtype == b[name].dtype, name
        assert torch.equal(value, b[name]), name
    assert a.num_nodes == b.num_nodes
    assert a.provenance == b.provenance


def test_four_targets_of_two_nodes_do_not_make_four_nodes():
    batch = GraphBatch.from_data_list([pair(y=torch.ones(1, 4))] * 3)
    assert batch.edge_index.tolist() == [[1, 3, 5], [0, 2, 4]]
    assert batch.y.shape == (3, 4)


def test_a_graph_of_edges_alone_keeps_the_node_count_that_it_was_given():
    lone = Graph(Provenance(kind="cloud"), num_nodes=2, edge_index=torch.tensor([[1], [0]]), graph_y=torch.zeros(1, 4))
    assert GraphBatch.from_data_list([lone, lone]).edge_index.tolist() == [[1, 3], [0, 2]]


def test_a_label_called_index_or_batch_stays_what_it_is():
    refraction = torch.tensor([1.5, 1.5])
    fields = {"graph_class_index": torch.tensor([7]), "node_index_of_refraction": refraction, "graph_batch": torch.tensor([3])}
    batch = GraphBatch.from_data_list([pair(**fields)] * 3)
    assert batch.graph_class_index.tolist() == [7, 7, 7]
    assert batch.node_index_of_refraction.tolist() == [1.5] * 6
    assert batch.graph_batch.tolist() == [3, 3, 3]


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
def test_an_empty_graph_is_pooled_to_its_own_row_wherever_it_stands(place):
    graphs = [pair(2), pair(3)]
    graphs.insert(place, pair(0))
    batch = GraphBatch.from_data_list(graphs)
    expected = [1.5, 2.0]
    expected.insert(place, 0.0)
    assert batch.num_graphs == batch.batch_size == 3
    assert segment_mean(batch.x, batch.ptr).flatten().tolist() == expected
    assert [graph.num_nodes for graph in batch.to_data_list()] == [graph.num_nodes for graph in graphs]


def test_a_batch_of_empty_graphs_only_has_one_row_a_graph():
    batch = GraphBatch.from_data_list([pair(0)] * 4)
    assert segment_sum(batch.x, batch.ptr).tolist() == [[0.0]] * 4


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_of_graph_comes_back_from_a_batch_bit_for_bit(kind):
    graphs = [sample(kind, seed).with_provenance(record=str(seed)) for seed in range(3)]
    batch = GraphBatch.from_data_list(graphs)
    assert batch.stacked == (kind in STACKED)
    for graph, again, one in zip(graphs, batch.to_data_list(), (batch.get_example(i) for i in range(3)), strict=True):
        assert_same(graph, again)
        assert_same(graph, one)
        validate(again)
    assert_same(graphs[-1], batch.get_example(-1))


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_the_data_loader_of_pyg_gives_a_graph_batch_of_the_same_tensors(kind):
    graphs = [sample(kind, seed) for seed in range(4)]
    first, second = DataLoader(graphs, batch_size=2)
    assert isinstance(first, GraphBatch)
    assert isinstance(first, Batch)
    expected = GraphBatch.from_data_list(graphs[2:]).ragged()
    for name, value in expected.items():
        if isinstance(value, Tensor):
            assert torch.equal(value, second.ragged()[name]), name
    assert second.provenances == [graph.provenance for graph in graphs[2:]]


@pytest.mark.parametrize("kind", STACKED)
def test_the_stacked_form_holds_one_topology_and_the_flat_form_repeats_it(kind):
    graphs = [sample(kind, seed) for seed in range(3)]
    stacked = GraphBatch.from_data_list(graphs)
    flat = stacked.ragged()
    nodes, edges = graphs[0].num_nodes, graphs[0].num_edges
    assert stacked.x.shape == (3, nodes, graphs[0].x.shape[1])
    assert stacked.edge_index.data_ptr() == graphs[0].edge_index.data_ptr() == graphs[1].edge_index.data_ptr()
    assert not flat.stacked
    assert flat.ragged() is flat
    assert torch.equal(flat.x, stacked.x.flatten(0, 1))
    assert torch.equal(flat.ptr, stacked.ptr)
    for b in range(3):
        assert torch.equal(flat.edge_index[:, b * edges : (b + 1) * edges] - b * nodes, stacked.edge_index)
        assert torch.equal(flat.pos[b * nodes : (b + 1) * nodes], stacked.pos)


def test_graphs_of_two_topologies_are_batched_flat():
    wide = sample("image")
    tall = grid_graph(torch.zeros(2, 12, 8), patch=4, modality="photo")
    batch = GraphBatch.from_data_list([wide, tall])
    assert not batch.stacked
    assert batch.num_edges == wide.num_edges + tall.num_edges


def test_angles_are_shifted_by_edges_and_token_rows_by_nodes():
    one = Graph(
        Provenance(kind="crystal"), token=torch.tensor([[1], [2], [3]]), token_node=torch.tensor([0, 0, 1]),
        token_weight=torch.ones(3), num_nodes=2, edge_index=torch.tensor([[1, 1, 0], [0, 0, 1]]),
        angle_index=torch.tensor([[0, 1], [1, 0]]),
    )
    batch = GraphBatch.from_data_list([one, one])
    assert batch.angle_index.tolist() == [[0, 1, 3, 4], [1, 0, 4, 3]]
    assert batch.token_node.tolist() == [0, 0, 1, 2, 2, 3]
    assert batch.edge_index.tolist() == [[1, 1, 0, 3, 3, 2], [0, 0, 1, 2, 2, 3]]
    assert_same(batch.get_example(1), one)


def test_a_batch_from_ready_fields_is_cut_into_the_graphs_of_the_collated_one():
    """Ragged tokens, angles, a user's fields of each level, an empty graph in the middle."""
    def part(nodes: int, edges: list[list[int]], angles: list[list[int]]) -> Graph:
        index = torch.tensor(edges, dtype=torch.int64).view(2, -1)
        e = index.shape[1]
        return Graph(
            Provenance(kind="crystal"), num_nodes=nodes, pos=torch.rand(nodes, 3), token=torch.arange(2 * nodes).view(-1, 1),
            token_node=torch.arange(nodes).repeat_interleave(2), token_weight=torch.rand(2 * nodes), edge_index=index,
            edge_attr=torch.rand(e, 1), angle_index=torch.tensor(angles, dtype=torch.int64).view(2, -1), y=torch.rand(1, 2),
            node_mine=torch.rand(nodes), edge_mine=torch.rand(e), graph_mine=torch.rand(1, 4),
        )

    graphs = [part(2, [[1, 0, 0], [0, 1, 1]], [[0], [1]]), part(0, [[], []], [[], []]), part(3, [[2, 0, 1], [0, 1, 2]], [[0, 2], [1, 0]])]
    collated = GraphBatch.from_data_list(graphs)
    fields = {name: value for name, value in collated.items() if isinstance(value, Tensor) and name not in ("ptr", "batch")}
    ready = GraphBatch.from_fields([graph.provenance for graph in graphs], collated.ptr, **fields)
    assert ready.num_edges == collated.num_edges
    assert torch.equal(ready.segment, collated.batch)
    for graph, again in zip(graphs, ready.to_data_list(), strict=True):
        assert_same(graph, again)


def test_batches_made_from_rectangles_are_cut_into_valid_graphs():
    ids = torch.zeros(2, 3, dtype=torch.int64)
    kinematics = torch.tensor([[5.0, 0.1, 0.2, 6.0], [4.0, -0.3, 3.1, 5.0], [3.0, 0.5, -3.1, 4.0]]).repeat(2, 1, 1)
    cases = [
        event_batch(kinematics, ids, ids, torch.tensor([[1, 1, 1], [1, 0, 0]])),
        light_curve_batch(torch.rand(2, 6), torch.rand(2, 6), torch.rand(2, 6)),
        sequence_batch(torch.zeros(2, 5, dtype=torch.int64)),
    ]
    for batch in cases:
        graphs = [validate(graph) for graph in batch.to_data_list()]
        again = GraphBatch.from_data_list(graphs)
        assert torch.equal(again.ptr, batch.ptr)
        assert torch.equal(again.edge_index, batch.edge_index)
        assert torch.equal(again.edge_attr, batch.edge_attr)


def test_graphs_with_other_fields_are_not_batched():
    with pytest.raises(SchemaError, match="Batch graphs of one kind"):
        GraphBatch.from_data_list([pair(), pair(y=torch.ones(1, 1))])
    with pytest.raises(SchemaError, match=r"graph 'b'.*chain with.*cloud with"):
        GraphBatch.from_data_list([pair(), pair().with_provenance(kind="chain", record="b")])


def test_a_loader_whose_graphs_lack_a_field_of_the_first_raises():
    with pytest.raises(KeyError, match="y"):
        list(DataLoader([pair(y=torch.ones(1, 1)), pair()], batch_size=2))


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(EmptyGraphError, match="Skip empty batches"):
        GraphBatch.from_data_list([])


def test_a_batch_says_how_many_graphs_of_what_it_holds():
    assert repr(GraphBatch.from_data_list([sample("jet"), sample("jet", 1)])) == "GraphBatch(2 × cloud, flat: 11 nodes, 44 edges)"
    assert repr(GraphBatch.from_data_list([sample("image")] * 2)) == "GraphBatch(2 × grid, stacked: 12 nodes, 22 edges)"
