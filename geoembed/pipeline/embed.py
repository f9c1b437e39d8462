"""``embed``: files, or a store, become rows of a vector table; memory stays flat and a killed run goes on where it stopped."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from geoembed.encoders import Encoder
from geoembed.io.column_map import ColumnMap, column_map
from geoembed.ops import backends
from geoembed.pipeline.build import built_chunks, settled
from geoembed.pipeline.choose import Chooser
from geoembed.pipeline.chunks import Chunk, chunks_of
from geoembed.pipeline.flow import Flow
from geoembed.pipeline.inputs import Inputs, expand
from geoembed.pipeline.precision import warn_of_others
from geoembed.pipeline.ranks import RANKS, Ranks, embed_by_rank, refuse_cluster
from geoembed.pipeline.report import Limits, Progress, Report, quarantined
from geoembed.pipeline.run import Run, listed
from geoembed.store import Budget, ChunkEntry, is_store, open_store
from geoembed.store.atomic import WRITING, locked, sweep
from geoembed.store.columns import ListedShard
from geoembed.store.entries import ChunkRows
from geoembed.store.opening import Opening
from geoembed.store.remote import destination
from geoembed.store.row_table import RowTable
from geoembed.store.table_list import TABLE

Done = Callable[[str], ChunkRows | None]


def embed(
    files: str | Path | Sequence[str | Path], encoder: Encoder[Any] | str | None = None, weights: str | Path | None = None,
    out: str | Path = "table", *, workers: int = 1, limits: Limits | None = None, progress: Progress | None = None,
    device: str | None = None, budget: Budget | None = None, executor: Executor | None = None,
    columns: ColumnMap | str | Path | None = None, ranks: Ranks | None = None, precision: str = "fp32",
) -> Report:
    """Files, folders, URLs or graph stores -> rows of the vector table ``out``; what is broken is quarantined and listed.

    Args:
        files: what to embed; inputs that the table holds already are not read again.
        encoder: an encoder, a registered name, or None: each sort of graphs then gets the encoder of its modality, the one saved in
            the table where it has one, else an untrained one with the statistics of the first 64 graphs.
        weights: name or folder of saved weights.
        out: folder of the table, or its fsspec URL (see :mod:`geoembed.store.remote`); it is added to.
        workers: parsing processes.
        limits: what one file may cost.
        progress: called after each chunk.
        device: where the encoder runs; None for a GPU where there is one.
        budget: nodes, edges and graphs of a batch; None for one that suits the device (on a GPU, the fastest that is found).
        executor: spreads the parsing, as in :func:`build`; the encoder runs here.
        columns: what the columns of tables of particles mean, as in :func:`build`.
        ranks: which of several processes this is, see :mod:`geoembed.pipeline.ranks`; all of them make the same call.
        precision: ``fp32``, ``tf32`` or ``bf16``, see :data:`geoembed.pipeline.precision.Precision`. The table keeps which rows were
            made in which; the same inputs in another precision replace theirs.
    """
    started, meaning = time.perf_counter(), column_map(columns)
    limits = limits or Limits()
    given = [files] if isinstance(files, (str, Path)) else list(files)
    if ranks is not None:
        refuse_cluster(ranks, executor)
        return embed_by_rank(
            ranks, given, out, lambda table: Chooser(table, encoder, weights, ranks.device(device), budget, precision),
            lambda chunks, folder, finished: built_chunks(chunks, folder, finished, limits, workers, executor),
            limits=limits, columns=meaning, progress=progress,
        )
    stores = [path for path in given if is_store(path)]
    others = [path for path in given if not is_store(path)]
    inputs = expand(others) if others or not stores else Inputs()
    with destination(out, TABLE) as folder, locked(folder):
        sweep(folder, set(), ())
        table = RowTable(folder)
        table.flush()
        scratch = Path(tempfile.mkdtemp(prefix=f"{WRITING}graphs-", dir=folder))
        try:
            chooser = Chooser(table, encoder, weights, device, budget, precision)
            warn_of_others(table, chooser.precision)

            def done(key: str) -> ChunkRows | None:
                rows = table.chunks.get(f"{key}{chooser.suffix}")
                return rows if rows is not None and settled(rows.repeat, limits) else None

            units = [unit for store in stores for unit in _stored(store, done)]
            total = len(inputs.sources) + sum(len(unit.entry.sources) for unit in units)
            coming = (shard for unit in units for shard in unit.shards or ())
            with _threads(workers if inputs.sources and executor is None else 0), Opening(coming), Flow() as flow:
                run = Run(table, chooser, flow)
                for unit in chain(units, _parsed(list(chunks_of(inputs.sources, meaning)), scratch, done, limits, workers, executor)):
                    run.add(unit.entry, unit.folder, unit.rows, unit.temporary, unit.shards)
                    if progress is not None:
                        progress(run.sources, total, run.records_in)
                run.commit()
                run.settle()
            table.close()
        finally:
            table.abandon()
            _remove_folders(folder)
    return Report(
        verb="embedded", records_in=run.records_in, done=run.embedded, quarantined=quarantined(run.refused),
        seconds=time.perf_counter() - started, resumed=run.resumed, ignored=dict(inputs.ignored),
        encoders={choice.name: choice.state for choice in chooser.chosen.values()},
        backends={"device": str(chooser.device), "precision": chooser.precision, "segment": backends.active()},
    )


@contextmanager
def _threads(workers: int) -> Iterator[None]:
    """Leave the parsing processes a core each: an encoder whose threads wait for theirs is slower than one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(min(threads, max(1, (os.cpu_count() or 1) - workers)))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class _Unit:
    """A chunk of inputs and where its shards are; ``rows``: what the table has of it already; ``shards`` are to be opened ahead."""

    entry: ChunkEntry
    folder: Path
    rows: ChunkRows | None = None
    temporary: bool = False
    shards: Sequence[ListedShard] | None = None


def _stored(folder: str | Path, done: Done) -> Iterator[_Unit]:
    """The chunks of a store."""
    store = open_store(folder)
    for entry in store.chunks:
        rows = done(entry.key)
        yield _Unit(entry, store.folder, rows, shards=listed(store.folder, entry) if rows is None else None)


def _parsed(
    chunks: list[Chunk], scratch: Path, done: Done, limits: Limits, workers: int, executor: Executor | None
) -> Iterator[_Unit]:
    """The chunks of files, parsed into a scratch folder; those that the table has come without shards."""

    def finished(chunk: Chunk) -> ChunkEntry | None:
        rows = done(chunk.key)
        if rows is None:
            return None
        return ChunkEntry(key=chunk.key, sources=list(chunk.sources), records_in=rows.records_in, built=rows.embedded,
                          quarantined=rows.records_in - rows.embedded, shards=[])

    for entry, fresh in built_chunks(chunks, scratch, finished, limits, workers, executor):
        yield _Unit(entry, scratch, None if fresh else done(entry.key), temporary=True)


def _remove_folders(folder: Path) -> None:
    for path in [*folder.glob(f"{WRITING}*"), folder / RANKS]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
