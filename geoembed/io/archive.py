"""Archives are not unpacked: members are spooled one at a time, under a budget, and their folders never become paths.

A spooled member keeps the name of its file, without folders and unsafe letters, since readers take keys and roles from it. The
halves of a pair (SNANA's HEAD and PHOT) meet in a private folder; the HEAD, which finds its PHOT there, is handed out last.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from geoembed.errors import GeoembedError, UnsafeFileError
from geoembed.io.budget import LIMIT, check_budget
from geoembed.io.damage import PARSER_ERRORS
from geoembed.io.opener import local_file, open_stream, safe_name

_HALF = re.compile(r"(.*)(head|phot)(.*\.fits?(\.gz)?)", re.IGNORECASE)

_BREAKS: tuple[type[Exception], ...] = (GeoembedError, tarfile.TarError, zipfile.BadZipFile, *PARSER_ERRORS)


def looks_like_archive(head: bytes, name: str) -> bool:
    """Whether the (decompressed) head is that of a tar or zip archive."""
    return head[257:262] == b"ustar" or head.startswith(b"PK\x03\x04") or name.endswith(".tar")


def members(source: str) -> Iterator[tuple[str, Path | Exception]]:
    """(name, spooled file or the error) of each regular member, in archive order, HEAD files of pairs at the end.

    The file lives until the next step.
    """
    with tempfile.TemporaryDirectory(prefix="geoembed-") as folder:
        pairs = _Pairs(Path(folder))
        broken: Exception | None = None
        try:
            for name, content in _members(source, pairs):
                if isinstance(content, Path) and pairs.is_head(content):
                    pairs.heads.append((name, content))
                else:
                    yield name, content
        except _BREAKS as error:
            broken = error  # raised behind the heads that were whole
        yield from pairs.heads
        if broken is not None:
            raise broken


class _Pairs:
    """A folder for the halves of pairs, one inside for each folder of the archive."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.heads, self.left = folder, list[tuple[str, Path | Exception]](), LIMIT
        self._inner: dict[PurePosixPath, Path] = {}

    def place(self, name: str, size: int) -> Path | None:
        """Where a member is kept, if its name is that of half a pair and not taken already; all of them within the budget."""
        path = PurePosixPath(name)
        if not _HALF.fullmatch(path.name) or size > self.left:
            return None
        self.left -= size
        inner = self._inner.setdefault(path.parent, self.folder / str(len(self._inner)))
        inner.mkdir(exist_ok=True)
        place = inner / safe_name(path.name)
        return None if place.exists() else place

    def is_head(self, path: Path) -> bool:
        """Whether a spooled file is the HEAD of a pair."""
        half = _HALF.fullmatch(path.name)
        return half is not None and half[2].lower() == "head" and self.folder in path.parents


def _members(source: str, pairs: _Pairs) -> Iterator[tuple[str, Path | Exception]]:
    with open_stream(source) as stream:
        is_zip = stream.read(4) == b"PK\x03\x04"
    if is_zip:
        with local_file(source) as local, zipfile.ZipFile(local) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    unsafe = _unsafe_name(source, info.filename) or _linked(source, info.filename, info.external_attr >> 28 == 0xA)
                    yield from _spooled(source, info.filename, info.file_size, unsafe, archive.open(info) if not unsafe else None, pairs)
        return
    with open_stream(source) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            if not member.isdir():
                unsafe = _unsafe_name(source, member.name) or _linked(source, member.name, not member.isfile())
                yield from _spooled(source, member.name, member.size, unsafe, tar.extractfile(member) if not unsafe else None, pairs)


def _spooled(
    source: str, name: str, size: int, unsafe: GeoembedError | None, content: IO[bytes] | None, pairs: _Pairs
) -> Iterator[tuple[str, Path | Exception]]:
    if unsafe is not None or content is None:
        yield name, unsafe or UnsafeFileError(where=f"{source}!{name}", found="no content", expected="a file", remedy="Leave it out.")
        return
    try:
        check_budget(f"{source}!{name}", (size,), 1)
    except GeoembedError as error:
        yield name, error
        return
    with tempfile.TemporaryDirectory(prefix="geoembed-") as folder, content:
        spool = pairs.place(name, size) or Path(folder) / safe_name(PurePosixPath(name).name)
        with open(spool, "wb") as file:
            shutil.copyfileobj(content, file, 1 << 20)
        yield name, spool


def _unsafe_name(source: str, name: str) -> GeoembedError | None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (len(name) > 1 and name[1] == ":"):
        return UnsafeFileError(where=f"{source}!{name}", found="a name that leaves the archive", expected="a relative name",
                               remedy="Rebuild the archive without '..' and absolute names.")
    return None


def _linked(source: str, name: str, special: bool) -> GeoembedError | None:
    if special:
        return UnsafeFileError(where=f"{source}!{name}", found="a link or device", expected="a regular file",
                               remedy="Rebuild the archive with files only.")
    return None
