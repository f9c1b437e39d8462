"""One run of ``embed``: shards wait for an encoder and a full batch, rows wait for a commit, and every record is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from geoembed.errors import ConfigError, GeoembedError, StoreError
from geoembed.pipeline.choose import SAMPLES, Chooser, Chosen, Fits
from geoembed.schema import Graph
from geoembed.store import ChunkEntry, Refused, Shard, VectorTable
from geoembed.store.entries import ChunkRows
from geoembed.store.manifest import refused_in, shards_of

COMMIT_ROWS, COMMIT_NODES = 16_384, 1 << 24
"""What waits for a commit at most. Counts and no clock: how often a run was killed must not be seen in what it leaves."""


@dataclass
class _Open:
    """A chunk that is not committed yet."""

    entry: ChunkEntry
    folder: Path
    temporary: bool
    lost: list[Refused]
    embedded: int = 0
    encoders: dict[str, None] = field(default_factory=dict)


class Run:
    """What one call of ``embed`` has done and still holds back.

    Shards wait, by the sort of their graphs, until there are 64 graphs to make an untrained encoder and enough to fill a batch.
    Rows wait until a commit: at the end of a chunk, when there are many of them or of their nodes.
    """

    def __init__(self, table: VectorTable, chooser: Chooser) -> None:
        self.table, self.chooser = table, chooser
        self.records_in = self.embedded = self.resumed = self.sources = 0
        self._lost: list[list[Refused]] = []
        self._waiting: dict[Fits, list[Shard]] = {}
        self._open: dict[str, _Open] = {}
        self._owner: dict[str, _Open] = {}
        self._earlier = table.refused_by_chunk()

    @property
    def refused(self) -> list[Refused]:
        """Every quarantined record, by chunk, in input order."""
        return [line for lost in self._lost for line in lost]

    def key(self, chunk: str) -> str:
        """Name of a chunk in the table: the same inputs may be there for several encoders."""
        return f"{chunk}:{self.chooser.asked}"

    def add(self, entry: ChunkEntry, folder: Path, rows: ChunkRows | None, temporary: bool) -> None:
        """Take a chunk on: skip it where the table has its ``rows``, else queue its shards and embed what is ready.

        ``temporary``: its files are removed once its rows are committed.
        """
        self.sources += len(entry.sources)
        self.records_in += entry.records_in
        if rows is None and self.key(entry.key) in self._open:  # the same inputs a second time in one call
            self.commit()
            rows = self.table.chunks[self.key(entry.key)]
            self._earlier = self.table.refused_by_chunk()
        if rows is not None:
            self.embedded += rows.embedded
            self.resumed += rows.records_in
            self._lost.append(self._earlier.get(rows.key, []))
            return
        chunk = self._open[self.key(entry.key)] = _Open(entry, folder, temporary, refused_in(folder, entry))
        self._lost.append(chunk.lost)
        for shard in shards_of(folder, entry):
            if len(shard):
                self._owner[shard.entry.stem] = chunk
                self._waiting.setdefault(Fits.of_shard(shard), []).append(shard)
        for fits in [fits for fits in self._waiting if self._ready(fits)]:
            self._embed(fits)
        # A commit needs every encoder, also one that would rather wait for more samples: only rows force it to go without.
        nodes = sum(shard.nodes for chunk in self._open.values() for shard in chunk.entry.shards)
        large = nodes >= COMMIT_NODES and not any(map(self.chooser.needs_samples, self._waiting))
        if large or sum(chunk.entry.built for chunk in self._open.values()) >= COMMIT_ROWS:
            self.commit()

    def _ready(self, fits: Fits) -> bool:
        graphs = sum(map(len, self._waiting[fits]))
        if self.chooser.needs_samples(fits):
            return graphs >= SAMPLES
        return graphs >= self.chooser.budget.graphs or sum(shard.entry.nodes for shard in self._waiting[fits]) >= self.chooser.budget.nodes

    def _embed(self, fits: Fits) -> None:
        shards = self._waiting.pop(fits)
        try:
            chosen = self._choose(fits, shards)
        except (ConfigError, StoreError):
            raise
        except GeoembedError as error:  # no encoder takes these graphs
            for shard in shards:
                self._refuse(shard, error)
            return
        for part in chosen.encoding.run(shards):
            chunk = self._owner[part.shard.entry.stem]
            if part.fault is not None:
                chunk.lost.append(part.fault)
                continue
            lost = self.table.append(part.vectors, part.provenance, encoder=chosen.name, weights=chosen.weights)
            chunk.lost += lost
            chunk.encoders[chosen.name] = None
            chunk.embedded += len(part.provenance) - len(lost)
            self.embedded += len(part.provenance) - len(lost)

    def _choose(self, fits: Fits, shards: Sequence[Shard]) -> Chosen:
        return self.chooser.choose(fits, first_graphs(shards) if self.chooser.needs_samples(fits) else [])

    def _refuse(self, shard: Shard, error: GeoembedError) -> None:
        self._owner[shard.entry.stem].lost.extend(
            Refused(origin.source, origin.record, "embed", f"{origin.source} [{origin.record}]: {error}", type(error).__name__)
            for origin in shard.provenance(0, len(shard))
        )

    def commit(self) -> None:
        """Embed what still waits, and make all chunks so far part of the table."""
        for fits in list(self._waiting):
            self._embed(fits)
        for key, chunk in self._open.items():
            self.table.refuse(chunk.lost, key)
        self.table.flush([
            ChunkRows(key=key, sources=chunk.entry.sources, encoders=list(chunk.encoders), records_in=chunk.entry.records_in,
                      embedded=chunk.embedded, repeat=chunk.entry.repeat)
            for key, chunk in self._open.items()
        ])
        for chunk in self._open.values():
            if chunk.temporary:
                for name in (name for shard in chunk.entry.shards for name in shard.files):  # topologies serve later chunks too
                    (chunk.folder / name).unlink(missing_ok=True)
        self._open, self._owner = {}, {}


def first_graphs(shards: Sequence[Shard]) -> list[Graph]:
    """The graphs that an untrained encoder is made of: the first of those that have the fields of the very first."""
    alike = [shard for shard in shards if shard.entry.signature == shards[0].entry.signature]
    return list(islice((shard.graph(i) for shard in alike for i in range(len(shard))), SAMPLES))
