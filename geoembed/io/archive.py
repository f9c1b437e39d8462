"""Archives are not unpacked: members are spooled one at a time, under a budget, and their names never become paths."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from geoembed.errors import GeoembedError, UnsafeFileError
from geoembed.io.budget import check_budget
from geoembed.io.opener import local_file, open_stream


def looks_like_archive(head: bytes, name: str) -> bool:
    """Whether the (decompressed) head is that of a tar or zip archive."""
    return head[257:262] == b"ustar" or head.startswith(b"PK\x03\x04") or name.endswith(".tar")


def members(source: str) -> Iterator[tuple[str, Path | Exception]]:
    """(name, spooled file or the error) of each regular member, in archive order; the file lives until the next step."""
    with open_stream(source) as stream:
        is_zip = stream.read(4) == b"PK\x03\x04"
    if is_zip:
        with local_file(source) as local, zipfile.ZipFile(local) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    unsafe = _unsafe_name(source, info.filename) or _linked(source, info.filename, info.external_attr >> 28 == 0xA)
                    yield from _spooled(source, info.filename, info.file_size, unsafe, archive.open(info) if not unsafe else None)
        return
    with open_stream(source) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            if not member.isdir():
                unsafe = _unsafe_name(source, member.name) or _linked(source, member.name, not member.isfile())
                yield from _spooled(source, member.name, member.size, unsafe, tar.extractfile(member) if not unsafe else None)


def _spooled(
    source: str, name: str, size: int, unsafe: GeoembedError | None, content: IO[bytes] | None
) -> Iterator[tuple[str, Path | Exception]]:
    if unsafe is not None or content is None:
        yield name, unsafe or UnsafeFileError(where=f"{source}!{name}", found="no content", expected="a file", remedy="Leave it out.")
        return
    try:
        check_budget(f"{source}!{name}", (size,), 1)
    except GeoembedError as error:
        yield name, error
        return
    suffixes = "".join(PurePosixPath(name).suffixes[-2:])
    suffix = suffixes if suffixes.replace(".", "").isalnum() and len(suffixes) < 20 else ""
    with tempfile.TemporaryDirectory(prefix="geoembed-") as folder, content:
        spool = Path(folder) / f"member{suffix}"
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
