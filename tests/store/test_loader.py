"""Batches sliced from flat arrays equal the batches that PyG collates from the graphs."""

from __future__ import annotations

import pytest
import torch
from geoembed.errors import EmptyGraphError
from geoembed.schema import Graph, GraphBatch
from geoembed.schema.fields import BOOKKEEPING
from geoembed.store import ShardDataset, batches, writer
from geoembed.store.flat import gather
from geoembed.store.pieces import Budget, plan
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import cloud, crystal, grid, same


def assert_equal_batches(a: GraphBatch, b: GraphBatch) -> None:
    names = {name for name, value in b.items() if isinstance(value, torch.Tensor)} - {"batch"}
    assert {name for name, value in a.items() if isinstance(value, torch.Tensor)} - {"batch"} == names
    for name in names:
        assert a[name].dtype == b[name].dtype, name
        assert torch.equal(a[name], b[name]), name
    assert a.provenances == b.provenances
    assert a.stacked == b.stacked


@pytest.mark.parametrize("maker", [crystal, cloud, grid], ids=["ragged tokens and angles", "plain", "stacked"])
def test_a_sliced_batch_equals_the_collated_one_across_shards(make, monkeypatch, maker):
    monkeypatch.setattr(writer, "MAX_GRAPHS", 3)
    graphs = [maker(i) for i in range(8)]
    (batch,) = batches(make(graphs[:5], graphs[5:]).shards())
    assert_equal_batches(batch, GraphBatch.from_data_list(graphs))


def test_a_batch_of_slices_gives_its_graphs_back(make):
    graphs = [crystal(1), crystal(2, sites=1, edges=0), crystal(3)]
    (batch,) = batches(make(graphs).shards())
    for graph, again in zip(graphs, batch.to_data_list(), strict=True):
        names = [name for name in graph.to_dict() if name not in BOOKKEEPING]
        same(graph, Graph(again.provenance, again.num_nodes, **{name: again[name] for name in names}))


def test_an_empty_graph_keeps_its_place(make):
    graphs = [cloud(0, 0), cloud(1, 3), cloud(2, 0)]
    (batch,) = batches(make(graphs).shards())
    assert batch.ptr.tolist() == [0, 0, 3, 3]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=25),
    nodes=st.integers(1, 30), edges=st.integers(1, 30), most=st.integers(1, 6),
)
def test_every_graph_is_in_exactly_one_batch_and_no_batch_breaks_its_limits(tmp_path_factory, make_in, sizes, nodes, edges, most):
    store = make_in(tmp_path_factory.mktemp("s"), [cloud(i, size) for i, size in enumerate(sizes)])
    seen = []
    for batch in batches(store.shards(), max_nodes=nodes, max_edges=edges, max_graphs=most):
        seen += [int(origin.record) for origin in batch.provenances]
        alone = batch.num_graphs == 1
        assert batch.num_graphs <= most
        assert alone or (int(batch.ptr[-1]) <= nodes and batch.num_edges <= edges)
    assert seen == list(range(len(sizes)))


@pytest.fixture(scope="module")
def make_in():
    from geoembed.store.manifest import Journal
    from store_samples import chunk

    def build(folder, items):
        entry = chunk(folder, "k", items)
        journal = Journal(folder)
        journal.add(entry)
        return journal.close([entry])

    return build


def test_kinds_are_not_mixed_but_taken_one_after_the_other(make):
    items = [cloud(0), crystal(1), cloud(2), crystal(3)]
    got = [[origin.modality for origin in batch.provenances] for batch in batches(make(items[:2], items[2:]).shards())]
    assert got == [["jet", "jet"], ["crystal", "crystal"]]


def test_images_of_two_sizes_are_two_batches(make):
    images = [grid(0), grid(1, topology="grid 3x2"), grid(2)]
    assert [batch.num_graphs for batch in batches(make(images).shards())] == [2, 1]


def test_tensors_of_a_batch_outlive_the_shard(make):
    store = make([cloud(i) for i in range(4)])
    first = next(batches(store.shards(), max_graphs=2))
    kept = first.x.clone()
    for path in store.folder.glob("shard-*"):
        path.write_bytes(b"")  # would be a bus error if the batch were a view of the map
    assert torch.equal(first.x, kept)


def test_no_pieces_are_no_batch():
    with pytest.raises(EmptyGraphError, match="Skip empty batches"):
        gather([])


def test_a_halved_budget_never_reaches_zero():
    assert Budget(nodes=1, edges=1, graphs=1).halved() == Budget(nodes=1, edges=1, graphs=1)
    assert Budget(nodes=9, edges=6, graphs=4).halved() == Budget(nodes=4, edges=3, graphs=2)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of fork() in newer Pythons
def test_pyg_loads_a_store_in_a_worker_process_after_the_parent_has_read_it(make):
    from torch_geometric.loader import DataLoader

    data = ShardDataset(make([cloud(i) for i in range(6)]))
    serial = [data[i].x.sum().item() for i in range(6)]  # maps are open in the parent when the worker is forked
    loaded = [graph.x.sum().item() for batch in DataLoader(data, batch_size=4, num_workers=1) for graph in batch.to_data_list()]
    assert loaded == serial


def test_a_plan_is_the_same_each_time(make):
    shards = make([cloud(i) for i in range(9)]).shards()
    first, second = ([[(p.low, p.high) for p in pieces] for pieces in plan(shards, Budget(20, 20, 3))] for _ in range(2))
    assert first == second
