"""Shards keep every bit of a graph, split when full, and are the same bytes for the same records."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from geoembed.errors import SchemaError, StoreError
from geoembed.schema import Graph, Provenance
from geoembed.store import Refused, Shard, ShardDataset, writer
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from store_samples import chunk, cloud, crystal, grid, same


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(["crystal", "cloud", "grid"]), st.integers(0, 300), st.integers(0, 300)), min_size=1))
def test_every_graph_comes_back_bit_for_bit_whatever_else_is_in_the_shard(tmp_path_factory, recipe):
    makers = {"crystal": lambda s, n: crystal(s, n % 40, n), "cloud": cloud, "grid": lambda s, n: grid(s)}
    graphs = [makers[kind](seed, size) for kind, seed, size in recipe]
    folder = tmp_path_factory.mktemp("shards")
    entry = chunk(folder, "k", graphs)
    read = {}
    for shard in (Shard(folder, e, entry.topologies) for e in entry.shards):
        for i in range(len(shard)):
            read.setdefault((shard.entry.modality, shard.graph(i).source, shard.graph(i).record), []).append(shard.graph(i))
    for graph in graphs:
        same(graph, read[graph.provenance.modality, graph.source, graph.record].pop(0))
    assert not any(read.values())


def test_records_lie_in_the_order_of_reading_and_quarantined_ones_between_them(tmp_path):
    lost = [Refused(f"x{i}", "", "read", f"reason {i}", "KeyError") for i in range(2)]
    entry = chunk(tmp_path, "k", [cloud(0), lost[0], cloud(1), lost[1]])
    (shard,) = (Shard(tmp_path, e, {}) for e in entry.shards)
    lines = (tmp_path / f"{shard.entry.stem}.jsonl").read_text().splitlines()
    assert ["reason" in line for line in lines] == [False, True, False, True]
    assert shard.refused() == lost
    assert [p.record for p in shard.provenance(0, 2)] == ["0", "1"]


def test_a_chunk_of_only_broken_records_is_a_list_without_tensors(tmp_path):
    entry = chunk(tmp_path, "k", [Refused("x", "", "open", "why", "OSError")])
    assert [path.suffix for path in tmp_path.iterdir()] == [".jsonl"]
    assert (entry.records_in, entry.built, entry.quarantined) == (1, 0, 1)
    assert Shard(tmp_path, entry.shards[0], {}).refused()[0].reason == "why"


def test_a_note_that_speaks_of_a_stage_is_not_a_quarantine(tmp_path):
    graph = cloud(0).with_provenance(notes={'"stage": "': 'x"stage": '})
    entry = chunk(tmp_path, "k", [graph, Refused("x", "", "open", "why")])
    shard = Shard(tmp_path, entry.shards[0], {})
    same(shard.graph(0), graph)
    assert len(shard.refused()) == 1


def test_shards_are_cut_at_their_limit_and_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "MAX_GRAPHS", 3)
    entry = chunk(tmp_path, "k", [cloud(i) for i in range(10)])
    assert [e.graphs for e in entry.shards] == [3, 3, 3, 1]
    assert len({e.stem for e in entry.shards}) == 4
    monkeypatch.setattr(writer, "MAX_GRAPHS", 4096)
    monkeypatch.setattr(writer, "MAX_BYTES", 1)
    assert [e.graphs for e in chunk(tmp_path, "other", [cloud(i) for i in range(3)]).shards] == [1, 1, 1]


def test_the_same_records_give_the_same_bytes(tmp_path):
    items = [crystal(1), grid(2), Refused("x", "", "read", "why"), cloud(3), grid(4)]
    for name in ("a", "b"):
        chunk(tmp_path / name, "k", items)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


def test_a_shared_topology_lies_once_beside_its_shards(tmp_path):
    entry = chunk(tmp_path, "k", [grid(i) for i in range(5)])
    assert len(entry.topologies) == 1
    stored = load_file(tmp_path / f"{entry.shards[0].stem}.safetensors")
    assert {"x", "mask", "y"} <= set(stored)
    assert not {"pos", "weight", "edge_index", "edge_attr"} & set(stored)


def test_a_topology_key_on_other_tensors_is_refused_and_leaves_no_trace(tmp_path):
    other = grid(1)
    other.pos = other.pos + 1
    store = writer.ShardWriter(tmp_path, "k")
    store.add(grid(0))
    with pytest.raises(SchemaError, match=r"own topology key"):
        store.add(other)
    store.add(grid(2))
    assert (store.records_in, store.close()[0].graphs) == (2, 2)


def test_indices_are_stored_narrow_and_read_wide(tmp_path):
    entry = chunk(tmp_path, "k", [crystal(0), crystal(1, sites=300, edges=600)])
    stored = load_file(tmp_path / f"{entry.shards[0].stem}.safetensors")
    assert stored["edge_index"].dtype == torch.int16  # 300 sites: local indices do not fit a byte
    assert stored["token"].dtype == torch.uint8  # Z ≤ 118
    assert stored["graph_class"].dtype == torch.int64  # a user's field keeps its type


@pytest.mark.parametrize(("change", "message"), [
    ({"class_index": torch.tensor([1])}, "Rename the field"),
    ({"node_wave": torch.zeros(5, dtype=torch.complex64)}, "two columns"),
])
def test_what_cannot_be_stored_without_loss_is_refused(tmp_path, change, message):
    graph = Graph(cloud(0).provenance, **{name: cloud(0)[name] for name in ("x", "pos")}, **change)
    with pytest.raises(SchemaError, match=message):
        writer.ShardWriter(tmp_path, "k").add(graph)


def test_a_setting_that_json_does_not_know_is_refused_by_name(tmp_path):
    graph = Graph(Provenance(kind="cloud", notes={"when": object()}), x=torch.zeros(1, 1))  # type: ignore[dict-item]
    with pytest.raises(SchemaError, match=r"a object among settings or notes.*Convert it"):
        writer.ShardWriter(tmp_path, "k").add(graph)


def test_a_damaged_shard_is_named_when_it_is_first_opened(tmp_path):
    entry = chunk(tmp_path, "k", [cloud(0)]).shards[0]
    path = tmp_path / f"{entry.stem}.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x40
    path.write_bytes(bytes(data))
    with pytest.raises(StoreError, match=rf"{entry.stem}.*delete it and build the store again"):
        Shard(tmp_path, entry, {}).graph(0)
    path.unlink()
    with pytest.raises(StoreError, match="no such file"):
        Shard(tmp_path, entry, {}).graph(0)


def test_a_shard_with_the_right_checksum_but_foreign_content_is_refused(tmp_path):
    entry = chunk(tmp_path, "k", [cloud(0)]).shards[0]
    name = f"{entry.stem}.safetensors"
    (tmp_path / name).write_bytes(b"not a shard")
    digest = "8f41bbad6d2b8c7f1ce7f1b0e6e6a5b4"
    with pytest.raises(StoreError, match="as listed"):
        Shard(tmp_path, replace(entry, files={**entry.files, name: digest}), {}).graph(0)
    from geoembed.store.atomic import sha256_of

    with pytest.raises(StoreError, match="no readable shard"):
        Shard(tmp_path, replace(entry, files={**entry.files, name: sha256_of(tmp_path / name)}), {}).graph(0)


def test_a_full_disk_is_a_typed_error_and_leaves_no_half_file(tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    chunk(tmp_path, "old", [cloud(0)])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("geoembed.store.atomic.os.fsync", full)
    with pytest.raises(StoreError, match=r"No space left.*untouched; free space"):
        chunk(tmp_path, "new", [cloud(1)])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_dataset_numbers_the_graphs_of_all_shards_and_pickles_without_open_files(make, monkeypatch):
    monkeypatch.setattr(writer, "MAX_GRAPHS", 2)
    monkeypatch.setattr("geoembed.store.dataset._OPEN_BYTES", 1)
    graphs = [cloud(i) for i in range(5)]
    opened = ShardDataset(make(graphs[:3], graphs[3:]))
    same(opened[0], graphs[0])
    data = copy.deepcopy(opened)  # goes through __reduce__, as a DataLoader's spawned workers do
    assert all("_opened" not in vars(shard) for shard in data.shards)
    assert len(data) == 5
    for i in (4, 0, 2, 1, 3, -1):
        same(data[i], graphs[i])
    assert [graph.record for graph in data] == ["0", "1", "2", "3", "4"]
    with pytest.raises(IndexError, match="out of range"):
        data[5]


def test_a_dataset_of_one_modality_leaves_the_others_out(make):
    store = make([cloud(0), crystal(1), cloud(2)])
    assert [graph.record for graph in ShardDataset(store, modality="jet")] == ["0", "2"]
    assert len(ShardDataset(store.folder, modality="crystal")) == 1
    assert len(ShardDataset(Path(store.folder), modality="photo")) == 0
