"""Stores and tables at fsspec URLs: read through a copy on this machine, written on this machine and then uploaded.

A reader sees the state before or after a command, never one between: files go first, and the list that names them is replaced last, in
one request where the protocol has such (object stores do). Files that the list names no more are removed after that. (Encoders, and a
chunk that is built again under its old name, because a library was missing or a limit was reached, are sent just before the list.)

One command at a time should write to a URL. On one machine a lock sees to that. Between machines there is none: a command that
finds another list than at its start, when it is about to replace it, ends with a :class:`StoreError` and changes nothing; two that do
so within the same moment are not kept apart.

What is finished stays on this machine until all of it has arrived, so that the same command goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from geoembed.errors import StoreError
from geoembed.store.atomic import WRITING, locked, replace_with, sha256_of
from geoembed.store.manifest import MANIFEST, open_store
from geoembed.store.origin import KEPT, ORIGIN, THERE, RemoteFolder, drop_unlisted, fetch, is_url, local, local_copy, mark, place_of
from geoembed.store.table_list import TABLE, read_list
from geoembed.store.weights import weights_id

log = logging.getLogger("geoembed")
_ENCODER = ("config.json", "model.safetensors", "fits.json")
_AT_ONCE = 8


@dataclass
class _State:
    """What is known of a URL that is being written to.

    Attributes:
        base: sha256 of the list that was there when the work began; of nothing where there was none.
        there: files that are at the URL, with their sha256.
    """

    base: str
    there: dict[str, str] = field(default_factory=dict)

    def keep(self, work: Path) -> None:
        """Write it down; the journal of a store takes from it what need not be built again."""
        replace_with(work / THERE, json.dumps({"base": self.base, "there": self.there}).encode())

    @classmethod
    def of(cls, work: Path) -> _State | None:
        """What was written down, if anything was."""
        try:
            return cls(**json.loads((work / THERE).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None


@contextmanager
def destination(out: str | Path, name: str) -> Iterator[Path]:
    """The folder in which to write a store or table whose list is called ``name``; for a URL one of this machine.

    It then holds what the URL has, or what an interrupted command left, and at the end of the block what is new is uploaded.
    """
    if not is_url(local(out)):
        yield Path(local(out))
        return
    remote = RemoteFolder(str(out))
    place = place_of(remote.url)
    with locked(place):
        work = place / "work"
        state = _prepared(remote, work, name)
        yield work
        _upload(remote, work, name, state)
        _settle(work, place / "copy", name, remote.url)


def work_folder(out: str | Path) -> Path:
    """The folder that :func:`destination` gives, for another process of the same command on this machine."""
    place = local(out)
    return place_of(str(place)) / "work" if is_url(place) else Path(place)


def _prepared(remote: RemoteFolder, work: Path, name: str) -> _State:
    content, listing = remote.read(name), remote.sizes()
    base = _hash(content)
    state = _State.of(work)
    if state is None or state.base != base:  # nothing to go on with, or it was based on what is no more
        shutil.rmtree(work, ignore_errors=True)
        mark(work, remote.url, "work")
        state = _State(base)
        if content is not None:
            replace_with(work / name, content)
            state.there = _files(work, name)
            if name == TABLE:  # rows that make way, and small parts that become one, need all of it
                fetch_table(work)
                state.there |= _encoder_files(work)
    state.there = {file: digest for file, digest in state.there.items() if file in listing}
    state.keep(work)
    return state


def _upload(remote: RemoteFolder, work: Path, name: str, state: _State) -> None:
    files = _files(work, name) | (_encoder_files(work) if name == TABLE else {})
    listing = remote.sizes()
    new = [file for file, digest in files.items() if state.there.get(file) != digest or file not in listing]
    late = [file for file in new if file in listing or not file.startswith(KEPT)]  # it may be another writer's under the same name
    try:
        _put_all(remote, work, [file for file in new if file not in late], files, state)
        _refuse_other(remote, name, state.base)
        _put_all(remote, work, late, files, state)
    finally:
        state.keep(work)
    listing = remote.sizes()
    for file in new:
        if listing.get(file) != (size := (work / file).stat().st_size):
            raise StoreError(where=f"{remote.url}/{file}", found=f"{listing.get(file, 'no')} bytes", expected=f"{size}, as were sent",
                             remedy="Run the same command again: it sends what is missing.")
    content = (work / name).read_bytes()
    if _hash(content) != state.base:
        remote.put(work / name, name)
        _refuse_other(remote, name, _hash(content))
    _sweep(remote, [file for file in listing if file.startswith(KEPT) and file not in files])


def _put_all(remote: RemoteFolder, work: Path, names: list[str], files: Mapping[str, str], state: _State) -> None:
    def put(file: str) -> None:
        if not (work / file).is_file():
            raise StoreError(where=f"{remote.url}/{file}", found="that it was removed by another", expected="a file of the store or table",
                             remedy="Run the same command again: it makes it anew.")
        remote.put(work / file, file)
        state.there[file] = files[file]

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for _ in pool.map(put, names):
                pass
        except StoreError:
            pool.shutdown(cancel_futures=True)
            raise


def _refuse_other(remote: RemoteFolder, name: str, expected: str) -> None:
    if _hash(remote.read(name)) != expected:
        raise StoreError(where=f"{remote.url}/{name}", found="what another writer has put there since", expected="the list of the start",
                         remedy="Run the same command again when the other has ended: it begins with what is there then.")


def _sweep(remote: RemoteFolder, names: list[str]) -> None:
    """Remove what is listed no more; a failure harms nobody."""
    if names:
        try:
            remote.remove(names)
        except StoreError as error:
            log.warning("files of an earlier state stay: %s", error)


def _settle(work: Path, copy: Path, name: str, url: str) -> None:
    """What has arrived becomes the copy that is read."""
    mark(copy, url, "copy")
    encoders = list(_encoder_files(work)) if name == TABLE else []
    for file in [*_files(work, name), *encoders, name]:
        if (work / file).is_file():
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):  # another process may have it mapped; then it is fetched when it is asked for
                os.replace(work / file, copy / file)
    drop_unlisted(copy, (copy / name).read_bytes())
    shutil.rmtree(work, ignore_errors=True)


def _files(folder: Path, name: str) -> dict[str, str]:
    """Every file that the list of a folder names, with its sha256."""
    if name == MANIFEST:
        return open_store(folder).files()
    listed = read_list(folder)
    return {part.file: part.sha256 for part in listed.parts} | listed.lists


def _encoder_files(folder: Path) -> dict[str, str]:
    found = sorted(path for path in (folder / "encoders").glob("*/*") if path.name in _ENCODER)
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in found}


def _hash(content: bytes | None) -> str:
    return hashlib.sha256(content or b"").hexdigest()


def local_table(place: str | Path) -> Path:
    """The folder of a table; for a URL a copy of all of it, as a search reads every row."""
    folder = local_copy(place, TABLE)
    if is_url(local(place)) and (folder / TABLE).is_file():
        fetch_table(folder)
    return folder


def fetch_table(folder: Path) -> None:
    """Copy what the table in ``folder`` lists and is not there, and the encoders of its rows."""
    listed = read_list(folder)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(lambda file: fetch(folder / file[0], file[1]), _files(folder, TABLE).items()):
            pass
    url = json.loads((folder / ORIGIN).read_bytes())["url"]
    for name, weights in {part.encoder: part.weights for part in listed.parts if part.encoder}.items():
        if name.startswith(".") or PurePosixPath(name).name != name or "\\" in name:
            raise StoreError(where=f"{url}/{TABLE}", found=f"an encoder called {name!r}", expected="a plain name",
                             remedy="The list was edited: make the table again.")
        _fetch_encoder(RemoteFolder(url), folder / "encoders" / name, weights)


def _fetch_encoder(remote: RemoteFolder, home: Path, weights: str) -> None:
    current = False
    with suppress(StoreError):
        current = weights_id(home) == weights
    for file in _ENCODER if not current else _ENCODER[2:]:  # which graphs it takes may have become more
        remote.get(f"encoders/{home.name}/{file}", home / file)


@contextmanager
def whole_copy(url: str) -> Iterator[Path]:
    """Everything that is at a URL now, as it is, in a folder that is removed again: what the copy in the cache has proves nothing."""
    remote = RemoteFolder(url)
    place = place_of(remote.url)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix=f"{WRITING}whole-", dir=place) as name:
        folder = Path(name)
        names = [file for file in remote.sizes() if ".." not in PurePosixPath(file).parts and "\\" not in file]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for _ in pool.map(lambda file: remote.get(file, folder / file), names):
                pass
        yield folder
