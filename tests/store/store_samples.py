"""Graphs of every field set, and chunks made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from geoembed.schema import Graph, Provenance, validate
from geoembed.store import ChunkEntry, Refused, ShardWriter

Item = Graph | Refused


def crystal(seed: int, sites: int = 3, edges: int = 7) -> Graph:
    """Ragged tokens, angles, lattice and a user's fields."""
    g = torch.Generator().manual_seed(seed)
    target = torch.randint(sites, (edges,), generator=g).sort().values if sites else torch.empty(0, dtype=torch.int64)
    source = torch.randint(max(sites, 1), (len(target),), generator=g)
    node = torch.arange(sites).repeat_interleave(2)
    provenance = Provenance(kind="crystal", modality="crystal", source=f"c{seed}.cif", record=f"r{seed}", notes={"rounded": seed},
                            settings={"cutoff": 8.0, "neighbors": 12, "offsets": [1, 2]})
    return validate(Graph(
        provenance, num_nodes=sites, pos=torch.randn(sites, 3, generator=g, dtype=torch.float64),
        token=torch.randint(1, 119, (2 * sites, 1), generator=g), token_node=node,
        token_weight=torch.rand(2 * sites, generator=g),
        edge_index=torch.stack([source, target]), edge_attr=torch.rand(len(target), 1, generator=g),
        edge_shift=torch.randint(-2, 3, (len(target), 3), generator=g, dtype=torch.int8),
        angle_index=torch.randint(max(len(target), 1), (2, 2 * len(target)), generator=g),
        cell=torch.randn(1, 3, 3, generator=g, dtype=torch.float64), pbc=torch.tensor([[True, False, True]]),
        y=torch.tensor([[seed / 7]]), graph_class=torch.tensor([seed]), node_charge=torch.randn(sites, generator=g).half(),
    ))


def cloud(seed: int, nodes: int = 5) -> Graph:
    """Features, a mask and pairs of neighbors; may be empty."""
    g = torch.Generator().manual_seed(seed)
    index = torch.arange(nodes)
    provenance = Provenance(kind="cloud", modality="jet", source=f"jets{seed // 4}.root", record=str(seed),
                            settings={"neighbors": 4})
    return validate(Graph(
        provenance, num_nodes=nodes, x=torch.randn(nodes, 4, generator=g), mask=torch.rand(nodes, generator=g) < 0.8,
        pos=torch.randn(nodes, 2, generator=g), edge_index=torch.stack([index.roll(1), index]),
        edge_attr=torch.rand(nodes, 1, generator=g),
    ))


_GRID = {
    "pos": torch.rand(6, 2, generator=torch.Generator().manual_seed(0)), "weight": torch.full((6,), 0.5),
    "edge_index": torch.tensor([[1, 2, 3, 0], [0, 1, 4, 5]]), "edge_attr": torch.ones(4, 2),
}


def grid(seed: int, topology: str = "grid 2x3") -> Graph:
    """An image of 2 × 3 patches whose geometry is shared by reference."""
    g = torch.Generator().manual_seed(seed)
    provenance = Provenance(kind="grid", modality="photo", source=f"p{seed}.png", settings={"patch": 4}, topology=topology)
    return validate(Graph(
        provenance, x=torch.randn(6, 12, generator=g), mask=torch.rand(6, generator=g) < 0.8, y=torch.tensor([[float(seed)]]),
        node_kind=torch.zeros(6, dtype=torch.int8), **_GRID,
    ))


def same(a: Graph, b: Graph) -> None:
    """Assert that two graphs are the same bit for bit: names, order, dtypes, values, provenance."""
    assert list(a.to_dict()) == list(b.to_dict())
    assert a.provenance == b.provenance
    assert a.num_nodes == b.num_nodes
    for name, value in a.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == b[name].dtype, name
            assert torch.equal(value, b[name]), name


def chunk(folder: Path, key: str, items: Sequence[Item], sources: Sequence[str] = ()) -> ChunkEntry:
    """Write some records as one chunk."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = ShardWriter(folder, key)
    for item in items:
        if isinstance(item, Graph):
            writer.add(item)
        else:
            writer.refuse(item)
    shards = writer.close()
    return ChunkEntry(key=key, sources=list(sources), records_in=writer.records_in, built=writer.built,
                      quarantined=writer.records_in - writer.built, shards=shards, topologies=writer.topologies)
