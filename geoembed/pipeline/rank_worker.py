"""What every rank of one ``embed`` does with its share of the inputs: parse files, then embed blocks of shards."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from geoembed.io.column_map import ColumnMap
from geoembed.pipeline.blocks import Block, Place, Plan, folder_of
from geoembed.pipeline.build import settled
from geoembed.pipeline.choose import Chooser
from geoembed.pipeline.chunks import Chunk
from geoembed.pipeline.flow import Flow
from geoembed.pipeline.report import Limits, Progress
from geoembed.pipeline.run import Run, listed
from geoembed.store import ChunkEntry
from geoembed.store.atomic import sweep, unsealed
from geoembed.store.columns import ListedShard
from geoembed.store.manifest import Journal
from geoembed.store.opening import Opening
from geoembed.store.row_table import COMMITS, RowTable

Parse = Callable[[Sequence[Chunk], Path, Callable[[Chunk], ChunkEntry | None]], Iterator[tuple[ChunkEntry, bool]]]
_Piece = tuple[ChunkEntry, Path, list[ListedShard]]


def parsed(home: Path, limits: Limits) -> dict[str, tuple[Place, ChunkEntry]]:
    """What is parsed, by whichever rank of this run or of one that was interrupted."""
    found: dict[str, tuple[Place, ChunkEntry]] = {}
    for folder in sorted(home.glob("graphs-*")):
        journal = Journal(folder)
        for chunk in journal.chunks:
            if journal.finished(chunk.key) is not None and (chunk.key not in found or settled(chunk.repeat, limits)):
                found[chunk.key] = (("graphs", folder.name), chunk)
    return found


class Worker:
    """The rank ``rank`` of ``world``, whose work and that of the others lies in the folder ``home``."""

    def __init__(self, rank: int, world: int, home: Path, parse: Parse, limits: Limits, columns: ColumnMap | None) -> None:
        self.rank, self.world, self.home, self._parse, self._limits, self._columns = rank, world, home, parse, limits, columns
        self._folders: dict[Place, Path] = {}
        self._committing: deque[RowTable] = deque()

    def _mine(self, items: Sequence[Any]) -> Sequence[Any]:
        return items[self.rank :: self.world]

    def parse(self) -> None:
        """Make shards of my chunks of files."""
        chunks = unsealed(self.home / "parse.json", (1,))["chunks"]
        mine = [Chunk(key, tuple(sources), self._columns) for key, sources in self._mine(chunks)]
        if not mine:
            return
        known = parsed(self.home, self._limits)
        folder = self.home / f"graphs-{self.rank}"
        folder.mkdir(exist_ok=True)
        sweep(folder, set(), ())
        journal = Journal(folder)

        def finished(chunk: Chunk) -> ChunkEntry | None:
            entry = known[chunk.key][1] if chunk.key in known else None
            return entry if entry is not None and settled(entry.repeat, self._limits) else None

        for entry, fresh in self._parse(mine, folder, finished):
            if fresh:
                journal.add(entry)

    def embed(self, chooser: Chooser, progress: Progress | None) -> None:
        """Make rows of my blocks."""
        plan = Plan.read(self.home)
        chooser.settle(plan.failed)
        total = sum(len(entry.sources) for _, entry in plan.chunks)
        mine = self._mine(plan.blocks)
        left = {block.name: self._pieces(plan, block) for block in mine if not plan.finished(block, self.home)}
        coming = [shard for pieces in left.values() for *_, shards in pieces for shard in shards]
        with Opening(coming), Flow() as flow:  # blocks follow each other without a pause
            for number, block in enumerate(mine, 1):
                if block.name in left:
                    self._embed(block, left.pop(block.name), chooser, flow)
                    self._end(flow, COMMITS)
                if progress is not None:  # the others go as fast
                    records = sum(entry.records_in for _, entry in plan.chunks)
                    progress(total * number // len(mine), total, records * number // len(mine))
            self._end(flow, 0)

    def _end(self, flow: Flow, most: int) -> None:
        """Wait, in the thread that writes, for the tables of all blocks but the last few."""
        while len(self._committing) > most:
            table = self._committing.popleft()
            flow.then(table.settle)
            flow.then(table.abandon)

    def _pieces(self, plan: Plan, block: Block) -> list[_Piece]:
        found = []
        for piece in block.pieces:
            place, entry = plan.chunks[piece[0]][0], plan.piece(*piece)
            if place not in self._folders:
                self._folders[place] = folder_of(self.home, place)
            found.append((entry, self._folders[place], listed(self._folders[place], entry)))
        return found

    def _embed(self, block: Block, pieces: Sequence[_Piece], chooser: Chooser, flow: Flow) -> None:
        home = self.home / "blocks" / block.name
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        run = Run(RowTable(home), chooser, flow)
        for entry, folder, shards in pieces:
            run.add(entry, folder, None, False, shards)
        run.commit()
        self._committing.append(run.table)
