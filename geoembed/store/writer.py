"""``ShardWriter``: records in, finished shards out; flat arrays, one file a group of graphs that have the same fields."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from geoembed.errors import SchemaError
from geoembed.schema import FIELDS, Graph, level_of
from geoembed.schema.fields import BOOKKEEPING
from geoembed.store.atomic import replace_with
from geoembed.store.entries import ShardEntry
from geoembed.store.lines import COMMON, Refused, graph_line, plain, refused_line

FORMAT = 1
MAX_GRAPHS = 4096
MAX_BYTES = 64 << 20
_DTYPES = frozenset({
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
})
_NARROW = ((torch.uint8, 1 << 8), (torch.int16, 1 << 15), (torch.int32, 1 << 31))


@dataclass
class _Group:
    """Graphs of one signature that wait to be written."""

    common: dict[str, object]
    fields: list[str]
    shared: frozenset[str]
    graphs: list[Graph] = field(default_factory=list)
    lines: list[tuple[int, str]] = field(default_factory=list)
    bytes: int = 0


class ShardWriter:
    """Writes the records of one chunk into ``folder``, in shards of at most 4,096 graphs or about 64 MiB.

    ``key`` names the chunk; the same records under the same key give the same bytes under the same names.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        self.records_in = self.built = 0
        self.shards: list[ShardEntry] = []
        self.topologies: dict[str, str] = {}
        self._shared: dict[str, dict[str, Tensor]] = {}
        self._groups: dict[tuple[object, ...], _Group] = {}
        self._refused: list[tuple[int, str]] = []

    def add(self, graph: Graph) -> None:
        """Append a graph; :class:`SchemaError` (and no trace of it) where it cannot be stored without loss."""
        signature = _signature(graph)
        group = self._groups.get(signature)
        if group is None:
            group = self._groups[signature] = _group(graph)
        if group.shared:
            self._keep_topology(graph, group.shared)
        line = graph_line(self.records_in, graph.provenance, group.common)
        group.lines.append((self.records_in, line))
        group.graphs.append(graph)
        group.bytes += sum(graph[name].nbytes for name in group.fields if name not in group.shared)
        self.records_in += 1
        self.built += 1
        if len(group.graphs) >= MAX_GRAPHS or group.bytes >= MAX_BYTES:
            self._flush(self._groups.pop(signature), signature)

    def refuse(self, refused: Refused) -> None:
        """Append a record that is left out."""
        self._refused.append((self.records_in, refused_line(self.records_in, refused)))
        self.records_in += 1

    def close(self) -> list[ShardEntry]:
        """Write what is left and return every shard of the chunk, in order."""
        for signature, group in self._groups.items():
            if group.graphs:
                self._flush(group, signature)
        self._groups = {}
        if self._refused:
            stem = self._stem()
            records = len(self._refused)
            files = self._write_lines(stem, [])
            self.shards.append(ShardEntry(stem=stem, graphs=0, nodes=0, edges=0, records=records, files=files))
        return self.shards

    def _stem(self) -> str:
        name = hashlib.sha256(f"{self.key}:{len(self.shards)}".encode()).hexdigest()
        return f"shard-{name[:20]}"

    def _write_lines(self, stem: str, lines: list[tuple[int, str]]) -> dict[str, str]:
        # Quarantined records stand where they were met; the list of a shard is in the order of reading.
        rows, self._refused = sorted(lines + self._refused), []
        name = f"{stem}.jsonl"
        return {name: replace_with(self.folder / name, "".join(f"{line}\n" for _, line in rows).encode())}

    def _flush(self, group: _Group, signature: tuple[object, ...]) -> None:
        stem, graphs = self._stem(), group.graphs
        tensors = _flat(graphs, [name for name in group.fields if name not in group.shared])
        about = json.dumps({"format": FORMAT, "fields": group.fields, "common": group.common})
        name = f"{stem}.safetensors"
        # One metadata entry only: their order in the file is not defined, and equal inputs must give equal bytes.
        files = {name: replace_with(self.folder / name, save(tensors, {"geoembed": about}))}
        records = len(group.lines) + len(self._refused)
        files |= self._write_lines(stem, group.lines)
        digest = hashlib.sha256(repr(signature).encode()).hexdigest()[:16]
        self.shards.append(ShardEntry(
            stem=stem, graphs=len(graphs), nodes=int(tensors["ptr.node"][-1]), edges=int(tensors["ptr.edge"][-1]),
            records=records, files=files, signature=digest, **group.common,  # type: ignore[arg-type]
        ))

    def _keep_topology(self, graph: Graph, names: frozenset[str]) -> None:
        key = graph.provenance.topology
        known = self._shared.get(key)
        if known is None:
            known = self._shared[key] = {name: graph[name].detach().cpu().clone() for name in sorted(names)}
            file, about = topology_file(key), json.dumps({"format": FORMAT, "topology": key})
            self.topologies[file] = replace_with(self.folder / file, save(known, {"geoembed": about}))
        for name, tensor in known.items():
            if not torch.equal(tensor, graph[name]):
                raise SchemaError(where=f"{graph.source} {graph.record}: {name}", found=f"other values than the topology {key!r}",
                                  expected="one tensor for all graphs of a topology",
                                  remedy="Give the graph its own topology key, or none.")


def topology_file(key: str) -> str:
    """Name of the file that holds the shared tensors of the topology ``key``."""
    return f"topology-{hashlib.sha256(key.encode()).hexdigest()[:20]}.safetensors"


def _narrowed(name: str, tensor: Tensor) -> Tensor:
    """An int64 field of the contract as the smallest of uint8, int16, int32 that holds it; any other as it is."""
    if name not in FIELDS or FIELDS[name].dtypes != (torch.int64,) or not tensor.numel():
        return tensor
    low, high = (int(bound) for bound in torch.aminmax(tensor))
    return tensor if low < 0 else next((tensor.to(dtype) for dtype, limit in _NARROW if high < limit), tensor)


def _group(graph: Graph) -> _Group:
    for name in _names(graph):
        if graph[name].dtype not in _DTYPES:
            raise SchemaError(where=f"{graph.source} {graph.record}: {name}", found=str(graph[name].dtype),
                              expected="a real dtype", remedy="Store real and imaginary parts as two columns.")
    common = {name: plain(getattr(graph.provenance, name)) for name in COMMON}
    return _Group(common=common, fields=_names(graph), shared=_shared_names(graph))


def _names(graph: Graph) -> list[str]:
    # Not graph.keys(): PyG makes a set of it, whose order changes from process to process.
    fields = {name: value for name, value in graph.to_dict().items() if name not in BOOKKEEPING}
    for name, value in fields.items():
        if level_of(name) is None or not isinstance(value, Tensor):
            raise SchemaError(where=f"{graph.source} {graph.record}: {name}", found=type(value).__name__,
                              expected="a tensor called node_*, edge_* or graph_*", remedy="Rename the field.")
    return list(fields)


def _shared_names(graph: Graph) -> frozenset[str]:
    """Fields that the topology file holds; a graph with ragged tokens or angles keeps everything of its own."""
    if not graph.provenance.topology or "token_node" in graph or "angle_index" in graph:
        return frozenset()
    return frozenset(name for name in _names(graph) if name in FIELDS and FIELDS[name].shared)


def _signature(graph: Graph) -> tuple[object, ...]:
    """What graphs must agree on to be concatenated: kind, modality, topology, and of each field name, dtype and row shape."""
    origin = graph.provenance
    fields = []
    for name in _names(graph):
        axis = FIELDS[name].axis if name in FIELDS else 0
        shape = graph[name].shape
        fields.append((name, str(graph[name].dtype), tuple(shape[:axis]) + tuple(shape[axis + 1 :])))
    return (origin.kind, origin.modality, origin.topology, *fields)


def _flat(graphs: list[Graph], names: list[str]) -> dict[str, Tensor]:
    """The fields of all graphs one after the other, and ``ptr.<level>`` [B+1] for each level whose length varies."""
    tensors = {"ptr.node": _bounds([int(graph.num_nodes or 0) for graph in graphs]),
               "ptr.edge": _bounds([graph.num_edges for graph in graphs])}
    for name in names:
        axis = FIELDS[name].axis if name in FIELDS else 0
        tensors[name] = _narrowed(name, torch.cat([graph[name].detach().cpu() for graph in graphs], dim=axis)).contiguous()
        if name in ("token_node", "angle_index"):
            tensors[f"ptr.{level_of(name)}"] = _bounds([graph[name].shape[axis] for graph in graphs])
    return tensors


def _bounds(counts: list[int]) -> Tensor:
    return torch.tensor([0, *counts]).cumsum(0)
