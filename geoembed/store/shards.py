"""``Shard``: one file of flat arrays, memory-mapped, and the list of its records; every row range can be had without the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from geoembed.errors import StoreError
from geoembed.schema import FIELDS, Graph, Provenance, level_of
from geoembed.store.atomic import sha256_of
from geoembed.store.entries import ShardEntry
from geoembed.store.lines import Refused, is_refused, provenance_of, refused_of
from geoembed.store.writer import topology_file

Bounds = NDArray[np.int64]


class Shard:
    """The graphs of one shard, read on demand; checksums are verified when a file is first opened.

    Pickles as (folder, entry): a worker process opens its own maps.
    """

    def __init__(self, folder: Path, entry: ShardEntry, topologies: Mapping[str, str]) -> None:
        self.folder, self.entry, self.topologies = folder, entry, topologies
        self._checked: set[str] = set()

    def __reduce__(self) -> tuple[object, ...]:
        return Shard, (self.folder, self.entry, self.topologies)

    def __len__(self) -> int:
        return self.entry.graphs

    def __repr__(self) -> str:
        return f"Shard({self.entry.stem}: {len(self)} × {self.entry.modality or self.entry.kind}, {self.entry.nodes} nodes)"

    @property
    def nbytes(self) -> int:
        """Size of the file of tensors; 0 where there is none (opening it says so)."""
        path = self.folder / f"{self.entry.stem}.safetensors"
        return path.stat().st_size if path.is_file() else 0

    def close(self) -> None:
        """Forget what is open; the next use opens it again. Tensors that were handed out stay valid."""
        for name in ("_opened", "_list"):
            self.__dict__.pop(name, None)

    @cached_property
    def _opened(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return self._open(f"{self.entry.stem}.safetensors", self.entry.files)

    @cached_property
    def shared(self) -> dict[str, Tensor]:
        """The tensors of the shared topology, held once; empty where graphs have their own."""
        file = topology_file(self.entry.topology)
        return self._open(file, self.topologies)[0] if self.entry.topology and file in self.topologies else {}

    @cached_property
    def _list(self) -> tuple[bytes, Bounds, Bounds]:
        """The list of records as it lies on the disk, and the bounds of the lines of graphs and of quarantined records."""
        name = f"{self.entry.stem}.jsonl"
        self._check(name, self.entry.files)
        text = (self.folder / name).read_bytes()
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
        bounds = np.stack([np.concatenate([[0], ends[:-1] + 1]), ends], axis=1).astype(np.int64)
        refused = np.zeros(len(bounds), bool)
        if self.entry.records != self.entry.graphs:
            refused = np.array([is_refused(text[low:high]) for low, high in bounds], bool)
        return text, bounds[~refused], bounds[refused]

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

    def provenance(self, low: int, high: int) -> list[Provenance]:
        """Provenance of graphs ``low`` … ``high - 1``."""
        text, graphs, _ = self._list
        common = self._opened[1]["common"]
        return [provenance_of(text[start:stop], common) for start, stop in graphs[low:high].tolist()]

    def refused(self) -> list[Refused]:
        """The quarantined records that this shard lists."""
        text, _, refused = self._list
        return [refused_of(text[start:stop]) for start, stop in refused.tolist()]

    def bounds(self, name: str, low: int, high: int) -> tuple[int, int]:
        """First and last row of a field for graphs ``low`` … ``high - 1``."""
        level = level_of(name) or ""
        ptr = self.tensors.get(f"ptr.{'node' if level == 'token' and 'ptr.token' not in self.tensors else level}")
        return (low, high) if ptr is None else (int(ptr[low]), int(ptr[high]))

    def rows(self, name: str, low: int, high: int) -> Tensor:
        """The rows of a field for graphs ``low`` … ``high - 1``, in the dtype of the contract; indices stay local."""
        axis = FIELDS[name].axis if name in FIELDS else 0
        start, stop = self.bounds(name, low, high)
        return widened(name, self.tensors[name].narrow(axis, start, stop - start))

    def graph(self, index: int) -> Graph:
        """Graph number ``index`` as it was written, bit for bit; it owns its tensors, shared ones excepted."""
        b = range(len(self))[index]
        fields = {name: self.shared[name] if name in self.shared else self.rows(name, b, b + 1).clone() for name in self.fields}
        ptr = self.tensors["ptr.node"]
        return Graph(self.provenance(b, b + 1)[0], num_nodes=int(ptr[b + 1] - ptr[b]), **fields)

    def _check(self, name: str, files: Mapping[str, str]) -> None:
        path = self.folder / name
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


def widened(name: str, tensor: Tensor) -> Tensor:
    """A stored tensor in the dtype of the contract: fields of the table that are stored narrow become int64."""
    if name in FIELDS and FIELDS[name].dtypes == (torch.int64,):
        return tensor.to(torch.int64)
    return tensor

