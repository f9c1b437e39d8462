"""Chunks: the units of work. A chunk has a key; the same key means the same graphs, so resuming is skipping."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import fsspec

import geoembed
from geoembed.config import to_json
from geoembed.io.column_map import ColumnMap
from geoembed.io.opener import is_url
from geoembed.store.origin import faults

MAX_FILES, MEAN_FILES = 64, 32
MAX_BYTES = 64 << 20
_SMALL = 1 << 20  # up to here content decides; beyond it size and time of change, as reading twice would cost
_CODE = ("graphs", "io", "ops", "schema", "store")


@dataclass(frozen=True)
class Chunk:
    """Some sources, what their columns mean, and the key that their content, that, the code and the installed readers give."""

    key: str
    sources: tuple[str, ...]
    columns: ColumnMap | None = None


def chunks_of(sources: Sequence[str], columns: ColumnMap | None = None) -> Iterator[Chunk]:
    """Sources in order, cut into chunks of about 32 files or 64 MiB.

    Where a chunk ends depends on the names in it alone: a file that is added or taken away changes its own chunk only.
    """
    group: list[str] = []
    size = 0
    for source in sources:
        weight = _size(source)
        if group and size + weight > MAX_BYTES:
            yield _chunk(group, columns)
            group, size = [], 0
        group.append(source)
        size += weight
        if len(group) == MAX_FILES or zlib.crc32(os.fsencode(os.path.basename(source))) % MEAN_FILES == 0:
            yield _chunk(group, columns)
            group, size = [], 0
    if group:
        yield _chunk(group, columns)


def _chunk(sources: Sequence[str], columns: ColumnMap | None) -> Chunk:
    meaning = [] if columns is None else [to_json(columns)]
    content = json.dumps([code_version(), [[source, fingerprint(source)] for source in sources], *meaning])
    return Chunk(hashlib.sha256(content.encode()).hexdigest()[:32], tuple(sources), columns)


def _size(source: str) -> int:
    try:
        return 0 if is_url(source) else os.stat(source).st_size
    except OSError:
        return 0


def fingerprint(source: str) -> str:
    """What tells whether a source has changed: sha256 of a small file, else size and time of change; for URLs what they say."""
    try:
        if is_url(source):
            system, path = fsspec.core.url_to_fs(source)
            about = system.info(path)
            return "url:" + repr([about.get(name) for name in ("size", "ETag", "etag", "LastModified", "mtime", "md5Hash")])
        state = os.stat(source)
        if os.path.isdir(source):
            return "folder:" + hashlib.sha256("\n".join(_listing(source)).encode("utf-8", "surrogateescape")).hexdigest()
        if state.st_size > _SMALL or not os.path.isfile(source):
            return f"stat:{state.st_size}:{state.st_mtime_ns}"
        return "sha256:" + hashlib.sha256(Path(source).read_bytes()).hexdigest()
    except faults() as error:
        return f"unusable:{type(error).__name__}"


def _listing(folder: str) -> list[str]:
    lines = []
    for place, _, names in os.walk(folder):
        for name in names:
            state = os.stat(os.path.join(place, name), follow_symlinks=False)
            lines.append(f"{os.path.relpath(os.path.join(place, name), folder)}:{state.st_size}:{state.st_mtime_ns}")
    return sorted(lines)


@cache
def code_version() -> str:
    """Hash of the code that makes graphs of files: geoembed's own sources, and name and version of every reader plug-in."""
    digest = hashlib.sha256(geoembed.__version__.encode())
    home = Path(geoembed.__file__).parent
    for path in sorted(path for room in _CODE for path in (home / room).rglob("*.py")):
        digest.update(path.relative_to(home).as_posix().encode() + path.read_bytes())
    for group in ("geoembed.readers", "geoembed.tables"):
        for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)):
            version = entry.dist.version if entry.dist else ""
            digest.update(f"{group}:{entry.name}:{entry.value}:{version}\n".encode())
    return digest.hexdigest()[:16]
