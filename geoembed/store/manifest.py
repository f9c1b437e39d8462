"""The manifest of a graph store: what it holds, of which inputs, with which checksums; the journal makes it resumable."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from geoembed.errors import StoreError
from geoembed.store.atomic import replace_with, sealed, sweep, unsealed
from geoembed.store.entries import ChunkEntry
from geoembed.store.lines import Refused
from geoembed.store.origin import called, is_listed, local, local_copy, there
from geoembed.store.shards import Shard
from geoembed.store.writer import FORMAT, READABLE

MANIFEST, JOURNAL = "manifest.json", "journal.jsonl"
_PREFIXES = ("shard-", "topology-")


class Store:
    """A finished graph store.

    Attributes:
        folder: where it lies.
        chunks: its units of work, in input order.
    """

    def __init__(self, folder: Path, chunks: Sequence[ChunkEntry]) -> None:
        self.folder, self.chunks = folder, list(chunks)

    @property
    def records_in(self) -> int:
        """Records met in all inputs; always ``built`` + ``quarantined``."""
        return sum(chunk.records_in for chunk in self.chunks)

    @property
    def built(self) -> int:
        """Graphs in the store."""
        return sum(chunk.built for chunk in self.chunks)

    @property
    def quarantined(self) -> int:
        """Records left out."""
        return sum(chunk.quarantined for chunk in self.chunks)

    @property
    def kinds(self) -> list[str]:
        """Kinds of its graphs, sorted."""
        return sorted({shard.kind for chunk in self.chunks for shard in chunk.shards if shard.graphs})

    @property
    def modalities(self) -> list[str]:
        """Modalities of its graphs, sorted."""
        return sorted({shard.modality for chunk in self.chunks for shard in chunk.shards if shard.graphs})

    def shards(self) -> list[Shard]:
        """The shards that hold graphs, in input order."""
        return [shard for chunk in self.chunks for shard in shards_of(self.folder, chunk) if len(shard)]

    def refused(self) -> list[Refused]:
        """Every quarantined record, in input order."""
        return [line for chunk in self.chunks for line in refused_in(self.folder, chunk)]

    def files(self) -> dict[str, str]:
        """Every file of the store with its sha256."""
        return {name: digest for chunk in self.chunks for name, digest in chunk.files.items()}

    def __len__(self) -> int:
        return self.built

    def __repr__(self) -> str:
        return f"Store({called(self.folder)}: {self.built} graphs ({', '.join(self.modalities)}), {self.quarantined} quarantined)"


def shards_of(folder: Path, chunk: ChunkEntry) -> list[Shard]:
    """The shards of a chunk, those without graphs included."""
    return [Shard(folder, entry, chunk.topologies) for entry in chunk.shards]


def refused_in(folder: Path, chunk: ChunkEntry) -> list[Refused]:
    """The quarantined records of a chunk; files are read only where there are some."""
    return [line for shard in shards_of(folder, chunk) for line in shard.refused()] if chunk.quarantined else []


def open_store(folder: str | Path) -> Store:
    """The store in a folder or at an fsspec URL, of which files are copied when they are asked for.

    :class:`StoreError` where it is absent, unfinished, edited or of another format.
    """
    place = local_copy(folder, MANIFEST)
    path = place / MANIFEST
    if not path.is_file():
        if (place / JOURNAL).exists():
            raise StoreError(where=folder, found="an unfinished store", expected="a finished one",
                             remedy="Run the same 'geoembed build' again: it goes on where it stopped.")
        raise StoreError(where=folder, found=f"no {MANIFEST}", expected="a graph store",
                         remedy="Make one with 'geoembed build FILES… -o STORE'.")
    return Store(place, _chunks(path))


def is_store(folder: str | Path) -> bool:
    """Whether ``folder`` (or URL) is a graph store of geoembed, finished or not; other folders may hold a ``manifest.json`` too."""
    place = Path(local(folder))
    return ((place / JOURNAL).is_file() and (place / ".lock").exists()) or is_listed(folder, MANIFEST, "kinds")


class Journal:
    """What is finished so far, one line a chunk; survives a kill at any moment. Used by the one writer that holds the lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / JOURNAL
        finished = _chunks(folder / MANIFEST) if (folder / MANIFEST).is_file() else []
        self._known = {chunk.key: chunk for chunk in [*finished, *_journaled(self._path)]}
        self._there = there(folder)

    @property
    def chunks(self) -> list[ChunkEntry]:
        """Every chunk that is finished, those of an interrupted writer included."""
        return list(self._known.values())

    def finished(self, key: str) -> ChunkEntry | None:
        """The chunk of this key if it is finished and all its files are here, or at the URL to which the store goes."""
        chunk = self._known.get(key)
        if chunk is None:
            return None
        present = (self._there.get(name) == digest or (self.folder / name).is_file() for name, digest in chunk.files.items())
        return chunk if all(present) else None

    def with_neighbors(self, sources: Sequence[str], exists: Callable[[str], bool]) -> list[str]:
        """``sources`` and what shares a chunk with them in the store and still exists: to replace a chunk is to build all of it."""
        current = set(sources)
        chunk_of = {source: chunk for chunk in self._known.values() for source in chunk.sources}
        placed: dict[str, None] = {}
        for source in sources:
            chunk = chunk_of.get(source)
            whole = chunk is None or current.issuperset(chunk.sources)
            for name in [source] if chunk is None or whole else [*filter(exists, chunk.sources), source]:
                placed[name] = None
        return list(placed)

    def add(self, chunk: ChunkEntry) -> None:
        """Record a finished chunk, durably."""
        self._known[chunk.key] = chunk
        with open(self._path, "a+b") as file:
            if file.tell() and not _ends_whole(self._path):
                file.write(b"\n")  # the line that a kill tore stays a line of its own
            file.write(json.dumps(chunk.to_dict()).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def close(self, current: Sequence[ChunkEntry]) -> Store:
        """Write the manifest: the chunks of this run, and those of earlier runs that hold none of its inputs."""
        keys = {chunk.key for chunk in current}
        sources = {source for chunk in current for source in chunk.sources}
        kept = [chunk for key, chunk in self._known.items() if key not in keys and sources.isdisjoint(chunk.sources)]
        store = Store(self.folder, [*kept, *current])
        replace_with(self.folder / MANIFEST, sealed({
            "format": FORMAT, "kinds": store.kinds, "modalities": store.modalities, "records_in": store.records_in,
            "built": store.built, "quarantined": store.quarantined, "chunks": [chunk.to_dict() for chunk in store.chunks],
        }))
        self._path.unlink(missing_ok=True)
        sweep(self.folder, set(store.files()), _PREFIXES)
        return store


def _ends_whole(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _chunks(path: Path) -> list[ChunkEntry]:
    document = unsealed(path, READABLE)
    try:
        return [ChunkEntry.from_dict(chunk) for chunk in document["chunks"]]
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(where=path, found=f"an entry that is not one of a store ({error})", expected=f"an entry of format {FORMAT}",
                         remedy="Build the store again.") from error


def _journaled(path: Path) -> Iterable[ChunkEntry]:
    if not path.is_file():
        return
    for line in path.read_bytes().splitlines():
        try:
            yield ChunkEntry.from_dict(json.loads(line))
        except (ValueError, TypeError):
            continue  # torn by a kill: its chunk is not finished

