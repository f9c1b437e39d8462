"""``Shard``: one file of flat arrays, memory-mapped, and the list of its records; every row range can be had without the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from geoembed.errors import StoreError
from geoembed.schema import Graph, Provenance, level_of
from geoembed.store.atomic import sha256_of
from geoembed.store.entries import ShardEntry
from geoembed.store.layout import EDGES, RULED, axis_of, local_edges, topology_file, widened
from geoembed.store.lines import Refused, is_refused, provenances_of, records_in, refused_of
from geoembed.store.origin import fetch, size_of

Bounds = NDArray[np.int64]


@dataclass(frozen=True)
class _List:
    """The list of records as it lies on the disk: bounds of the lines of graphs and of quarantined records, and the number of
    graphs before each line of graphs, with their total at the end."""

    text: bytes
    lines: Bounds
    refused: Bounds
    starts: Bounds


class Shard:
    """The graphs of one shard, read on demand; checksums are verified when a file is first opened.

    Pickles as (folder, entry): a worker process opens its own maps.
    """

    def __init__(self, folder: Path, entry: ShardEntry, topologies: Mapping[str, str]) -> None:
        self.folder, self.entry, self.topologies = folder, entry, topologies
        self._checked: set[str] = set()
        self._last: tuple[tuple[int, int], dict[str, Tensor]] = ((-1, -1), {})
        self._parsed: tuple[int, Mapping[str, Any]] = (-1, {})

    def __reduce__(self) -> tuple[object, ...]:
        return Shard, (self.folder, self.entry, self.topologies)

    def __len__(self) -> int:
        return self.entry.graphs

    def __repr__(self) -> str:
        return f"Shard({self.entry.stem}: {len(self)} × {self.entry.modality or self.entry.kind}, {self.entry.nodes} nodes)"

    @property
    def nbytes(self) -> int:
        """Size of the file of tensors; 0 where there is none (opening it says so)."""
        return size_of(self.folder / f"{self.entry.stem}.safetensors")

    def close(self) -> None:
        """Forget what is open; the next use opens it again. Tensors that were handed out stay valid."""
        for name in ("_opened", "_list"):
            self.__dict__.pop(name, None)
        self._last, self._parsed = ((-1, -1), {}), (-1, {})

    @cached_property
    def _opened(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return self._open(f"{self.entry.stem}.safetensors", self.entry.files)

    @cached_property
    def shared(self) -> dict[str, Tensor]:
        """The tensors of the shared topology, held once; empty where graphs have their own."""
        file = topology_file(self.entry.topology)
        return self._open(file, self.topologies)[0] if self.entry.topology and file in self.topologies else {}

    @cached_property
    def _list(self) -> _List:
        name = f"{self.entry.stem}.jsonl"
        self._check(name, self.entry.files)
        text = (self.folder / name).read_bytes()
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
        bounds = np.stack([np.concatenate([[0], ends[:-1] + 1]), ends], axis=1).astype(np.int64)
        refused = np.zeros(len(bounds), bool)
        if self.entry.records != self.entry.graphs:
            refused = np.array([is_refused(text[low:high]) for low, high in bounds], bool)
        lines = bounds[~refused]
        counts = np.ones(len(lines), np.int64)
        if len(lines) != self.entry.graphs:  # some stand for many
            counts = np.array([records_in(text[low:high]) for low, high in lines], np.int64)
        return _List(text, lines, bounds[refused], np.concatenate([[0], counts.cumsum()]).astype(np.int64))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Flat arrays and ``ptr.<level>`` by name, mapped from the file; int64 fields in their stored, narrow type."""
        return self._opened[0]

    @property
    def fields(self) -> list[str]:
        """Names of the fields of a graph, in its order."""
        return list(self._opened[1]["fields"])

    @property
    def stacked(self) -> bool:
        """Whether all graphs hold the tensors of one topology."""
        return bool(self.shared)

    @property
    def rule(self) -> Mapping[str, Any] | None:
        """The rule from which the edges of every graph are derived; None where they are stored, or there are none."""
        rule: Mapping[str, Any] | None = self._opened[1].get("rule")
        return rule

    def provenance(self, low: int, high: int) -> list[Provenance]:
        """Provenance of graphs ``low`` … ``high - 1``."""
        held, common = self._list, self._opened[1]["common"]
        found: list[Provenance] = []
        first = int(np.searchsorted(held.starts, low, side="right")) - 1
        for number in range(max(first, 0), int(np.searchsorted(held.starts[:-1], high))):
            before, after = int(held.starts[number]), int(held.starts[number + 1])
            found += provenances_of(self._line(number), common, max(low, before) - before, min(high, after) - before)
        return found

    def _line(self, number: int) -> Mapping[str, Any]:
        """A line of graphs as JSON gives it back; the last one is kept, as one graph after the other may be asked of it."""
        if self._parsed[0] != number:
            start, stop = self._list.lines[number]
            self._parsed = number, json.loads(self._list.text[start:stop])
        return self._parsed[1]

    def refused(self) -> list[Refused]:
        """The quarantined records that this shard lists."""
        return [refused_of(self._list.text[start:stop]) for start, stop in self._list.refused.tolist()]

    def bounds(self, name: str, low: int, high: int) -> tuple[int, int]:
        """First and last row of a field for graphs ``low`` … ``high - 1``."""
        level = level_of(name) or ""
        ptr = self.tensors.get(f"ptr.{'node' if level == 'token' and 'ptr.token' not in self.tensors else level}")
        return (low, high) if ptr is None else (int(ptr[low]), int(ptr[high]))

    def rows(self, name: str, low: int, high: int) -> Tensor:
        """The rows of a field for graphs ``low`` … ``high - 1``, in the dtype of the contract; indices stay local."""
        return widened(name, self.stored(name, low, high))

    def stored(self, name: str, low: int, high: int) -> Tensor:
        """The same in the dtype of the file."""
        if name in EDGES and self.rule is not None:
            return self._derived(low, high)[name]
        start, stop = self.bounds(name, low, high)
        return self.tensors[name].narrow(axis_of(name), start, stop - start)

    def _derived(self, low: int, high: int) -> dict[str, Tensor]:
        """The edges of graphs ``low`` … ``high - 1`` by the rule; the last answer is kept, as both fields are asked for in turn."""
        if self._last[0] != (low, high):
            nodes = self.tensors["ptr.node"][low : high + 1]
            fields = {name: self.rows(name, low, high) for name in RULED if name in self.fields}
            self._last = (low, high), local_edges(fields, nodes - nodes[0], self.rule or {})
        return self._last[1]

    def graph(self, index: int) -> Graph:
        """Graph number ``index`` as it was written, bit for bit; it owns its tensors, shared ones excepted."""
        b = range(len(self))[index]
        fields = {name: self.shared[name] if name in self.shared else self.rows(name, b, b + 1).clone() for name in self.fields}
        ptr = self.tensors["ptr.node"]
        return Graph(self.provenance(b, b + 1)[0], num_nodes=int(ptr[b + 1] - ptr[b]), **fields)

    def _check(self, name: str, files: Mapping[str, str]) -> None:
        path = self.folder / name
        if name not in self._checked:
            fetch(path, files.get(name))
        if not path.is_file():
            raise StoreError(where=path, found="no such file", expected="a file of the store",
                             remedy="Run 'geoembed verify' and build the store again; only missing chunks are built.")
        if name not in self._checked and (found := sha256_of(path)) != files.get(name):
            expected = f"{str(files.get(name))[:12]}…, as listed"
            raise StoreError(where=path, found=f"sha256 {found[:12]}…", expected=expected,
                             remedy="The file is damaged or was exchanged: delete it and build the store again.")
        self._checked.add(name)

    def _open(self, name: str, files: Mapping[str, str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        self._check(name, files)
        try:
            with safe_open(self.folder / name, framework="pt") as file:
                about = json.loads(file.metadata()["geoembed"])
                return {key: file.get_tensor(key) for key in file.keys()}, about  # noqa: SIM118 — no mapping
        except RuntimeError as error:
            raise StoreError(where=self.folder / name, found=str(error), expected="room in the address space to map the file",
                             remedy="Raise the memory limit of the process.") from error
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise StoreError(where=self.folder / name, found=f"no readable shard ({error})", expected="tensors of geoembed",
                             remedy="Delete the file and build the store again.") from error
