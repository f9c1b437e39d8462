"""``torchrun -m geoembed embed``: many processes, one a GPU, make one table, the same however many they are and whenever they were killed.

Its rows, their order and the quarantine are those of one process without torchrun. Its bytes need not be: a large table may be cut into
other parts, and a vector may differ in its last digits, as batches end elsewhere and torchrun gives each process one thread.

The shards of all inputs are cut into blocks of a fixed size. Of W processes the one of rank r embeds blocks r, r + W, …, each into
a small table of its own in a hidden folder of the output; files are parsed by the same rule before that, a chunk at a time. Rank 0
says what is to be done, makes untrained encoders before anybody needs them, and in the end moves the rows of all blocks into the table,
in input order. A batch never spans two blocks, so a row does not depend on who made it. All processes must see the output under
the same path. They wait for each other with torch.distributed (gloo); what they have to tell lies in files.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Self

import torch
from torch import distributed

from geoembed.errors import ConfigError, StoreError
from geoembed.io.column_map import ColumnMap
from geoembed.ops import backends
from geoembed.pipeline.blocks import Merge, Place, Plan
from geoembed.pipeline.build import settled
from geoembed.pipeline.choose import Chooser
from geoembed.pipeline.chunks import Chunk, chunks_of
from geoembed.pipeline.inputs import Inputs, expand
from geoembed.pipeline.precision import warn_of_others
from geoembed.pipeline.rank_worker import Parse, Worker, parsed
from geoembed.pipeline.report import Limits, Progress, Report, quarantined
from geoembed.store import ChunkEntry, VectorTable, is_store, open_store
from geoembed.store.atomic import locked, replace_with, sealed, sweep
from geoembed.store.origin import is_url, local
from geoembed.store.remote import destination, work_folder
from geoembed.store.table_list import TABLE

RANKS = ".ranks"
"""Folder in the output for what is not yet in the table."""
_LONG = timedelta(days=30)  # a rank waits for another as long as that works; torchrun ends all when one has died

Make = Callable[[VectorTable], Chooser]


@dataclass(frozen=True)
class Ranks:
    """Which of the processes of one command this is: ``rank`` of ``world``, on its machine the one with number ``local``."""

    rank: int
    world: int
    local: int
    one_machine: bool = True

    @classmethod
    def of_torchrun(cls, names: Mapping[str, str] = os.environ) -> Self | None:
        """What torchrun has told this process; None where it did not start it, or only it."""
        if "TORCHELASTIC_RUN_ID" not in names or int(names["WORLD_SIZE"]) < 2:
            return None
        world = int(names["WORLD_SIZE"])
        return cls(int(names["RANK"]), world, int(names["LOCAL_RANK"]), int(names["LOCAL_WORLD_SIZE"]) == world)

    def device(self, given: str | None) -> str | None:
        """The GPU of this process, where GPUs are meant and there are some."""
        if given in (None, "cuda") and torch.cuda.is_available():
            return f"cuda:{self.local % torch.cuda.device_count()}"
        return given


def refuse_cluster(ranks: Ranks, executor: Executor | None) -> None:
    """Raise :class:`ConfigError` where ranks would send their parsing to an executor."""
    if executor is not None:
        raise ConfigError(where=f"rank {ranks.rank} of {ranks.world}", found="an executor or cluster", expected="ranks, or it",
                          remedy="Parse on the cluster with 'geoembed build', then embed that store with torchrun.")


@contextmanager
def joined(ranks: Ranks) -> Iterator[Callable[[], None]]:
    """Connects the processes; yields a function that returns when all have called it, or raises where one has ended."""

    def lost(error: RuntimeError) -> StoreError:
        return StoreError(where=f"rank {ranks.rank} of {ranks.world}", found=f"that another rank has ended ({str(error)[:200]})",
                          expected="all of them", remedy="Look at what that one said; the same command goes on where it stopped.")

    def meet() -> None:
        try:
            distributed.barrier()
        except RuntimeError as error:
            raise lost(error) from error

    try:
        distributed.init_process_group("gloo", timeout=_LONG)
    except RuntimeError as error:
        raise lost(error) from error
    try:
        yield meet
    finally:
        distributed.destroy_process_group()


def embed_by_rank(
    ranks: Ranks, given: Sequence[str | Path], out: str | Path, make: Make, parse: Parse, *, limits: Limits,
    columns: ColumnMap | None, progress: Progress | None,
) -> Report:
    """The part of this process of ``embed``; rank 0 gives the report of all, any other that of what the table had before."""
    if is_url(local(out)) and not ranks.one_machine:
        raise ConfigError(where=str(out), found="a URL, and processes on several machines", expected="a folder that all machines share",
                          remedy="Write to a shared folder, and copy the table from there.")
    with joined(ranks) as meet:
        if ranks.rank > 0:
            meet()
            folder = work_folder(out)
            worker = Worker(ranks.rank, ranks.world, folder / RANKS, parse, limits, columns)
            worker.parse()
            meet()
            meet()
            worker.embed(make(VectorTable(folder)), None)
            meet()
            return Report(verb="embedded", records_in=0, done=0, quarantined=[], seconds=0.0)
        with destination(out, TABLE) as folder, locked(folder):
            return _lead(ranks, given, folder, make, parse, limits, columns, progress, meet)


def _lead(
    ranks: Ranks, given: Sequence[str | Path], folder: Path, make: Make, parse: Parse, limits: Limits, columns: ColumnMap | None,
    progress: Progress | None, meet: Callable[[], None],
) -> Report:
    started = time.perf_counter()
    sweep(folder, set(), ())
    table = VectorTable(folder)
    table.flush()
    home = folder / RANKS
    home.mkdir(exist_ok=True)
    chooser = make(table)
    warn_of_others(table, chooser.precision)
    todo = _Todo.of(given, columns, table, chooser.suffix, limits)
    replace_with(home / "parse.json", sealed({"format": 1, "chunks": [[chunk.key, list(chunk.sources)] for chunk in todo.parse]}))
    meet()
    worker = Worker(ranks.rank, ranks.world, home, parse, limits, columns)
    worker.parse()
    meet()
    ready = parsed(home, limits)
    plan = Plan.of([found or ready[key] for key, found in todo.pending.items()], home, chooser)
    there = plan.done(home)
    plan.keep(home)
    meet()
    chooser.settle(plan.failed)
    worker.embed(chooser, progress)
    meet()
    Merge(table, chooser.suffix).all(plan, home)
    table.close()
    shutil.rmtree(home, ignore_errors=True)
    return todo.report(table, started, there, chooser)


@dataclass
class _Todo:
    """What the inputs are: keys of their chunks in order, where pending ones of stores lie, and which have to be parsed."""

    suffix: str
    inputs: Inputs
    order: list[str] = field(default_factory=list)
    pending: dict[str, tuple[Place, ChunkEntry] | None] = field(default_factory=dict)
    parse: list[Chunk] = field(default_factory=list)

    @classmethod
    def of(cls, given: Sequence[str | Path], columns: ColumnMap | None, table: VectorTable, suffix: str, limits: Limits) -> Self:
        stores = [path for path in given if is_store(path)]
        others = [path for path in given if path not in stores]
        todo = cls(suffix, expand(others) if others or not stores else Inputs())

        def new(key: str) -> bool:
            todo.order.append(key)
            rows = table.chunks.get(f"{key}{suffix}")
            return (rows is None or not settled(rows.repeat, limits)) and key not in todo.pending

        for store in stores:
            for entry in open_store(store).chunks:
                if new(entry.key):
                    todo.pending[entry.key] = (("store", str(store)), entry)
        for chunk in chunks_of(todo.inputs.sources, columns):
            if new(chunk.key):
                todo.pending[chunk.key] = None
                todo.parse.append(chunk)
        return todo

    def report(self, table: VectorTable, started: float, there: int, chooser: Chooser) -> Report:
        """What became of every record, of all ranks; ``there``: records that an interrupted run had embedded."""
        rows = [table.chunks[f"{key}{self.suffix}"] for key in self.order]
        refused = table.refused_by_chunk()
        again = sum(table.chunks[f"{key}{self.suffix}"].records_in for key in set(self.pending))
        return Report(
            verb="embedded", records_in=sum(row.records_in for row in rows), done=sum(row.embedded for row in rows),
            quarantined=quarantined(line for row in rows for line in refused.get(row.key, [])), seconds=time.perf_counter() - started,
            resumed=sum(row.records_in for row in rows) - again + there, ignored=dict(self.inputs.ignored),
            encoders={choice.name: choice.state for choice in chooser.chosen.values()},
            backends={"device": str(chooser.device), "precision": chooser.precision, "segment": backends.active()},
        )
