"""Files that are whole or absent: written under another name, flushed, renamed; checksums; one writer a folder."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from geoembed.errors import StoreError

WRITING = ".writing-"
UNTOUCHED = "What was there before is untouched; free space and repeat the command: it goes on where it stopped."


def replace_with(path: Path, *parts: bytes | memoryview) -> str:
    """Write ``parts``, one after the other, as ``path``, atomically and durably; returns the file's sha256.

    A full disk is a :class:`StoreError`.
    """
    spool = path.with_name(f"{WRITING}{path.name}.{os.getpid()}-{secrets.token_hex(4)}")  # another machine may have the same pid
    digest = hashlib.sha256()
    try:
        with open(spool, "wb") as file:
            for part in parts:
                file.write(part)
                digest.update(part)
            file.flush()
            os.fsync(file.fileno())
        publish(spool, path)
    except OSError as error:
        with suppress(OSError):
            spool.unlink()
        raise StoreError(
            where=path, found=f"{error.strerror or error} while writing {sum(len(part) for part in parts)} bytes",
            expected="room and permission to write", remedy=UNTOUCHED,
        ) from error
    return digest.hexdigest()


def publish(spool: Path, path: Path) -> None:
    """Rename a finished, flushed file to its name and make the renaming itself durable."""
    os.replace(spool, path)
    if os.name != "nt":  # Windows has no descriptors of folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def sha256_of(path: Path) -> str:
    """Checksum of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(document: dict[str, Any]) -> bytes:
    """A JSON document that carries its own checksum under ``sha256``."""
    return json.dumps({**document, "sha256": _seal(document)}, indent=1).encode()


def unsealed(path: Path, formats: Sequence[int]) -> dict[str, Any]:
    """The document that :func:`sealed` wrote; :class:`StoreError` where it was changed or is of none of these formats."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, OSError) as error:
        raise StoreError(where=path, found=f"no JSON document ({error})", expected="the list of the folder's files",
                         remedy="Remove the folder and build it again.") from error
    if not isinstance(document, dict) or document.get("format") not in formats:
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise StoreError(where=path, found=f"format {found!r}", expected=f"format {' or '.join(map(str, formats))}",
                         remedy="Open it with the version of geoembed that wrote it, or build it again.")
    seal = document.pop("sha256", None)
    if seal != _seal(document):
        raise StoreError(where=path, found="a document that does not match its own sha256", expected=str(seal),
                         remedy="It was edited or damaged: restore it, or build the folder again.")
    return document


def is_sealed(path: Path, second: str) -> bool:
    """Whether a file begins like a document of :func:`sealed` whose second entry is ``second``."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return begins_sealed(file.read(64), second)


def begins_sealed(content: bytes, second: str) -> bool:
    """The same of the first bytes of a file."""
    head = content.replace(b" ", b"").replace(b"\n", b"")
    return any(head.startswith(b'{"format":%d,"%s":' % (number, second.encode())) for number in (1, 2))


def _seal(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for one writer; a second one gets a :class:`StoreError` at once. The lock of a dead process is gone."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+b") as file:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(where=folder, found="another process that is writing here", expected="one writer at a time",
                             remedy="Wait until it ends, or write to another folder.") from error
        yield


def sweep(folder: Path, keep: set[str], prefixes: tuple[str, ...]) -> list[str]:
    """Remove left-overs of interrupted writers: half-written files, and files with these prefixes that nothing lists."""
    gone = []
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    for name in sorted(names):
        if name.startswith(WRITING) or (name.startswith(prefixes) and name not in keep):
            with suppress(FileNotFoundError):
                (folder / name).unlink()
            gone.append(name)
    return gone
