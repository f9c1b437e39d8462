"""Which encoder makes the vectors: the one given, the one that the table already has, or an untrained one that fits."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from geoembed import registry
from geoembed.encoders import Encoder, default_encoder, load
from geoembed.errors import ConfigError, GeoembedError, SchemaError, UnknownNameError
from geoembed.pipeline.budgets import budget_for, first_budget
from geoembed.pipeline.encode import Encoding
from geoembed.pipeline.precision import checked, mark
from geoembed.schema import Graph
from geoembed.store import Budget, Shard, VectorTable
from geoembed.store.atomic import WRITING, replace_with
from geoembed.store.weights import weights_id

log = logging.getLogger("geoembed")
SAMPLES = 64
_FITS = "fits.json"


@dataclass(frozen=True)
class Fits:
    """The graphs that one encoder takes: of a modality and kind, with ``width`` features a node (None: no features)."""

    kind: str
    modality: str
    width: int | None

    @classmethod
    def of_shard(cls, shard: Shard) -> Fits:
        """What the graphs of a shard are."""
        x = shard.tensors.get("x")
        return cls(shard.entry.kind, shard.entry.modality, None if x is None else int(x.shape[-1]))

    @classmethod
    def of_graph(cls, graph: Graph) -> Fits:
        """What a graph is."""
        return cls(graph.kind, graph.provenance.modality, int(graph.x.shape[-1]) if "x" in graph else None)


@dataclass(frozen=True)
class Chosen:
    """An encoder at work, the name of its folder in the table and the hash of its weights."""

    name: str
    weights: str
    encoding: Encoding

    @property
    def state(self) -> str:
        """In words, for reports."""
        near = self.encoding.agreement
        rounded = "" if near is None else f"; {self.encoding.precision}, cosine with fp32 ≥ {near:.4f} in a sample"
        return ("trained" if self.encoding.encoder.trained else "untrained: random weights") + rounded


class Chooser:
    """Chooses once for every sort of graphs, and keeps each encoder in the table beside its rows.

    Args:
        table: the table that is written.
        encoder: an encoder, a registered name, or None for the one that fits.
        weights: name or folder of saved weights, or None.
        device: where it runs; None for a GPU where there is one.
        budget: of a batch; None for one that suits the device.
        precision: of the arithmetic, see :data:`geoembed.pipeline.precision.Precision`.
    """

    def __init__(
        self, table: VectorTable, encoder: Encoder[Any] | str | None, weights: str | Path | None, device: str | None,
        budget: Budget | None, precision: str = "fp32",
    ) -> None:
        if encoder is not None and weights is not None and not isinstance(encoder, str):
            raise ConfigError(where="embed", found="an encoder and weights", expected="one of them", remedy="Load the weights first.")
        self.table, self.chosen = table, dict[Fits, Chosen]()
        self._settled: Mapping[Fits, GeoembedError] | None = None
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._given = load(weights) if weights is not None else encoder if not isinstance(encoder, str) else None
        self._name = encoder if isinstance(encoder, str) else None
        self._class: type[Encoder[Any]] | None = registry.load("geoembed.encoders", self._name) if self._name else None
        if self._given is not None and self._name not in (None, self._given.name):
            raise ConfigError(where=f"weights {weights}", found=f"weights of the encoder {self._given.name!r}", expected=repr(self._name),
                              remedy="Leave the encoder out: the weights know theirs.")
        if encoder is not None and not isinstance(encoder, str) and device is None:
            self.device = next((p.device for p in encoder.parameters()), self.device)
        self._budget, self.precision = budget, checked(precision, self.device)
        self._identity = self._keep(self._given, self._given.name) if self._given is not None else None

    @property
    def asked(self) -> str:
        """Which encoder was asked for, in a word: the hash of given weights, a name, or nothing."""
        return self._identity[1] if self._identity is not None else self._name or ""

    @property
    def pace(self) -> int:
        """How many times as much may wait for a commit as on a CPU: a GPU makes as many vectors in less time than a commit takes."""
        return 1 if self.device.type == "cpu" else 8

    @property
    def suffix(self) -> str:
        """What the name of a chunk of inputs has at its end in a table: in which precision and by which encoder its rows are made."""
        return f"{mark(self.precision)}:{self.asked}"

    def batch(self, fits: Fits) -> Budget:
        """What a batch of graphs of one sort may hold now."""
        key = self.key(fits)
        return self.chosen[key].encoding.budget if key in self.chosen else first_budget(self.device, self._budget)

    def key(self, fits: Fits) -> Fits:
        """Graphs that share an encoder share this key: all of them where an encoder was given."""
        return Fits("", "", None) if self._given is not None else fits

    def needs_samples(self, fits: Fits) -> bool:
        """Whether the encoder for these graphs has yet to be made, from the first of them."""
        return self._settled is None and self.key(fits) not in self.chosen and self._given is None and self._kept(fits) is None

    def settle(self, failed: Mapping[Fits, GeoembedError]) -> None:
        """Make no encoder from now on: another process has made them all, and met these errors."""
        self._settled = failed

    def choose(self, fits: Fits, samples: Sequence[Graph]) -> Chosen:
        """The encoder for graphs of one sort; ``samples`` give an untrained one its bands and statistics."""
        key = self.key(fits)
        if self._settled and fits in self._settled:
            raise self._settled[fits]
        if key not in self.chosen:
            if self._class is not None and self._class.kind != fits.kind:
                raise SchemaError(where=f"encoder {self._name!r}", found=f"graphs of kind {fits.kind!r}", expected=repr(self._class.kind),
                                  remedy="Leave the encoder out, so that each sort of graphs gets its own.")
            if self._given is not None and self._identity is not None:
                encoder, (name, weights) = self._given, self._identity
            elif (kept := self._kept(fits)) is not None:
                encoder = load(self.table.encoder_folder(kept))
                name, weights = kept, weights_id(self.table.encoder_folder(kept))
            else:
                encoder = default_encoder(samples, self._name)
                name, weights = self._keep(encoder, None)
            if not encoder.trained:
                log.warning("%s: random weights. Vectors compare with each other, but nothing was learned.", name)
            self.chosen[key] = Chosen(name, weights, self._at_work(encoder))
        _note_fits(self.table.encoder_folder(self.chosen[key].name), fits)
        return self.chosen[key]

    def _at_work(self, encoder: Encoder[Any]) -> Encoding:
        return Encoding(encoder, self.device, budget_for(self.device, self._budget), self.precision)

    def _kept(self, fits: Fits) -> str | None:
        """The encoder in the table for exactly such graphs, of the class that was asked for."""
        fitting = (name for name, sorts, encoder in kept_encoders(self.table) if fits in sorts and self._name in (None, encoder))
        return next(fitting, None)

    def _keep(self, encoder: Encoder[Any], fixed: str | None) -> tuple[str, str]:
        """Save an encoder into the table: (name of its folder, hash of its weights). ``fixed``: it has to have this name."""
        self.table.folder.mkdir(parents=True, exist_ok=True)
        spool = Path(tempfile.mkdtemp(prefix=f"{WRITING}encoder-", dir=self.table.folder))
        try:
            encoder.save(spool)
            weights = weights_id(spool)
            name = fixed or encoder.name
            folder = self.table.encoder_folder(name)
            if folder.exists() and weights_id(folder) != weights:
                if fixed:
                    raise ConfigError(where=self.table.folder, found=f"other weights of {name!r}", expected=f"weights {weights_id(folder)}",
                                      remedy="Vectors of different weights cannot be compared: write to another table.")
                name = f"{name}-{weights[:8]}"
                folder = self.table.encoder_folder(name)
            if not folder.exists():
                folder.parent.mkdir(exist_ok=True)
                os.replace(spool, folder)
            return name, weights
        finally:
            shutil.rmtree(spool, ignore_errors=True)


def _note_fits(folder: Path, fits: Fits) -> None:
    """Write down that the encoder in ``folder`` made rows of graphs of this sort: queries of this sort go to it."""
    sorts = _sorts(folder)
    if fits not in sorts:
        replace_with(folder / _FITS, json.dumps([asdict(known) for known in [*sorts, fits]], indent=1).encode())


def _sorts(folder: Path) -> list[Fits]:
    path = folder / _FITS
    return [Fits(**known) for known in json.loads(path.read_text())] if path.is_file() else []


def kept_encoders(table: VectorTable) -> list[tuple[str, list[Fits], str]]:
    """(name of the folder, sorts of graphs that it made rows of, class of encoder) of every encoder saved in a table."""
    home = table.folder / "encoders"
    folders = sorted(path for path in home.iterdir() if (path / "config.json").is_file()) if home.is_dir() else []
    return [(path.name, _sorts(path), str(json.loads((path / "config.json").read_text(encoding="utf-8"))["encoder"])) for path in folders]


def kept_for(table: VectorTable, graph: Graph) -> str:
    """Name of the saved encoder whose rows a graph compares with: of exactly its sort, else of its modality."""
    fits = Fits.of_graph(graph)
    kept = [(name, sorts) for name, sorts, _ in kept_encoders(table) if name in table.encoders()]
    exact = [name for name, sorts in kept if fits in sorts]
    alike = exact or [name for name, sorts in kept if any((known.kind, known.modality) == (fits.kind, fits.modality) for known in sorts)]
    if len(alike) == 1:
        return alike[0]
    has = sorted({known.modality or known.kind for _, sorts in kept for known in sorts})
    made = f", of which {', '.join(alike)} made rows" if alike else ""
    raise UnknownNameError(
        where=graph.source or "query", found=f"a {fits.modality or fits.kind}{made}",
        expected=f"one encoder for it; the table has vectors of: {', '.join(has) or 'nothing'}",
        remedy="Name the encoder." if alike else "Embed files of this sort into the table first.",
    )
