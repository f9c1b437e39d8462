"""``merge``: the graphs of several stores in one, file by file; nothing is built again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from geoembed.errors import StoreError
from geoembed.store.atomic import WRITING, locked, publish, sha256_of, sweep
from geoembed.store.entries import ChunkEntry
from geoembed.store.manifest import MANIFEST, Journal, Store, open_store
from geoembed.store.origin import fetch
from geoembed.store.remote import destination


def merge(stores: Sequence[Store | str | Path], out: str | Path) -> Store:
    """All chunks of ``stores`` in the store ``out``, after what it holds already; each chunk once, whoever has it.

    Files are copied and checked; the stores stay as they are. An interrupted merge goes on where it stopped. Two stores that hold
    a source in different chunks (an older state of the file, other settings, other neighbors) would give its records twice: a
    :class:`StoreError` names it, before anything is copied.
    """
    opened = [store if isinstance(store, Store) else open_store(store) for store in stores]
    with destination(out, MANIFEST) as folder, locked(folder):
        sweep(folder, set(), ())
        journal = Journal(folder)
        _refuse_conflicts([Store(folder, journal.chunks), *opened])
        kept = {chunk.key: chunk for chunk in journal.chunks}
        for store in opened:
            for chunk in store.chunks:
                if journal.finished(chunk.key) is None:
                    for name, digest in chunk.files.items():
                        _copy(store.folder / name, folder / name, digest)
                    journal.add(chunk)
                kept.setdefault(chunk.key, chunk)
        journal.close(list(kept.values()))
    return open_store(out)


def _refuse_conflicts(stores: Sequence[Store]) -> None:
    holder: dict[str, tuple[ChunkEntry, Path]] = {}
    for store in stores:
        for chunk in store.chunks:
            for source in chunk.sources:
                other, place = holder.setdefault(source, (chunk, store.folder))
                if other.key != chunk.key:
                    raise StoreError(where=store.folder, found=f"{source} in another chunk than in {place}", expected="one state of it",
                                     remedy="Build it again into one of the stores, or merge stores of different files.")


def _copy(source: Path, target: Path, digest: str) -> None:
    """Copy a file of a store under its name, whole or not at all; one that is damaged is a :class:`StoreError`."""
    if target.is_file() and sha256_of(target) == digest:
        return
    fetch(source, digest)
    spool = target.with_name(f"{WRITING}{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(source, spool)
        with open(spool, "rb") as file:
            os.fsync(file.fileno())
        found = sha256_of(spool)
        if found != digest:
            raise StoreError(where=source, found=f"sha256 {found[:12]}…", expected=f"{digest[:12]}…, as listed",
                             remedy="The file is damaged: run 'geoembed verify' and build that store again.")
        publish(spool, target)
    except OSError as error:
        raise StoreError(where=source, found=error.strerror or str(error), expected="a file that can be copied",
                         remedy="Run 'geoembed verify' on that store, or free space; the same command goes on where it stopped.") from error
    finally:
        spool.unlink(missing_ok=True)
