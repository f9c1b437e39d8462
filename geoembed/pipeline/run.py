"""One run of ``embed``: shards wait for an encoder and a full batch, rows wait for a commit, and every record is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from geoembed.errors import ConfigError, GeoembedError, StoreError
from geoembed.pipeline.choose import SAMPLES, Chooser, Chosen, Fits
from geoembed.pipeline.encode import Encoded, refused
from geoembed.pipeline.flow import Flow
from geoembed.schema import Graph
from geoembed.store import ChunkEntry, Refused, Shard
from geoembed.store.columns import ListedShard
from geoembed.store.entries import ChunkRows
from geoembed.store.manifest import refused_in
from geoembed.store.row_table import RowTable

COMMIT_ROWS, COMMIT_NODES = 16_384, 1 << 24
"""What waits for a commit at most, times :attr:`Chooser.pace`. Counts and no clock: how often a run was killed must not be seen in what
it leaves."""


@dataclass
class _Open:
    """A chunk that is not committed yet; what is embedded and lost of it is known to the thread that writes."""

    entry: ChunkEntry
    folder: Path
    temporary: bool
    lost: list[Refused]
    embedded: int = 0
    encoders: dict[str, None] = field(default_factory=dict)


class Run:
    """What one call of ``embed`` has done and still holds back.

    Shards wait, by the sort of their graphs, until there are 64 graphs to make an untrained encoder and enough to fill a batch.
    Rows wait until a commit: at the end of a chunk, when there are many of them or of their nodes. Both go through a :class:`Flow`
    in the order in which they are met; what :attr:`embedded` and :attr:`refused` say holds after :meth:`settle`.
    """

    def __init__(self, table: RowTable, chooser: Chooser, flow: Flow) -> None:
        self.table, self.chooser, self.flow = table, chooser, flow
        self.records_in = self.embedded = self.resumed = self.sources = 0
        self._lost: list[list[Refused]] = []
        self._waiting: dict[Fits, list[Shard]] = {}
        self._open: dict[str, _Open] = {}
        self._owner: dict[str, _Open] = {}
        self._met: set[str] = set()
        self._sorts: dict[tuple[str, str, str], Fits] = {}
        self._earlier = table.refused_by_chunk()

    @property
    def refused(self) -> list[Refused]:
        """Every quarantined record, by chunk, in input order."""
        return [line for lost in self._lost for line in lost]

    def key(self, chunk: str) -> str:
        """Name of a chunk in the table: the same inputs may be there for several encoders, or of another precision."""
        return f"{chunk}{self.chooser.suffix}"

    def add(
        self, entry: ChunkEntry, folder: Path, rows: ChunkRows | None, temporary: bool, shards: Sequence[ListedShard] | None = None
    ) -> None:
        """Take a chunk on: skip it where the table has its ``rows``, else queue its shards and embed what is ready.

        ``temporary``: its files are removed once its rows are committed. ``shards``: those of the chunk, where they are opened already.
        """
        self.sources += len(entry.sources)
        self.records_in += entry.records_in
        key = self.key(entry.key)
        if rows is None and key in self._met:  # the same inputs a second time in one call
            self.commit()
            self.settle()
            rows = self.table.chunks[key]
            self._earlier = self.table.refused_by_chunk()
        if rows is not None:
            self.embedded += rows.embedded
            self.resumed += rows.records_in
            self._lost.append(self._earlier.get(rows.key, []))
            return
        self._met.add(key)
        chunk = self._open[key] = _Open(entry, folder, temporary, refused_in(folder, entry))
        self._lost.append(chunk.lost)
        for shard in listed(folder, entry) if shards is None else shards:
            self._owner[shard.entry.stem] = chunk
            self._waiting.setdefault(self._fits(shard), []).append(shard)
        for fits in [fits for fits in self._waiting if self._ready(fits)]:
            self._embed(fits)
        # A commit needs every encoder, also one that would rather wait for more samples: only rows force it to go without.
        nodes = sum(shard.nodes for chunk in self._open.values() for shard in chunk.entry.shards)
        large = nodes >= COMMIT_NODES * self.chooser.pace and not any(map(self.chooser.needs_samples, self._waiting))
        if large or sum(chunk.entry.built for chunk in self._open.values()) >= COMMIT_ROWS * self.chooser.pace:
            self.commit()

    def _fits(self, shard: Shard) -> Fits:
        """Of what sort its graphs are; shards of one signature are alike, and only the first of them is opened for that."""
        mark = (shard.entry.signature or shard.entry.stem, shard.entry.kind, shard.entry.modality)
        if mark not in self._sorts:
            self._sorts[mark] = Fits.of_shard(shard)
        return self._sorts[mark]

    def _ready(self, fits: Fits) -> bool:
        graphs = sum(map(len, self._waiting[fits]))
        if self.chooser.needs_samples(fits):
            return graphs >= SAMPLES
        budget, batches = self.chooser.batch(fits), self.chooser.pace  # the last of them is seldom full
        nodes = sum(shard.entry.nodes for shard in self._waiting[fits])
        return graphs >= batches * budget.graphs or nodes >= batches * budget.nodes

    def _embed(self, fits: Fits) -> None:
        shards = self._waiting.pop(fits)
        try:
            chosen = self._choose(fits, shards)
        except (ConfigError, StoreError):
            raise
        except GeoembedError as error:  # no encoder takes these graphs
            for shard in shards:
                self.flow.then(partial(self._refuse, self._owner[shard.entry.stem], shard, error))
            return
        owners = {shard.entry.stem: self._owner[shard.entry.stem] for shard in shards}
        self.flow.encode(chosen.encoding, shards, lambda part: self._keep(part, chosen, owners[part.piece.shard.entry.stem]))

    def _keep(self, part: Encoded, chosen: Chosen, chunk: _Open) -> None:
        if part.fault is not None:
            chunk.lost.append(refused(part, chosen.encoding.encoder))
            return
        lost = self.table.append_piece(part.vectors, part.piece, encoder=chosen.name, weights=chosen.weights)
        chunk.lost += lost
        chunk.encoders[chosen.name] = None
        chunk.embedded += len(part.vectors) - len(lost)
        self.embedded += len(part.vectors) - len(lost)

    def _choose(self, fits: Fits, shards: Sequence[Shard]) -> Chosen:
        return self.chooser.choose(fits, first_graphs(shards) if self.chooser.needs_samples(fits) else [])

    def _refuse(self, chunk: _Open, shard: Shard, error: GeoembedError) -> None:
        chunk.lost.extend(
            Refused(origin.source, origin.record, "embed", f"{origin.source} [{origin.record}]: {error}", type(error).__name__)
            for origin in shard.provenance(0, len(shard))
        )

    def commit(self) -> None:
        """Embed what still waits, and have all chunks so far made part of the table once their rows are there."""
        for fits in list(self._waiting):
            self._embed(fits)
        self.flow.then(partial(self._commit, self._open))
        self._open, self._owner = {}, {}

    def settle(self) -> None:
        """Return when all that was committed is in the table."""
        self.flow.drain()
        self.table.settle()

    def _commit(self, chunks: dict[str, _Open]) -> None:
        lost = [(key, line) for key, chunk in chunks.items() for line in chunk.lost]
        rows = [
            ChunkRows(key=key, sources=chunk.entry.sources, encoders=list(chunk.encoders), records_in=chunk.entry.records_in,
                      embedded=chunk.embedded, repeat=chunk.entry.repeat)
            for key, chunk in chunks.items()
        ]
        self.table.commit_later(rows, lost, partial(_remove, list(chunks.values())))


def _remove(chunks: Sequence[_Open]) -> None:
    """Remove the files of temporary chunks; their topologies serve later chunks too."""
    for chunk in chunks:
        for shard in chunk.entry.shards if chunk.temporary else ():
            for name in shard.files:
                (chunk.folder / name).unlink(missing_ok=True)


def listed(folder: Path, entry: ChunkEntry) -> list[ListedShard]:
    """The shards of a chunk that hold graphs."""
    return [ListedShard(folder, shard, entry.topologies) for shard in entry.shards if shard.graphs]


def first_graphs(shards: Sequence[Shard]) -> list[Graph]:
    """The graphs that an untrained encoder is made of: the first of those that have the fields of the very first."""
    alike = [shard for shard in shards if shard.entry.signature == shards[0].entry.signature]
    return list(islice((shard.graph(i) for shard in alike for i in range(len(shard))), SAMPLES))
