"""Fault 36: a batch counts nodes, shifts indices and pools graphs by what is stored, never by names or by the largest index."""

from __future__ import annotations

import geoembed as ge
import pytest
import torch
from geoembed.errors import SchemaError
from geoembed.ops import segment_mean
from geoembed.schema import Graph, Provenance, validate

CLOUD = Provenance(kind="cloud", modality="event")


def graph(nodes: int, **fields: torch.Tensor) -> Graph:
    pos = torch.arange(2.0 * nodes).reshape(nodes, 2)
    return Graph(CLOUD, nodes, x=torch.ones(nodes, 1), pos=pos, edge_index=torch.zeros(2, 0, dtype=torch.int64), **fields)


def test_targets_longer_than_the_graph_do_not_move_the_next_graph() -> None:
    """PyG took the number of nodes from the edges, or from whichever field came first."""
    first = Graph(CLOUD, 2, y=torch.ones(1, 4), x=torch.ones(2, 1), edge_index=torch.tensor([[1], [0]]))  # node 1 is the largest index
    isolated = Graph(CLOUD, 3, y=torch.ones(1, 4), x=torch.ones(3, 1), edge_index=torch.tensor([[0], [1]]))  # node 2 has no edge
    batch = ge.GraphBatch.from_data_list([first, isolated, first])
    assert batch.edge_index.tolist() == [[1, 2, 6], [0, 3, 5]]
    assert batch.ptr.tolist() == [0, 2, 5, 7]
    assert [one.num_nodes for one in batch.to_data_list()] == [2, 3, 2]


def test_labels_called_index_or_batch_are_labels() -> None:
    """PyG turns class_index 7, 7, 7 into 7, 10, 13, and an index of refraction likewise."""
    labels = {"graph_class_index": torch.tensor([7]), "node_batch_index": torch.tensor([7, 7, 7])}
    batch = ge.GraphBatch.from_data_list([graph(3, **labels)] * 3)
    assert batch.graph_class_index.tolist() == [7, 7, 7]
    assert batch.node_batch_index.tolist() == [7] * 9


@pytest.mark.parametrize("name", ["class_index", "index_of_refraction", "my_batch"])
def test_a_field_whose_name_does_not_state_its_level_is_refused(name: str) -> None:
    with pytest.raises(SchemaError, match=f"{name}.*Rename the field so that its prefix states its level"):
        validate(graph(3, **{name: torch.tensor([1.0])}))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_empty_graph_keeps_its_row_wherever_it_stands(place: int) -> None:
    graphs = [graph(2), graph(3)]
    graphs.insert(place, graph(0))
    batch = ge.GraphBatch.from_data_list(graphs)
    sizes = [int(one.num_nodes or 0) for one in graphs]
    assert batch.num_graphs == 3
    assert batch.ptr.diff().tolist() == sizes
    assert segment_mean(batch.x, batch.ptr).flatten().tolist() == [float(size > 0) for size in sizes]
    assert [one.num_nodes for one in batch.to_data_list()] == sizes
