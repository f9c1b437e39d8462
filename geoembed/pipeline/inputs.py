"""Which files are meant: folders are walked, patterns are not expanded, nothing is left out without being counted."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from geoembed.errors import EmptyGraphError, GeoembedError, UnreadableFileError
from geoembed.io.opener import is_url
from geoembed.store import is_store, is_table
from geoembed.store.origin import RemoteFolder, local, refuse_secrets

ABSENT, BARRED = "Check the path.", "Check its permissions and links."
"""The remedies of a source that is not there, and of one that may not be read."""
_ZARR = frozenset({"zarr.json", ".zgroup", ".zarray", ".zmetadata"})


@dataclass
class Inputs:
    """Sources in a fixed order, and what was passed over.

    Attributes:
        sources: paths and URLs, each once.
        ignored: count of hidden entries, own outputs and folders met twice, by reason.
    """

    sources: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


def expand(paths: str | Path | Sequence[str | Path]) -> Inputs:
    """Files, folders (all that is in them, sorted by name) and URLs -> sources; :class:`EmptyGraphError` where there are none.

    A name is taken as it is: ``run[1]`` is a folder of that name. A Zarr folder is one source. A URL is a file, or with a slash
    at its end a folder. A path that does not exist, or cannot be read, stays among the sources, so that it is quarantined and counted.
    """
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    inputs, met, folders = Inputs(), set(), set[tuple[int, int]]()
    found: Iterable[str]
    for path in (str(local(path)) for path in given):
        if is_url(path):
            refuse_secrets(path)
            found = _listed(path, inputs.ignored) if path.endswith("/") else [path]
        else:
            found = _walk(path, inputs.ignored, folders) if os.path.isdir(path) else [path]
        for source in found:
            name = source if is_url(source) else os.path.abspath(source)
            if name not in met:
                met.add(name)
                inputs.sources.append(source)
    if not inputs.sources:
        raise EmptyGraphError(where=", ".join(map(str, given)) or "inputs", found="no file", expected="at least one",
                              remedy=f"Check the path. Passed over: {dict(inputs.ignored) or 'nothing'}.")
    return inputs


def _walk(folder: str, ignored: Counter[str], met: set[tuple[int, int]]) -> Iterator[str]:
    try:
        here = os.stat(folder)
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError:
        yield folder  # quarantined with its reason by the worker
        return
    if (here.st_dev, here.st_ino) in met:  # a link loop, or a folder that two names lead to
        ignored["folder met before"] += 1
        return
    met.add((here.st_dev, here.st_ino))
    if folder.endswith(".zarr") or any(entry.name in _ZARR for entry in entries):
        yield folder
        return
    if is_store(folder) or is_table(folder):
        ignored["store or table of geoembed"] += 1
        return
    for entry in entries:
        if entry.name.startswith("."):
            ignored["hidden"] += 1
        elif entry.is_dir():
            yield from _walk(entry.path, ignored, met)
        else:
            yield entry.path


def _listed(url: str, ignored: Counter[str]) -> list[str]:
    """The files in the folder at a URL by the rules of :func:`_walk`; :class:`StoreError` where its server does not answer."""
    names = sorted(RemoteFolder(url).sizes(), key=lambda name: name.split("/"))
    lists = [name.rpartition("/")[0] for name in names if name.endswith(("manifest.json", "table.json"))]
    ours = tuple(f"{home}/" for home in lists if is_store(f"{url}{home}") or is_table(f"{url}{home}"))
    found: dict[str, None] = {}
    for name in names:
        zarr = name.find(".zarr/") + 1
        if name.startswith(".") or "/." in name:
            ignored["hidden"] += 1
        elif ours and f"/{name}".startswith(tuple(f"/{home.lstrip('/')}" for home in ours)):
            ignored["file of a store or table of geoembed"] += 1
        else:
            found[f"{url}{name[: zarr + 4] if zarr else name}"] = None
    return list(found)


def unusable(source: str) -> GeoembedError | None:
    """Why a source cannot even be opened; None where it can be tried. Never blocks: pipes and devices are not opened."""
    if is_url(source):
        return None
    try:
        mode = os.stat(source).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            return UnreadableFileError(where=source, found="a pipe, socket or device", expected="a regular file",
                                       remedy="Save its content as a file.")
        os.close(os.open(source, os.O_RDONLY))
    except FileNotFoundError:
        found = "a link that leads nowhere" if os.path.islink(source) else "no such file"
        return UnreadableFileError(where=source, found=found, expected="a file", remedy=ABSENT)
    except OSError as error:
        return UnreadableFileError(where=source, found=error.strerror or str(error), expected="a readable file",
                                   remedy=BARRED)
    return None
