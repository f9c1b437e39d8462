"""An epoch of a loader has every graph it should, in batches equal to PyG's, however they are cut."""

from __future__ import annotations

import threading
import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from geoembed.errors import ConfigError, ValueRangeError
from geoembed.graphs.cloud import cloud_graph
from geoembed.ops import ragged_rows
from geoembed.schema import Graph, GraphBatch
from geoembed.store import Budget, Loader, ShardDataset, balanced, writer
from geoembed.store.flat import FlatGraphs
from geoembed.store.pieces import Piece
from geoembed.store.prefetch import ahead
from geoembed.store.sampling import ends_of, grouped
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import cloud, crystal, grid
from test_loader import assert_equal_batches

SMALL = Budget(graphs=3)


def jet(seed: int, particles: int = 6) -> Graph:
    """A cloud whose edges the store keeps as a rule."""
    g = np.random.default_rng(seed)
    return cloud_graph(pt=g.uniform(1, 9, particles), eta=g.normal(size=particles), phi=g.uniform(-3, 3, particles), neighbors=3,
                       modality="jet").with_provenance(record=str(seed))


def records(loader: Loader) -> list[list[str]]:
    return [[origin.record for origin in batch.provenances] for batch in loader]


@pytest.mark.parametrize("maker", [crystal, cloud, grid, jet], ids=["ragged tokens and angles", "plain", "stacked", "ruled edges"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_of_an_epoch_equals_the_collated_one(make, monkeypatch, maker, shuffle):
    monkeypatch.setattr(writer, "MAX_GRAPHS", 4)
    graphs = [maker(i) for i in range(10)]
    store = make(graphs[:5], graphs[5:])
    by_record = {graph.record or graph.source: graph for graph in ShardDataset(store)}
    seen = []
    for batch in Loader(store, budget=SMALL, shuffle=shuffle, seed=1):
        names = [origin.record or origin.source for origin in batch.provenances]
        seen += names
        assert_equal_batches(batch, GraphBatch.from_data_list([by_record[name] for name in names]))
    assert sorted(seen) == sorted(by_record)
    assert (seen == list(by_record)) is not shuffle


@pytest.mark.parametrize("maker", [crystal, cloud, grid, jet])
def test_batches_gathered_in_one_go_equal_those_gathered_alone(make, maker):
    shards = make([maker(i) for i in range(9)]).shards()
    flat = FlatGraphs.of([Piece(shard, 0, len(shard)) for shard in shards])
    order = np.random.default_rng(0).permutation(9)
    picked = flat.take(order)
    for (low, high), batch in zip(((0, 2), (2, 6), (6, 9)), picked.batches([2, 6, 9]), strict=True):
        assert_equal_batches(batch, flat.take(order[low:high]).batch())
        assert_equal_batches(picked.run(low, high).batch(), flat.take(order[low:high]).batch())


def test_graphs_may_be_taken_twice_and_be_empty(make):
    graphs = [cloud(0, 0), cloud(1, 3), cloud(2, 0), cloud(3, 2)]
    flat = FlatGraphs.of([Piece(shard, 0, len(shard)) for shard in make(graphs).shards()])
    order = [3, 0, 3, 1, 2]
    assert_equal_batches(flat.take(np.array(order)).batch(), GraphBatch.from_data_list([graphs[i] for i in order]))
    assert flat.take(np.array([0, 2])).batch().ptr.tolist() == [0, 0, 0]


def test_the_rows_that_a_gpu_gathers_are_those_that_a_cpu_copies(make):
    flat = FlatGraphs.of([Piece(shard, 0, len(shard)) for shard in make([crystal(i, sites=i % 4) for i in range(7)]).shards()])
    order = np.array([5, 1, 1, 0, 6])
    copied = flat.take(order)
    for name, value in flat.fields.items():
        level = flat._level(name)
        axis = 1 if name in ("edge_index", "angle_index") else 0
        if level != "graph":
            start, ptr = flat._ragged._places(level, order, copied.bounds, torch.device("cpu"))
            assert torch.equal(ragged_rows(value, start, ptr, int(ptr[-1]), dim=axis), copied.fields[name]), name


def test_every_epoch_has_an_order_of_its_own_and_the_same_seed_repeats_it(make):
    store = make([cloud(i) for i in range(12)])
    loader, again = (Loader(store, budget=SMALL, shuffle=True, seed=5) for _ in range(2))
    first, second = records(loader), records(loader)
    assert first != second
    assert [records(again), records(again)] == [first, second]
    again.epoch = 0
    assert records(again) == first
    assert records(Loader(store, budget=SMALL, shuffle=True, seed=6)) != first


def test_a_store_larger_than_memory_is_read_some_shards_at_a_time_each_graph_once(make, monkeypatch):
    monkeypatch.setattr(writer, "MAX_GRAPHS", 2)
    store = make([cloud(i) for i in range(12)])
    size = store.shards()[0].nbytes
    orders = []
    for shuffle in (False, True):
        loader = Loader(store, budget=SMALL, shuffle=shuffle, memory=2 * size, prefetch=0)
        for _ in range(2):
            got = records(loader)
            assert Counter(record for batch in got for record in batch) == Counter(map(str, range(12)))
            assert all({int(r) // 2 for r in batch} <= {int(r) // 2 for r in got[n - n % 2] + got[n - n % 2 + 1]} for n, batch in enumerate(got))
            orders.append(got)
    assert orders[0] == orders[1] == [["0", "1", "2"], ["3"], ["4", "5", "6"], ["7"], ["8", "9", "10"], ["11"]]
    assert orders[2] != orders[3]


def test_batches_of_two_signatures_alternate_when_shuffled(make):
    store = make([cloud(i) for i in range(20)], [grid(i) for i in range(20)])
    kinds = [batch.kind for batch in Loader(store, budget=Budget(graphs=1), shuffle=True)]
    assert Counter(kinds) == {"cloud": 20, "grid": 20}
    assert 5 < sum(a != b for a, b in pairwise(kinds)) < 35
    assert [batch.kind for batch in Loader(store, budget=Budget(graphs=20))] == ["cloud", "grid"]
    assert {batch.kind for batch in Loader(store, modality="photo")} == {"grid"}


def test_weights_are_the_frequencies_of_draws(make):
    store = make([cloud(i, 2) for i in range(4)])
    loader = Loader(store, weights=[0, 1, 2, 5], samples=8000)
    got = Counter(record for batch in records(loader) for record in batch)
    assert got.keys() == {"1", "2", "3"}
    assert sum(got.values()) == 8000
    for record, share in (("1", 1 / 8), ("2", 2 / 8), ("3", 5 / 8)):
        assert abs(got[record] / 8000 - share) < 4 * (share * (1 - share) / 8000) ** 0.5  # four standard deviations


def test_balanced_weights_draw_a_rare_label_as_often_as_a_common_one(make):
    labels = ["common"] * 9 + ["rare"]
    loader = Loader(make([cloud(i, 2) for i in range(10)]), weights=balanced(labels), samples=4000)
    rare = Counter(record for batch in records(loader) for record in batch)["9"]
    assert abs(rare - 2000) < 4 * 4000**0.5 / 2


def test_weighted_draws_reach_a_store_larger_than_memory(make, monkeypatch):
    monkeypatch.setattr(writer, "MAX_GRAPHS", 2)
    store = make([cloud(i, 2) for i in range(8)])
    loader = Loader(store, weights=[1] * 8, samples=400, memory=1)
    got = Counter(record for batch in records(loader) for record in batch)
    assert sum(got.values()) == 400
    assert set(got) == set(map(str, range(8)))


def test_graphs_of_a_group_are_in_one_batch(make):
    store = make([cloud(i) for i in range(12)])
    labels = [i % 4 for i in range(12)]
    for shuffle in (False, True):
        got = records(Loader(store, budget=Budget(graphs=7), groups=labels, shuffle=shuffle))
        assert [len(batch) for batch in got] == [6, 6]
        for batch in got:
            assert set(Counter(labels[int(record)] for record in batch).values()) == {3}


def test_groups_of_a_store_that_does_not_fit_are_refused(make):
    with pytest.raises(ConfigError, match="Raise memory="):
        Loader(make([cloud(0)]), groups=[0], memory=1)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, float("nan")]])
def test_weights_that_are_none_are_refused(make, weights):
    with pytest.raises(ValueRangeError, match="Give one weight a graph"):
        Loader(make([cloud(0), cloud(1)]), weights=weights)


def test_labels_of_another_number_are_refused(make):
    with pytest.raises(ValueRangeError, match="Give one label a graph"):
        Loader(make([cloud(0), cloud(1)]), groups=[1])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 3)), max_size=30),
    nodes=st.integers(1, 20), edges=st.integers(1, 20), most=st.integers(1, 6), group=st.booleans(),
)
def test_ends_of_batches_keep_the_limits_and_groups_whole(sizes, nodes, edges, most, group):
    node, edge, label = (np.array([size[i] for size in sizes], np.int64) for i in range(3))
    order = grouped(np.arange(len(sizes)), label) if group else np.arange(len(sizes))
    ends = ends_of({"node": node[order], "edge": edge[order]}, Budget(nodes, edges, most), label[order] if group else None)
    assert ends.tolist() == sorted(set(ends.tolist()))
    assert (ends[-1] if len(ends) else 0) == len(sizes)
    for low, high in zip([0, *ends], ends, strict=False):
        members = order[low:high]
        assert len(members) == 1 or (node[members].sum() <= nodes and edge[members].sum() <= edges and len(members) <= most)
        if group and high < len(sizes) and label[order[high - 1]] == label[order[high]]:  # cut within a group: it began the batch
            assert len(set(label[members])) == 1


def test_a_second_epoch_grows_by_nothing(make):
    loader = Loader(make([cloud(i, 400) for i in range(60)]), shuffle=True, budget=Budget(graphs=10))
    sum(batch.num_graphs for batch in loader)
    import tracemalloc

    tracemalloc.start()
    sum(batch.num_graphs for batch in loader)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(3):
        sum(batch.num_graphs for batch in loader)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 50_000


def test_what_fails_in_the_thread_is_raised_to_the_reader_and_the_thread_ends():
    def items():
        yield 1
        raise ZeroDivisionError("in the thread")

    made = ahead(items(), 3)
    assert next(made) == 1
    with pytest.raises(ZeroDivisionError, match="in the thread"):
        next(made)
    endless = ahead(iter(int, 1), 2)
    assert next(endless) == 0
    endless.close()
    time.sleep(0.01)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("geoembed-loader")]


def test_a_batch_reads_where_its_graphs_came_from_only_when_asked(make, monkeypatch):
    store = make([cloud(i) for i in range(6)])
    asked = []
    shard = type(store.shards()[0])
    real = shard.provenance
    monkeypatch.setattr(shard, "provenance", lambda self, low, high: asked.append((low, high)) or real(self, low, high))
    batch = next(iter(Loader(store, budget=SMALL, prefetch=0)))
    moved = batch.to("cpu").clone()
    assert asked == []
    assert [origin.record for origin in moved.provenances] == ["0", "1", "2"]
    assert moved.get_example(1).record == "1"
