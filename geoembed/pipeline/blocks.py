"""What the ranks of one ``embed`` share: blocks of shards with a small table for each, and how these become one table."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from geoembed import errors
from geoembed.errors import ConfigError, GeoembedError, StoreError
from geoembed.pipeline.choose import SAMPLES, Chooser, Fits
from geoembed.pipeline.run import COMMIT_NODES, COMMIT_ROWS, first_graphs
from geoembed.store import ChunkEntry, Refused, Shard, VectorTable, open_store
from geoembed.store.atomic import replace_with, sealed, sha256_of, unsealed
from geoembed.store.entries import ChunkRows
from geoembed.store.manifest import shards_of
from geoembed.store.rows import PART_ROWS

BLOCK_GRAPHS, BLOCK_NODES = 2048, 1 << 17
"""A block ends when it has so many: some full batches of any budget, and still many blocks for each process."""
Place = tuple[str, str]
"""Where shards are: ("store", folder or URL) or ("graphs", name of a folder in the hidden one)."""


@dataclass(frozen=True)
class Block:
    """Shards ``first`` … ``last - 1`` of some chunks (by their number in the plan), and the name of the folder of their rows."""

    name: str
    pieces: Sequence[tuple[int, int, int]]


@dataclass
class Plan:
    """What there is to embed, in blocks, and the sorts of graphs that no encoder takes."""

    chunks: list[tuple[Place, ChunkEntry]]
    blocks: list[Block]
    failed: dict[Fits, GeoembedError]

    @classmethod
    def of(cls, chunks: Sequence[tuple[Place, ChunkEntry]], home: Path, chooser: Chooser) -> Self:
        """The plan for some chunks, and an encoder for every sort of graphs in them."""
        failed = prepare(chooser, ((folder_of(home, place), entry) for place, entry in chunks))
        return cls(list(chunks), list(blocks_of([entry for _, entry in chunks], chooser.suffix)), failed)

    def piece(self, number: int, first: int, last: int) -> ChunkEntry:
        """Some shards of a chunk as a chunk of its own."""
        entry = self.chunks[number][1]
        shards = entry.shards[first:last]
        records, graphs = sum(shard.records for shard in shards), sum(shard.graphs for shard in shards)
        return replace(entry, key=f"{entry.key}.{first}-{last}", sources=[], records_in=records, built=graphs,
                       quarantined=records - graphs, shards=shards)

    def records(self, block: Block) -> int:
        """Records of a block."""
        return sum(self.piece(*piece).records_in for piece in block.pieces)

    def done(self, home: Path) -> int:
        """Records of blocks that an interrupted run has finished; what is of no block of this plan is removed."""
        names = {block.name for block in self.blocks}
        for path in (home / "blocks").glob("*"):
            if path.name not in names:
                shutil.rmtree(path, ignore_errors=True)
        return sum(self.records(block) for block in self.blocks if self.finished(block, home))

    def finished(self, block: Block, home: Path) -> bool:
        """Whether a block has all its rows."""
        keys = {key.partition(":")[0].partition("@")[0] for key in VectorTable(home / "blocks" / block.name).chunks}
        return all(self.piece(*piece).key in keys for piece in block.pieces)

    def keep(self, home: Path) -> None:
        """Write the plan for the other ranks."""
        failed = [[asdict(fits), type(error).__name__, error.where, str(error.found), str(error.expected), error.remedy]
                  for fits, error in self.failed.items()]
        replace_with(home / "plan.json", sealed({
            "format": 1, "chunks": [[place, entry.to_dict()] for place, entry in self.chunks],
            "blocks": [[block.name, block.pieces] for block in self.blocks], "failed": failed,
        }))

    @classmethod
    def read(cls, home: Path) -> Self:
        """The plan of rank 0."""
        document = unsealed(home / "plan.json", (1,))
        return cls(
            [((place[0], place[1]), ChunkEntry.from_dict(entry)) for place, entry in document["chunks"]],
            [Block(name, [(number, first, last) for number, first, last in pieces]) for name, pieces in document["blocks"]],
            {Fits(**fits): getattr(errors, kind)(where=where, found=found, expected=expected, remedy=remedy)
             for fits, kind, where, found, expected, remedy in document["failed"]},
        )


def blocks_of(entries: Sequence[ChunkEntry], suffix: str) -> Iterator[Block]:
    """All shards in order, cut into blocks; where they end depends on no number of processes."""
    pieces: list[tuple[int, int, int]] = []
    graphs = nodes = 0
    for number, entry in enumerate(entries):
        first = 0
        for last, shard in enumerate(entry.shards, 1):
            graphs, nodes = graphs + shard.graphs, nodes + shard.nodes
            full = graphs >= BLOCK_GRAPHS or nodes >= BLOCK_NODES
            if full or last == len(entry.shards):
                pieces.append((number, first, last))
                first = last
            if full:
                yield _block(pieces, entries, suffix)
                pieces, graphs, nodes = [], 0, 0
    if pieces:
        yield _block(pieces, entries, suffix)


def _block(pieces: list[tuple[int, int, int]], entries: Sequence[ChunkEntry], suffix: str) -> Block:
    files = [dict(shard.files) for number, first, last in pieces for shard in entries[number].shards[first:last]]
    keys = [[entries[number].key, first, last] for number, first, last in pieces]
    return Block(hashlib.sha256(json.dumps([suffix, keys, files], sort_keys=True).encode()).hexdigest()[:20], pieces)


def folder_of(home: Path, place: Place) -> Path:
    kind, name = place
    return home / name if kind == "graphs" else open_store(name).folder


def prepare(chooser: Chooser, chunks: Iterable[tuple[Path, ChunkEntry]]) -> dict[Fits, GeoembedError]:
    """Have an encoder in the table for every sort of graphs, made of the graphs that one process alone would make it of.

    Returns the sorts that none takes. One shard of a signature is opened, as all of them are of one sort, and those of samples.
    """
    failed: dict[Fits, GeoembedError] = {}
    waiting: dict[Fits, list[Shard]] = {}
    sorts: dict[tuple[str, str], Fits] = {}
    built = nodes = 0

    def choose(fits: Fits) -> None:
        shards = waiting.pop(fits)
        try:
            chooser.choose(fits, first_graphs(shards) if chooser.needs_samples(fits) else [])
        except (ConfigError, StoreError):
            raise
        except GeoembedError as error:
            failed[fits] = error
        decided.add(fits)

    decided: set[Fits] = set()
    for folder, entry in chunks:
        for shard in shards_of(folder, entry):
            if len(shard):
                mark = (shard.entry.signature or shard.entry.stem, shard.entry.modality)
                fits = sorts.get(mark) or sorts.setdefault(mark, Fits.of_shard(shard))
                if fits not in decided:
                    waiting.setdefault(fits, []).append(shard)
        built, nodes = built + entry.built, nodes + sum(shard.nodes for shard in entry.shards)
        for fits in list(waiting):
            if built >= COMMIT_ROWS * chooser.pace or not chooser.needs_samples(fits) or sum(map(len, waiting[fits])) >= SAMPLES:
                choose(fits)
        if built >= COMMIT_ROWS * chooser.pace or (nodes >= COMMIT_NODES * chooser.pace and not waiting):  # here one process commits
            built = nodes = 0
    for fits in list(waiting):
        choose(fits)
    return failed


class Merge:
    """Moves the rows of blocks into the table, in order; a commit never leaves a chunk half there."""

    def __init__(self, table: VectorTable, suffix: str) -> None:
        self.table, self.suffix = table, suffix
        self._rows: dict[int, ChunkRows] = {}
        self._lost: dict[int, list[Refused]] = {}

    def all(self, plan: Plan, home: Path) -> None:
        """Everything, in commits of about as many rows as a part has."""
        moved: list[Path] = []
        last, rows = 0, 0
        for block in plan.blocks:
            folder = home / "blocks" / block.name
            rows += self._move(plan, block, folder)
            moved.append(folder)
            number, _, shards = block.pieces[-1]
            if rows >= PART_ROWS and shards == len(plan.chunks[number][1].shards):
                self._commit(plan, last, number + 1)
                last, rows = number + 1, 0
                for path in moved:
                    shutil.rmtree(path, ignore_errors=True)
                moved = []
        self._commit(plan, last, len(plan.chunks))

    def _move(self, plan: Plan, block: Block, folder: Path) -> int:
        made = VectorTable(folder)
        for part in made.parts:
            if (found := sha256_of(folder / part.file)) != part.sha256:
                raise StoreError(where=folder / part.file, found=f"sha256 {found[:12]}…", expected=f"{part.sha256[:12]}…",
                                 remedy=f"Delete {folder} and run the same command again.")
            self.table.append_part(folder, part)
        refused = made.refused_by_chunk()
        for piece in block.pieces:
            rows = made.chunks[f"{plan.piece(*piece).key}{self.suffix}"]
            before = self._rows.get(piece[0])
            self._rows[piece[0]] = rows if before is None else replace(
                rows, encoders=list(dict.fromkeys([*before.encoders, *rows.encoders])),
                records_in=before.records_in + rows.records_in, embedded=before.embedded + rows.embedded)
            self._lost.setdefault(piece[0], []).extend(refused.get(rows.key, []))
        return sum(part.rows for part in made.parts)

    def _commit(self, plan: Plan, first: int, last: int) -> None:
        done = []
        for number in range(first, last):
            entry = plan.chunks[number][1]
            key = f"{entry.key}{self.suffix}"
            nothing = ChunkRows(key=key, sources=[], encoders=[], records_in=0, embedded=0, repeat=entry.repeat)
            done.append(replace(self._rows.pop(number, nothing), key=key, sources=entry.sources))
            lost = self._lost.pop(number, [])
            self.table.refuse(sorted(lost, key=lambda line: line.stage == "embed"), key)  # reading comes before embedding
        self.table.flush(done)
