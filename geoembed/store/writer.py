"""``ShardWriter``: records in, finished shards out; flat arrays, one file a group of graphs that have the same fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from geoembed.errors import SchemaError
from geoembed.graphs.blocks import Block
from geoembed.graphs.connect import edge_counts
from geoembed.schema import FIELDS, Graph, level_of
from geoembed.schema.fields import BOOKKEEPING
from geoembed.store.atomic import replace_with
from geoembed.store.entries import ShardEntry
from geoembed.store.layout import EDGES, RULED, axis_of, derivable, local_edges, topology_file, widened
from geoembed.store.lines import COMMON, Refused, graph_line, plain, refused_line, run_line
from geoembed.store.tensor_file import DTYPES, write_tensors

FORMAT = 2
READABLE = (1, 2)
"""Formats of stores that this version reads; what it writes is :data:`FORMAT`."""
MAX_GRAPHS = 16_384
MAX_BYTES = 64 << 20
_NARROW = ((torch.uint8, 1 << 8), (torch.int16, 1 << 15), (torch.int32, 1 << 31))


@dataclass
class _Group:
    """Graphs of one signature that wait to be written; ``rule``: what their edges may follow from."""

    common: dict[str, object]
    fields: list[str]
    shared: frozenset[str]
    rule: dict[str, object] | None
    parts: list[Graph | Block] = field(default_factory=list)
    lines: list[tuple[int, str]] = field(default_factory=list)
    graphs: int = 0
    bytes: int = 0


class ShardWriter:
    """Writes the records of one chunk into ``folder``, in shards of at most 16,384 graphs or about 64 MiB.

    ``key`` names the chunk; the same records under the same key give the same bytes under the same names.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        self.records_in = self.built = 0
        self.shards: list[ShardEntry] = []
        self.topologies: dict[str, str] = {}
        self._shared: dict[str, dict[str, Tensor]] = {}
        self._groups: dict[tuple[object, ...], _Group] = {}
        self._signatures: dict[tuple[object, ...], tuple[object, ...]] = {}
        self._refused: list[tuple[int, str]] = []

    def add(self, graph: Graph) -> None:
        """Append a graph; :class:`SchemaError` (and no trace of it) where it cannot be stored without loss."""
        signature, group = self._group(graph)
        if group.shared:
            self._keep_topology(graph, group.shared)
        line = graph_line(self.records_in, graph.provenance, group.common)
        size = sum(graph[name].nbytes for name in group.fields if name not in group.shared)
        self._append(signature, group, graph, 1, line, size)

    def add_block(self, block: Block) -> None:
        """Append the graphs of a block as flat arrays, one line for all of them; its edges stay a rule."""
        done = 0
        while done < len(block):
            signature, group = self._group(block.graph(done))
            part = block.cut(done, min(len(block), done + MAX_GRAPHS - group.graphs))
            line = run_line(self.records_in, part, group.common)
            self._append(signature, group, part, len(part), line, sum(value.nbytes for value in part.fields.values()))
            done += len(part)

    def _group(self, graph: Graph) -> tuple[tuple[object, ...], _Group]:
        key = _key(graph)
        signature = self._signatures.get(key)
        if signature is None:
            signature = self._signatures[key] = _signature(graph)
        group = self._groups.get(signature)
        if group is None:
            group = self._groups[signature] = _group(graph)
        return signature, group

    def _append(self, signature: tuple[object, ...], group: _Group, part: Graph | Block, graphs: int, line: str, size: int) -> None:
        group.parts.append(part)
        group.lines.append((self.records_in, line))
        group.graphs += graphs
        group.bytes += size
        self.records_in += graphs
        self.built += graphs
        if group.graphs >= MAX_GRAPHS or group.bytes >= MAX_BYTES:
            self._flush(self._groups.pop(signature), signature)

    def refuse(self, refused: Refused) -> None:
        """Append a record that is left out."""
        self._refused.append((self.records_in, refused_line(self.records_in, refused)))
        self.records_in += 1

    def close(self) -> list[ShardEntry]:
        """Write what is left and return every shard of the chunk, in order."""
        for signature, group in self._groups.items():
            if group.parts:
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
        stem = self._stem()
        own = [name for name in group.fields if name not in group.shared]
        about: dict[str, object] = {"format": FORMAT, "fields": group.fields, "common": group.common}
        if group.rule is not None and _follow(group.parts, own, group.rule):
            about["rule"] = group.rule
            own = [name for name in own if name not in EDGES]
        tensors = _flat(group.parts, own)
        name = f"{stem}.safetensors"
        files = {name: write_tensors(self.folder / name, tensors, about)}
        records = group.graphs + len(self._refused)
        files |= self._write_lines(stem, group.lines)
        digest = hashlib.sha256(repr(signature).encode()).hexdigest()[:16]
        self.shards.append(ShardEntry(
            stem=stem, graphs=group.graphs, nodes=int(tensors["ptr.node"][0][-1]), edges=int(tensors["ptr.edge"][0][-1]),
            records=records, files=files, signature=digest, **group.common,  # type: ignore[arg-type]
        ))

    def _keep_topology(self, graph: Graph, names: frozenset[str]) -> None:
        key = graph.provenance.topology
        known = self._shared.get(key)
        if known is None:
            known = self._shared[key] = {name: graph[name].detach().cpu().clone() for name in sorted(names)}
            file, about = topology_file(key), {"format": FORMAT, "topology": key}
            self.topologies[file] = write_tensors(self.folder / file, {name: [value] for name, value in known.items()}, about)
        for name, tensor in known.items():
            if not torch.equal(tensor, graph[name]):
                raise SchemaError(where=f"{graph.source} {graph.record}: {name}", found=f"other values than the topology {key!r}",
                                  expected="one tensor for all graphs of a topology",
                                  remedy="Give the graph its own topology key, or none.")


def _narrowed(name: str, pieces: list[Tensor]) -> list[Tensor]:
    """Pieces of an int64 field of the contract as the smallest of uint8, int16, int32 that holds them all; any other as they are."""
    if name not in FIELDS or FIELDS[name].dtypes != (torch.int64,) or all(piece.dtype == torch.uint8 for piece in pieces):
        return pieces
    bounds = [torch.aminmax(piece) for piece in pieces if piece.numel()]
    low, high = (min((int(b.min) for b in bounds), default=0), max((int(b.max) for b in bounds), default=0))
    dtype = torch.int64 if low < 0 or not bounds else next((dtype for dtype, limit in _NARROW if high < limit), torch.int64)
    return [piece.to(dtype) for piece in pieces]


def _group(graph: Graph) -> _Group:
    for name in _names(graph):
        if graph[name].dtype not in DTYPES:
            raise SchemaError(where=f"{graph.source} {graph.record}: {name}", found=str(graph[name].dtype),
                              expected="a real dtype", remedy="Store real and imaginary parts as two columns.")
    common = {name: plain(getattr(graph.provenance, name)) for name in COMMON}
    return _Group(common=common, fields=_names(graph), shared=_shared_names(graph), rule=derivable(graph))


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


def _key(graph: Graph) -> tuple[object, ...]:
    """What :func:`_signature` depends on, much cheaper: graphs of a kind follow each other by the thousand."""
    origin = graph.provenance
    settings = tuple((name, value if isinstance(value, (str, float, int)) else repr(value)) for name, value in origin.settings.items())
    fields = [(name, value.dtype, value.shape[:-1] if axis_of(name) else value.shape[1:]) if isinstance(value, Tensor) else name
              for name, value in graph._store._mapping.items() if name not in BOOKKEEPING]
    return (origin.kind, origin.modality, origin.topology, settings, *fields)


def _signature(graph: Graph) -> tuple[object, ...]:
    """What graphs must agree on to be concatenated: kind, modality, topology, and of each field name, dtype and row shape."""
    origin = graph.provenance
    fields = []
    for name in _names(graph):
        axis, shape = axis_of(name), graph[name].shape
        fields.append((name, str(graph[name].dtype), tuple(shape[:axis]) + tuple(shape[axis + 1 :])))
    rule = derivable(graph)
    ruled = () if rule is None else (json.dumps(plain(rule), sort_keys=True),)
    return (origin.kind, origin.modality, origin.topology, *fields, *ruled)


def _follow(parts: Sequence[Graph | Block], names: list[str], rule: Mapping[str, object]) -> bool:
    """Whether the rule gives back the edges of every graph, bit for bit; those of blocks were never made otherwise."""
    pieces = [_fields_of(part, names) for part in parts if isinstance(part, Graph)]
    if not pieces:
        return True
    held = {name: torch.cat([piece.fields[name] for piece in pieces], dim=axis_of(name)) for name in (*RULED, *EDGES) if name in names}
    made = local_edges({name: held[name] for name in RULED if name in held}, _bounds([piece.nodes for piece in pieces]), rule)
    return all(made[name].dtype == held[name].dtype and torch.equal(made[name], held[name]) for name in EDGES)


def _flat(parts: Sequence[Graph | Block], names: list[str]) -> dict[str, list[Tensor]]:
    """The fields of all graphs one after the other, in pieces, and ``ptr.<level>`` [B+1] for each level whose length varies."""
    pieces = [_fields_of(part, names) for part in parts]
    tensors = {"ptr.node": [_bounds([piece.nodes for piece in pieces])], "ptr.edge": [_bounds([piece.edges for piece in pieces])]}
    for name in names:
        values = _narrowed(name, [piece.fields[name] for piece in pieces])
        # Only along the first dimension can pieces be written one after the other
        tensors[name] = values if axis_of(name) == 0 else [torch.cat(values, dim=axis_of(name))]
        if name in ("token_node", "angle_index"):  # graphs alone have them, and blocks never
            tensors[f"ptr.{level_of(name)}"] = [_bounds([torch.tensor([value.shape[axis_of(name)]]) for value in values])]
    return tensors


@dataclass(frozen=True)
class _Piece:
    """Fields of one part, and how many nodes and edges each of its graphs has."""

    fields: Mapping[str, Tensor]
    nodes: Tensor
    edges: Tensor


def _fields_of(part: Graph | Block, names: list[str]) -> _Piece:
    if isinstance(part, Graph):
        fields = {name: part[name].detach().cpu() for name in names}
        return _Piece(fields, torch.tensor([int(part.num_nodes or 0)]), torch.tensor([part.num_edges]))
    counts = edge_counts(part.ptr, part.settings)
    if counts is not None and not set(EDGES) & set(names):
        return _Piece(part.fields, part.ptr.diff(), counts)
    edges = local_edges({name: widened(name, part.fields[name]) for name in RULED if name in part.fields}, part.ptr, part.settings)
    return _Piece({**part.fields, **edges}, part.ptr.diff(), edges["ptr"].diff())


def _bounds(counts: list[Tensor]) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.int64), *counts]).cumsum(0)
