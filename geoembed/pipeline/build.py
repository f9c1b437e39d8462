"""``build``: files become a graph store. ``build_shard`` is the unit of work, and isolates what it reads."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from multiprocessing.util import Finalize
from pathlib import Path

from geoembed.errors import BudgetError, StoreError, UnreadableFileError
from geoembed.io.column_map import ColumnMap, column_map
from geoembed.io.opener import is_url
from geoembed.ops import backends
from geoembed.pipeline.chunks import Chunk, chunks_of
from geoembed.pipeline.cluster import ClusterExecutor, confirm
from geoembed.pipeline.inputs import expand
from geoembed.pipeline.isolate import Death, Isolation
from geoembed.pipeline.report import Limits, Progress, Report, quarantined
from geoembed.pipeline.worker import Guilty, Task, blank, told, write_chunk
from geoembed.store import ChunkEntry
from geoembed.store.atomic import WRITING, locked, sweep
from geoembed.store.manifest import MANIFEST, Journal, refused_in
from geoembed.store.remote import destination

_ALARM = -int(getattr(signal, "SIGALRM", 14))


def build(
    files: str | Path | Sequence[str | Path], out: str | Path, *, workers: int = 1, limits: Limits | None = None,
    progress: Progress | None = None, executor: Executor | None = None, columns: ColumnMap | str | Path | None = None,
) -> Report:
    """Files, folders or URLs -> a graph store in ``out``, complete and resumable; what is broken is quarantined and listed.

    Args:
        files: what to read; folders are walked.
        out: folder of the store, or its fsspec URL (see :mod:`geoembed.store.remote`); a store that is there is added to, and chunks of
            unchanged inputs are not built again.
        workers: parsing processes.
        limits: what one file may cost.
        progress: called after each chunk.
        executor: any ``concurrent.futures.Executor`` to spread chunks over; each of its processes then isolates for itself. Machines
            that do the work must see inputs and ``out`` under the same paths; for Dask see :func:`~geoembed.pipeline.dask_cluster`.
        columns: what the columns of tables of particles mean, as of :func:`geoembed.read`; all files must then be such tables.
    """
    started, given = time.perf_counter(), column_map(columns)
    limits, inputs = limits or Limits(), expand(files)
    entries, resumed = [], 0
    with destination(out, MANIFEST) as folder, locked(folder):
        sweep(folder, set(), ())
        journal = Journal(folder)
        sources = journal.with_neighbors(inputs.sources, lambda source: is_url(source) or os.path.lexists(source))

        def finished(chunk: Chunk) -> ChunkEntry | None:
            entry = journal.finished(chunk.key)
            return entry if entry is not None and settled(entry.repeat, limits) else None

        for entry, fresh in built_chunks(list(chunks_of(sources, given)), folder, finished, limits, workers, executor):
            if fresh:
                journal.add(entry)
            entries.append(entry)
            resumed += 0 if fresh else entry.records_in
            if progress is not None:
                progress(sum(len(done.sources) for done in entries), len(sources), sum(done.records_in for done in entries))
        journal.close(entries)
        bad = quarantined(line for entry in entries for line in refused_in(folder, entry))
    return Report(
        verb="built", records_in=sum(entry.records_in for entry in entries), done=sum(entry.built for entry in entries), quarantined=bad,
        seconds=time.perf_counter() - started, resumed=resumed, ignored=dict(inputs.ignored), backends={"segment": backends.active()},
    )


def settled(repeat: str, limits: Limits) -> bool:
    """Whether a finished chunk need not be built again: nothing was missing, and no limit was reached that is another now."""
    return repeat in ("", f"limits {limits}")


def built_chunks(
    chunks: Sequence[Chunk], folder: Path, finished: Callable[[Chunk], ChunkEntry | None], limits: Limits, workers: int,
    executor: Executor | None,
) -> Iterator[tuple[ChunkEntry, bool]]:
    """(entry, whether it was built now) of each chunk, in order; at most a few chunks are ahead of the consumer."""
    waiting: deque[ChunkEntry | Future[ChunkEntry]] = deque()
    base = Path.cwd()  # relative names mean this folder, also to a process that began in another
    with Isolation(workers) as isolation, ThreadPoolExecutor(workers) as threads:
        try:
            for chunk in chunks:
                known = finished(chunk)
                if known is not None:
                    waiting.append(known)
                elif executor is None:
                    waiting.append(threads.submit(build_shard, chunk, folder, limits, isolation, base))
                else:
                    waiting.append(executor.submit(build_shard, chunk, folder, limits, None, base))
                ahead = executor.width if isinstance(executor, ClusterExecutor) else workers
                while len(waiting) > 2 * ahead + 2:
                    yield _result(waiting.popleft(), None if executor is None else folder)
            while waiting:
                yield _result(waiting.popleft(), None if executor is None else folder)
        finally:
            isolation.stop()
            for future in waiting:
                if isinstance(future, Future):
                    future.cancel()


def _result(waiting: ChunkEntry | Future[ChunkEntry], shared: Path | None) -> tuple[ChunkEntry, bool]:
    if isinstance(waiting, ChunkEntry):
        return waiting, False
    return (waiting.result() if shared is None else confirm(waiting.result(), shared)), True


def build_shard(
    chunk: Chunk, folder: Path, limits: Limits, isolation: Isolation | None = None, base: Path | None = None
) -> ChunkEntry:
    """Read one chunk in a process of its own and write its shards into ``folder``.

    A source that hangs, crashes or is killed loses what follows in it, and nothing else: the chunk is read again without it.
    Relative names are those of the folder ``base``. To build a chunk twice, also at once, is to write the same files twice.
    """
    if base is not None:
        folder = base / folder
        if not folder.is_dir():
            raise StoreError(where=folder, found="no such folder on the machine that does the work", expected="the folder of the store",
                             remedy="Put it on a file system that all machines share.")
    with nullcontext(isolation) if isolation is not None else _own_isolation() as own:
        return _shard(chunk, folder, limits, own, base)


def _shard(chunk: Chunk, folder: Path, limits: Limits, isolation: Isolation, base: Path | None) -> ChunkEntry:
    guilty: dict[int, Guilty] = {}
    acquitted: set[int] = set()
    unexplained = 0
    while unexplained < 3:
        result, (number, records) = _attempt(isolation, chunk, folder, limits, guilty, base)
        if isinstance(result, ChunkEntry):
            return result
        if not 0 <= number < len(chunk.sources):
            unexplained += 1  # it died before or after all reading: no source is to blame
            continue
        if number in guilty:  # it ended sooner than the time before: keep less of it, in the end nothing
            records = min(records, guilty[number].records - 1)
        elif result.exitcode != _ALARM and number not in acquitted and len(chunk.sources) > 1:
            # Once more alone: what died may have been killed from outside, or by what an earlier source left behind.
            acquitted.add(number)
            with tempfile.TemporaryDirectory(prefix="geoembed-") as aside:
                suspect = Chunk(chunk.key, chunk.sources[number : number + 1], chunk.columns)
                alone, (_, records) = _attempt(isolation, suspect, Path(aside), limits, {}, base)
            if isinstance(alone, ChunkEntry):
                continue
            result = alone
        guilty[number] = _verdict(chunk.sources[number], result.exitcode, records, limits)
    raise StoreError(where=folder, found=f"parsing processes that die before or after reading {chunk.sources[0]} …",
                     expected="a result", remedy="Look for a limit on processes, memory or disk, or a plug-in that crashes when imported "
                     "(geoembed doctor); the same command goes on where it stopped.")


_idle: dict[int, list[Isolation]] = {}
_taking = threading.Lock()


@contextmanager
def _own_isolation() -> Iterator[Isolation]:
    """A parsing process for one thread of an outside executor, taken from those that are idle; ended with this process."""
    with _taking:
        idle = _idle.setdefault(os.getpid(), [])  # a forked process must not use its parent's
        isolation = idle.pop() if idle else None
    if isolation is None:
        isolation = Isolation(1)
        Finalize(isolation, isolation.stop, exitpriority=100)  # unlike atexit, it is also called in processes of multiprocessing
    try:
        yield isolation
    finally:
        with _taking:
            idle.append(isolation)


def _attempt(
    isolation: Isolation, chunk: Chunk, folder: Path, limits: Limits, guilty: Mapping[int, Guilty], base: Path | None
) -> tuple[ChunkEntry | Death, tuple[int, int]]:
    """The chunk as shards, or the death of the process; and (number of the source, records had from it) where it was."""
    handle, name = tempfile.mkstemp(prefix=f"{WRITING}place-", dir=folder)
    os.close(handle)
    place = Path(name)
    try:
        blank(place)
        task = Task(folder, chunk.key, chunk.sources, limits, place, os.getpid(), guilty, chunk.columns, base)
        result = isolation.run(write_chunk, task)
        return result, told(place)
    finally:
        place.unlink(missing_ok=True)


def _verdict(source: str, exitcode: int, records: int, limits: Limits) -> Guilty:
    kept = f" after {records} records, which are kept; what follows them was not read" if records else ""
    if exitcode == _ALARM:
        error = BudgetError(where=source, found=f"timeout: no record in {limits.seconds:g} s{kept}", expected="a record in that time",
                            remedy="Raise the time limit, or split the file.")
        return Guilty(records, str(error), "BudgetError")
    how = f" ({signal.Signals(-exitcode).name})" if exitcode < 0 and -exitcode in set(signal.Signals) else ""
    crash = UnreadableFileError(where=source, found=f"that the parsing process crashed with exit code {exitcode}{how}{kept}",
                                expected="a file that a parser survives", remedy="The file is damaged, or needs more memory than there is.")
    return Guilty(records, str(crash), "UnreadableFileError")
