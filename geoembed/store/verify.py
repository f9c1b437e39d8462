"""``verify``: does a store or table still hold what its list says, byte for byte and count for count."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from geoembed.errors import StoreError
from geoembed.store.atomic import WRITING, sha256_of, unsealed
from geoembed.store.entries import ChunkEntry
from geoembed.store.manifest import JOURNAL, MANIFEST, open_store, shards_of
from geoembed.store.origin import is_url, local
from geoembed.store.remote import whole_copy
from geoembed.store.shards import Shard
from geoembed.store.table import open_table
from geoembed.store.table_list import TABLE
from geoembed.store.weights import weights_id
from geoembed.store.writer import READABLE


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be."""

    file: str
    found: str
    expected: str


def verify(folder: str | Path) -> list[Finding]:
    """Everything that is wrong with a graph store or vector table, each file named; empty where all is well.

    What lies at a URL is copied for that, all of it.
    Raises :class:`StoreError` where the folder is neither, or its own list cannot be trusted any more.
    """
    if is_url(local(folder)):
        with whole_copy(str(folder)) as copy:
            if not (copy / TABLE).is_file() and not (copy / MANIFEST).is_file():
                raise StoreError(where=folder, found=f"no {MANIFEST} or {TABLE}", expected="a store or table", remedy="Check the address.")
            return verify(copy)
    path = Path(local(folder))
    if (path / TABLE).is_file():
        return _verify_table(path)
    return _verify_store(path)


def _verify_store(folder: Path) -> list[Finding]:
    store = open_store(folder)
    findings = _files(folder, store.files(), ("shard-", "topology-"))
    damaged = {finding.file for finding in findings}
    document = unsealed(folder / MANIFEST, READABLE)
    for name in ("records_in", "built", "quarantined"):
        if document[name] != getattr(store, name):
            findings.append(Finding(MANIFEST, f"{name} {document[name]}", f"{getattr(store, name)}, the sum over its chunks"))
    for chunk in store.chunks:
        if chunk.records_in != chunk.built + chunk.quarantined:
            found = f"chunk {chunk.key}: {chunk.records_in} records"
            findings.append(Finding(MANIFEST, found, f"{chunk.built} + {chunk.quarantined}"))
        if damaged.isdisjoint(chunk.files):
            findings += _counts(folder, chunk)
    if (folder / JOURNAL).exists():
        findings.append(Finding(JOURNAL, "an interrupted build", "none: run the same 'geoembed build' again"))
    return findings


def _counts(folder: Path, chunk: ChunkEntry) -> list[Finding]:
    """The counts of a chunk against the content of its shards."""
    findings, built, refused = [], 0, 0
    for shard in shards_of(folder, chunk):
        refused += len(shard.refused())
        if not len(shard):
            continue
        built += len(shard.provenance(0, len(shard)))
        findings += [Finding(f"{shard.entry.stem}.safetensors", found, expected) for found, expected in _ptr(shard)]
    for name, found, expected in (("built", built, chunk.built), ("quarantined", refused, chunk.quarantined)):
        if found != expected:
            findings.append(Finding(MANIFEST, f"chunk {chunk.key}: {name} {expected}", f"{found}, as its shards list"))
    return findings


def _ptr(shard: Shard) -> list[tuple[str, str]]:
    wrong = []
    for level, total in (("node", shard.entry.nodes), ("edge", shard.entry.edges)):
        ptr = shard.tensors[f"ptr.{level}"]
        if len(ptr) != len(shard) + 1 or int(ptr[-1]) != total or bool((torch.diff(ptr) < 0).any()):
            wrong.append((f"{len(ptr) - 1} graphs, {int(ptr[-1])} {level}s", f"{len(shard)} graphs, {total} {level}s"))
    return wrong


def _verify_table(folder: Path) -> list[Finding]:
    table = open_table(folder)
    findings = _files(folder, table.files(), ("part-", "quarantine-"))
    damaged = {finding.file for finding in findings}
    for part in table.parts:
        if part.file not in damaged and (rows := table.rows_in(part)) != part.rows:
            findings.append(Finding(part.file, f"{rows} rows", f"{part.rows} rows"))
    for name, weights in table.encoders().items():
        if name and (table.folder / "encoders").is_dir():  # rows that were appended by hand need no saved encoder
            findings += _encoder(table.encoder_folder(name), weights)
    return findings


def _encoder(folder: Path, weights: str) -> list[Finding]:
    """Whether the saved encoder is the one that made the rows: a query is embedded by it."""
    try:
        found = weights_id(folder)
    except StoreError as error:
        return [Finding(f"encoders/{folder.name}", str(error.found), f"weights {weights}")]
    return [] if found == weights else [Finding(f"encoders/{folder.name}", f"weights {found}", f"weights {weights}, which made the rows")]


def _files(folder: Path, files: dict[str, str], prefixes: tuple[str, ...]) -> list[Finding]:
    findings = []
    for name, digest in sorted(files.items()):
        path = folder / name
        if not path.is_file():
            findings.append(Finding(name, "no such file", f"sha256 {digest[:12]}…"))
        elif (found := sha256_of(path)) != digest:
            other = next((other for other, known in files.items() if known == found), None)
            content = f"the content of {other}" if other else f"sha256 {found[:12]}…"
            findings.append(Finding(name, content, f"sha256 {digest[:12]}…"))
    with os.scandir(folder) as entries:
        present = sorted(entry.name for entry in entries)
    stray = [name for name in present if name.startswith(WRITING) or (name.startswith(prefixes) and name not in files)]
    return findings + [Finding(name, "a left-over that nothing lists", "nothing: the next build removes it") for name in stray]
