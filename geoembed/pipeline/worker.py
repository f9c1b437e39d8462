"""The parsing process: files of one chunk become shards here, under a time and a memory limit that the system enforces."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from geoembed.errors import BudgetError, GeoembedError, StoreError
from geoembed.graphs.blocks import Block
from geoembed.io.column_map import ColumnMap
from geoembed.io.reader import Item, Parsed, built_together, readers, stream_blocks
from geoembed.io.record import Quarantined
from geoembed.pipeline.inputs import unusable
from geoembed.pipeline.report import Limits
from geoembed.schema import Graph
from geoembed.store import ChunkEntry, Refused, ShardWriter

_PLACE = struct.Struct("<qq")  # number of the source that is being read, records had from it
_EXITED = 70
TOGETHER = 64
"""Records built at once: enough to share the cost of a call, few enough to stay small."""


@dataclass(frozen=True)
class Guilty:
    """A source that ended a process: the records before that moment are kept, then this is written."""

    records: int
    reason: str
    error: str


@dataclass(frozen=True)
class Task:
    """One chunk for one process.

    Attributes:
        folder: where its shards go.
        key: of the chunk.
        sources: what to read, in order.
        limits: of each source.
        place: file that tells the parent where the process is, should it die.
        parent: process that waits for the result.
        guilty: sources that ended an earlier process, by number.
        columns: what the columns of tables of particles mean; None to go by their names.
        base: folder that relative names mean; None for that in which the process began.
    """

    folder: Path
    key: str
    sources: tuple[str, ...]
    limits: Limits
    place: Path
    parent: int
    guilty: Mapping[int, Guilty] = field(default_factory=dict)
    columns: ColumnMap | None = None
    base: Path | None = None


def begin(scratch: str, environment: Mapping[str, str]) -> None:
    """Set up a fresh parsing process: one thread, its own folder for spooled files, nothing on stdout, its parent's environment.

    The process that workers are forked from has that of its start; credentials for URLs may have come since.
    """
    os.environ.update(environment)
    torch.set_num_threads(1)
    tempfile.tempdir = scratch
    os.dup2(2, 1)  # what libraries print must not end up in somebody's JSON
    warnings.simplefilter("ignore")  # what matters in them, readers put into the notes
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def write_chunk(task: Task) -> ChunkEntry:
    """Read the sources of a task and write their records as shards; every record is built or quarantined."""
    if task.base is not None:
        _enter(task.base)
    readers()  # plug-ins are imported before the clock runs
    writer = ShardWriter(task.folder, task.key)
    repeat = ""
    for item in _built(_everything(task)):
        refused = _add(writer, item, task.limits)
        if refused and refused.error == "MissingExtraError":
            repeat = "a library was missing"
        elif refused and refused.stage == "limit" and not repeat:
            repeat = f"limits {task.limits}"
    _tell(task.place, len(task.sources), 0)
    shards = writer.close()
    return ChunkEntry(
        key=task.key, sources=list(task.sources), records_in=writer.records_in, built=writer.built,
        quarantined=writer.records_in - writer.built, shards=shards, topologies=writer.topologies, repeat=repeat,
    )


def _enter(base: Path) -> None:
    try:
        os.chdir(base)
    except OSError as error:
        raise StoreError(where=base, found=f"{error.strerror or error} on the machine that does the work", expected="a folder of all",
                         remedy="Give absolute paths from a folder that all machines share.") from error


def _everything(task: Task) -> Iterator[Item | Block | Parsed]:
    """The items of all sources, in order."""
    for number, source in enumerate(task.sources):
        if not _alive(task.parent):
            os._exit(0)  # nobody waits: the command was killed
        yield from _records(task, number, source)


def _built(items: Iterator[Item | Block | Parsed]) -> Iterator[Item | Block]:
    """The same records in the same order; those that can be are built together, also across files."""
    waiting: list[Parsed] = []
    for item in items:
        if waiting and not (isinstance(item, Parsed) and item.joins(waiting[0]) and len(waiting) < TOGETHER):
            yield from built_together(waiting)
            waiting = []
        if isinstance(item, Parsed):
            waiting.append(item)
        else:
            yield item
    yield from built_together(waiting)


def _records(task: Task, number: int, source: str) -> Iterator[Item | Block | Parsed]:
    """The items of one source; the clock runs, and memory is limited, only while the source's reader works."""
    if (error := unusable(source)) is not None:
        yield Quarantined(source, "", "open", str(error), type(error).__name__), error
        return
    guilty = task.guilty.get(number)
    items = _limited(stream_blocks(source, task.columns), task, number)
    count = 0
    for item in items if guilty is None else _first(items, guilty.records):
        yield item
        count += records_of(item)
    if guilty is not None:
        yield Quarantined(source, "", "limit", guilty.reason, guilty.error), GeoembedError(where=source, found="", expected="", remedy="")
    elif count == 0:
        empty = f"{source}: found no records; expected at least one. Check that the file has content of its kind."
        yield Quarantined(source, "", "read", empty, "EmptyGraphError"), GeoembedError(where=source, found="", expected="", remedy="")


def records_of(item: Item | Block | Parsed) -> int:
    """How many records an item of a stream stands for."""
    return len(item) if isinstance(item, Block) else 1


def _first(items: Iterator[Item | Block | Parsed], records: int) -> Iterator[Item | Block | Parsed]:
    """The first ``records`` records; nothing beyond them is asked for."""
    while records > 0 and (item := next(items, None)) is not None:
        yield item.cut(0, records) if isinstance(item, Block) and len(item) > records else item
        records -= records_of(item)


def _limited(items: Iterator[Item | Block | Parsed], task: Task, number: int) -> Iterator[Item | Block | Parsed]:
    allowed = _allowance(task.limits.memory_gib)
    count = 0
    while True:
        _tell(task.place, number, count)
        with _limits(task.limits.seconds, allowed):
            item = next(items, None)
        if item is None:
            return
        yield item
        count += records_of(item)


def _add(writer: ShardWriter, item: Item | Block, limits: Limits) -> Refused | None:
    """Store one item; returns the quarantine where there is one."""
    if isinstance(item, Block):
        writer.add_block(item)
        return None
    if isinstance(item, Graph):
        try:
            writer.add(item)
            return None
        except GeoembedError as error:
            refused = Refused(item.source, item.record, "graph", str(error), type(error).__name__)
    else:
        bad, _ = item
        refused = Refused(bad.source, bad.record, bad.stage, bad.reason, bad.error)
        if "MemoryError" in bad.error or "allocate memory" in bad.reason:
            refused = Refused(bad.source, bad.record, "limit", _out_of_memory(bad, limits), "BudgetError")
    writer.refuse(refused)
    return refused


def _out_of_memory(bad: Quarantined, limits: Limits) -> str:
    where = f"{bad.source} [{bad.record}]" if bad.record else bad.source
    return str(BudgetError(where=where, found="out of memory (MemoryError while parsing)", expected=f"at most {limits.memory_gib:g} GiB",
                           remedy="Raise the memory limit, or split the file."))


@contextmanager
def _limits(seconds: float, memory: int | None) -> Iterator[None]:
    """End this process by SIGALRM after ``seconds``, and let allocations fail beyond ``memory`` bytes of data.

    Both are done by the system, whatever the parser is caught in. Where it cannot (Windows, macOS), only a crash is contained.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)
    before = _set_memory(memory)
    try:
        yield
    except SystemExit:
        os._exit(_EXITED)  # a parser that ends the program is one that crashed
    finally:
        _set_memory(before)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)


def _allowance(gib: float) -> int | None:
    """Bytes of data that this process may have: what it has now and ``gib`` more; None where the system does not count them."""
    if not sys.platform.startswith("linux"):
        return None
    with open("/proc/self/statm") as file:
        return int(file.read().split()[5]) * mmap.PAGESIZE + int(gib * 2**30)


def _set_memory(limit: int | None) -> int | None:
    """Set the soft limit of data [bytes] and return the one before."""
    if limit is None:
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    return soft


def _tell(place: Path, number: int, records: int) -> None:
    """Leave word where we are; a write to a mapped page survives the death of the process and costs no system call."""
    page = _pages.get(place)
    if page is None:
        _pages.clear()
        with open(place, "r+b") as file:
            page = _pages[place] = mmap.mmap(file.fileno(), _PLACE.size)
    _PLACE.pack_into(page, 0, number, records)


_pages: dict[Path, mmap.mmap] = {}


def blank(place: Path) -> None:
    """Make the file that :func:`_tell` writes to: before the first source."""
    place.write_bytes(_PLACE.pack(-1, 0))


def told(place: Path) -> tuple[int, int]:
    """(number of the source, records had from it) where a process was when it died; -1 before the first."""
    number, records = _PLACE.unpack(place.read_bytes())
    return int(number), int(records)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
