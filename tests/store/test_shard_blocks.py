"""Blocks in a shard: flat arrays as they came, one line for many records, and edges that a rule gives back bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from geoembed.graphs.blocks import Block
from geoembed.graphs.chain import chain_graph, light_curve_graph
from geoembed.graphs.cloud import cloud_graph
from geoembed.graphs.clouds import clouds
from geoembed.schema import Graph
from geoembed.schema.fields import BOOKKEEPING
from geoembed.store import Refused, Shard, ShardDataset, ShardWriter, batches, open_store, verify, writer
from geoembed.store.flat import gather
from geoembed.store.manifest import Journal
from geoembed.store.pieces import Piece
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from store_samples import chunk

FORMATS = Path(__file__).parent / "formats"


def block(events: int, seed: int = 0, first: int = 0, modality: str = "jet") -> Block:
    """Events of 0 to 40 particles, some padding, phi beyond π, coincident particles."""
    g = np.random.default_rng(seed)
    counts = g.integers(0, 40, events)
    n = int(counts.sum())
    columns = {"pt": g.exponential(9, n) * (g.random(n) < 0.9), "eta": g.normal(size=n).round(1), "phi": g.normal(0, 3, n).round(1),
               "charge": g.integers(-1, 2, n).astype(float), "particle_id": g.integers(0, 20, n).astype(float)}
    made = clouds(columns, counts, modality)
    assert not made.suspect.any()
    return made.block.named(first=first, source="jets.parquet")


def write(folder: Path, items: list[object], key: str = "k") -> list[Shard]:
    shard_writer = ShardWriter(folder, key)
    for item in items:
        {Block: shard_writer.add_block, Refused: shard_writer.refuse}.get(type(item), shard_writer.add)(item)  # type: ignore[arg-type]
    return [Shard(folder, entry, shard_writer.topologies) for entry in shard_writer.close()]


def same(a: Graph, b: Graph) -> None:
    """Fields, dtypes, bits, provenance."""
    left, right = ({name: value for name, value in graph.to_dict().items() if name not in BOOKKEEPING} for graph in (a, b))
    assert set(left) == set(right)
    assert (a.provenance, a.num_nodes) == (b.provenance, b.num_nodes)
    for name, value in left.items():
        assert value.dtype == right[name].dtype
        assert value.shape == right[name].shape
        assert value.numpy().tobytes() == right[name].numpy().tobytes(), name


def tensors(shard: Shard) -> set[str]:
    with safe_open(shard.folder / f"{shard.entry.stem}.safetensors", "pt") as file:
        return set(file.keys())


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(["block", "graph", "refused"]), st.integers(0, 9), st.integers(0, 99)), min_size=1, max_size=8),
       st.integers(1, 12))
def test_blocks_graphs_and_refusals_in_any_order_come_back_bit_for_bit_and_in_order(tmp_path_factory, recipe, most):
    folder, items, expected, lost = tmp_path_factory.mktemp("s"), [], [], []
    for kind, size, seed in recipe:
        made = block(size + 1, seed, first=100 * len(items))
        if kind == "refused":
            items.append(Refused("x", str(len(items)), "read", "why", "KeyError"))
            lost.append(items[-1])
        else:
            expected += list(made.graphs())[: 1 if kind == "graph" else None]
            items.append(made if kind == "block" else made.graph(0))
    before, writer.MAX_GRAPHS = writer.MAX_GRAPHS, most
    try:
        shards = write(folder, items)
    finally:
        writer.MAX_GRAPHS = before
    graphs = [shard.graph(i) for shard in shards for i in range(len(shard))]
    assert [graph.provenance for graph in graphs] == [graph.provenance for graph in expected]
    for graph, other in zip(graphs, expected, strict=True):
        same(graph, other)
    assert [line for shard in shards for line in shard.refused()] == lost
    assert all(len(shard.provenance(0, len(shard))) == len(shard) <= most for shard in shards if len(shard))


def test_a_cloud_keeps_no_edge_on_the_disk_and_loses_none(tmp_path):
    (shard,) = write(tmp_path, [block(20)])
    assert tensors(shard) == {"x", "token", "pos", "ptr.node", "ptr.edge"}
    assert shard.rule == {"rule": "eta_phi", "k": 16}
    whole = block(20).batch()
    assert shard.entry.edges == whole.num_edges > 0
    (batch,) = batches([shard])
    assert batch.edge_index.equal(whole.edge_index)
    assert batch.edge_attr.numpy().tobytes() == whole.edge_attr.numpy().tobytes()
    assert shard.tensors["ptr.edge"].equal(torch.tensor([0, *(graph.num_edges for graph in block(20).graphs())]).cumsum(0))


def test_edges_that_a_rule_does_not_give_back_are_kept(tmp_path):
    graphs = list(block(4).graphs())
    odd = replace_edges(graphs[2])
    (shard,) = write(tmp_path, [graphs[0], odd, block(3, 5, first=7)])
    assert shard.rule is None
    assert {"edge_index", "edge_attr"} <= tensors(shard)
    for i, graph in enumerate([graphs[0], odd, *block(3, 5, first=7).graphs()]):
        same(shard.graph(i), graph)


def replace_edges(graph):
    other = graph.with_provenance(record="odd")
    other.edge_attr = graph.edge_attr.clone()
    other.edge_attr[0] += 1
    return other


def test_chains_keep_no_edge_either(tmp_path):
    time, mag = np.sort(np.random.default_rng(0).random(30)) * 90, np.linspace(20, 18, 30)
    graphs = [light_curve_graph(time, mag, passband=["g", "r"] * 15), chain_graph.from_sequence("ACGTNACGT", modality="sequence"),
              chain_graph(time, mag, modality="chain")]
    shards = write(tmp_path, graphs)
    for shard, graph in zip(shards, graphs, strict=True):
        assert not {"edge_index", "edge_attr"} & tensors(shard)
        same(shard.graph(0), graph)


def test_graphs_of_two_rules_do_not_share_a_shard(tmp_path):
    few, many = (cloud_graph(pt=[1.0] * 9, eta=range(9), phi=[0.0] * 9, neighbors=k) for k in (2, 5))
    shards = write(tmp_path, [few, many, few])
    assert [(len(shard), shard.rule["k"]) for shard in shards] == [(2, 2), (1, 5)]
    same(shards[1].graph(0), many)


def test_a_batch_for_an_encoder_that_reads_no_edge_has_none(tmp_path):
    (shard,) = write(tmp_path, [block(6)])
    batch = gather([Piece(shard, 1, 5)], edges=False)
    assert "edge_index" not in batch
    assert batch.x.equal(gather([Piece(shard, 1, 5)]).x)


def test_a_run_of_records_is_one_line_and_small(tmp_path):
    (shard,) = write(tmp_path, [block(500), Refused("x", "", "read", "why"), block(500, first=501)])
    text = (tmp_path / f"{shard.entry.stem}.jsonl").read_text()
    assert len(text.splitlines()) == 3
    assert len(text) < 16 * 1000
    assert [json.loads(line)["order"] for line in text.splitlines()] == [0, 500, 501]
    assert shard.entry.records == 1001
    assert shard.provenance(499, 502)[1].record == "501"


def test_blocks_written_twice_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, [block(30), block(5, 1).graph(2), block(9, 2, first=40)])
    assert [(p.name, p.read_bytes()) for p in sorted((tmp_path / "a").iterdir())] \
        == [(p.name, p.read_bytes()) for p in sorted((tmp_path / "b").iterdir())]


def test_labels_of_a_block_are_the_targets_of_its_graphs(tmp_path):
    made = block(6)
    labeled = replace(made, fields={**made.fields, "y": torch.arange(12.0).view(6, 2)})
    (shard,) = write(tmp_path, [labeled])
    assert shard.graph(4).y.tolist() == [[8.0, 9.0]]
    same(shard.graph(4), labeled.graph(4))
    assert labeled.cut(2, 5).batch().y.tolist() == [[4.0, 5.0], [6.0, 7.0], [8.0, 9.0]]


def test_a_store_of_format_1_is_read_and_verified_and_can_be_added_to(tmp_path):
    for path in (FORMATS / "1").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert json.loads((tmp_path / "manifest.json").read_text())["format"] == 1
    store = open_store(tmp_path)
    assert verify(tmp_path) == []
    assert (store.records_in, store.built, store.quarantined) == (7, 5, 2)
    first, _, third, sequence, _ = ShardDataset(store)
    made = cloud_graph(pt=[30.0, 20.0, 10.0], eta=[0.1, 0.2, -0.3], phi=[3.0, -3.0, 4.0], charge=[1, -1, 0], modality="jet")
    assert first.x.equal(made.x)
    assert first.edge_index.equal(made.edge_index)
    assert torch.allclose(first.edge_attr, made.edge_attr, atol=1e-5)  # of positions before their rounding
    assert first.notes == made.notes
    assert (third.record, third.num_edges) == ("3", 2)
    same(sequence, chain_graph.from_sequence("ACGTN", modality="sequence").with_provenance(source="in/two.fasta", record="a"))
    entry = chunk(tmp_path, "new", [cloud_graph(pt=[1.0], eta=[0.0], phi=[0.0])], ["more.root"])
    Journal(tmp_path).close([entry])
    assert json.loads((tmp_path / "manifest.json").read_text())["format"] == 2
    assert verify(tmp_path) == []
    assert len(ShardDataset(tmp_path)) == 6
