"""Local, decompressed access to a path or fsspec URL: head bytes for sniffing, a stream, or a spooled file."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import fsspec

from geoembed.errors import BudgetError, TruncatedFileError, UnreadableFileError
from geoembed.io.budget import LIMIT, RATIO

HEAD = 4096
_LONGEST_NAME = 200  # bytes; file systems take 255
_FREE = 64 << 20  # the ratio of a stream counts only beyond this: short repetitive files compress well and harm nobody
_MAGIC = {b"\x1f\x8b": (".gz", ".bgz"), b"BZh": (".bz2",), b"\xfd7zXZ\x00": (".xz",)}


def is_url(source: str) -> bool:
    """Whether ``source`` is an fsspec URL and not a local path (``C:\\…`` is a path)."""
    return "://" in source


def plain_name(source: str) -> str:
    """Lower-case file name without the suffix of a compression.

    >>> plain_name("runs/A.FASTA.gz")
    'a.fasta'
    """
    return _uncompressed(os.path.basename(source.rstrip("/"))).lower()


def _uncompressed(name: str) -> str:
    for suffix in (suffix for suffixes in _MAGIC.values() for suffix in suffixes):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return name


def safe_name(name: str) -> str:
    """A file name for a spooled copy: letters, digits and a few marks of ``name``, no folder, not hidden, not too long.

    >>> safe_name("../M 31|é.fits"), safe_name(".."), safe_name("x" * 300 + ".HEAD.FITS")[-12:]
    ('M 31_é.fits', 'spooled', 'xx.HEAD.FITS')
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(letter if letter.isalnum() or letter in " -_+=.,@()[]#" else "_" for letter in last)
    while len(kept.encode()) > _LONGEST_NAME:
        kept = kept[1:]
    kept = kept.strip().lstrip(".")
    return kept or "spooled"


@contextmanager
def open_stream(source: str | Path) -> Iterator[BinaryIO]:
    """The decompressed bytes of a file or URL as a stream; a break half-way raises :class:`TruncatedFileError` when reached."""
    with cast(BinaryIO, fsspec.open(str(source), "rb").open()) if is_url(str(source)) else open(source, "rb") as raw:
        magic = raw.read(6)
        raw.seek(0)
        inner: gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
        if magic.startswith(b"\x1f\x8b"):
            inner = gzip.GzipFile(fileobj=raw)
        elif magic.startswith(b"BZh"):
            inner = bz2.BZ2File(raw)
        elif magic.startswith(b"\xfd7zXZ\x00"):
            inner = lzma.LZMAFile(raw)  # noqa: SIM115 — closed with the raw file below it
        else:
            yield raw
            return
        yield cast(BinaryIO, io.BufferedReader(_Guarded(inner, raw, str(source)), 1 << 16))


class _Guarded(io.RawIOBase):
    """A decompressing stream that stops at bombs and names a break."""

    def __init__(self, inner: gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile, raw: BinaryIO, source: str) -> None:
        self.inner, self.raw, self.source, self.out = inner, raw, source, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            block = self.inner.read1(len(buffer))  # not read(): on a break it would throw away up to a buffer of good bytes
        except EOFError as error:
            raise TruncatedFileError(
                where=self.source, found=f"the end of the compressed stream after {self.out} decompressed bytes",
                expected="its end-of-stream marker", remedy="Fetch the file again; records that were read before the break are kept.",
            ) from error
        except (OSError, zlib.error, lzma.LZMAError) as error:
            raise UnreadableFileError(
                where=self.source, found=f"damaged compressed data after {self.out} bytes ({error})", expected="a valid stream",
                remedy="Fetch the file again; records that were read before the damage are kept.",
            ) from error
        self.out += len(block)
        if self.out > _FREE and self.out > RATIO * max(self.raw.tell(), 1):
            raise BudgetError(
                where=self.source, found=f"{self.out} bytes from {self.raw.tell()} compressed ones",
                expected=f"a ratio of at most {RATIO}", remedy="Decompress the file yourself if you trust it.",
            )
        buffer[: len(block)] = block
        return len(block)


def read_head(source: str | Path) -> bytes:
    """First 4 kB, decompressed; what can be had before a break or damage in the stream."""
    head = b""
    with open_stream(source) as stream:
        read = getattr(stream, "read1", stream.read)  # read1 hands out what there is; remote files have only read
        try:
            while len(head) < HEAD and (block := read(HEAD - len(head))):
                head += block
        except (TruncatedFileError, UnreadableFileError):
            return head  # whoever reads on meets the break again, and reports it
    return head


@contextmanager
def local_file(source: str | Path, lines: bool = False) -> Iterator[Path]:
    """A local, decompressed path of ``source``: itself where it is that already, else a temporary copy that is removed.

    ``lines``: of a compressed stream that breaks, the copy has what stands before the break, up to its last whole line; the break is
    raised after that was read.
    """
    text = str(source)
    if not is_url(text):
        path = Path(text)
        if path.is_dir():
            yield path
            return
        with open(path, "rb") as file:
            magic = file.read(6)
        if not magic.startswith(tuple(_MAGIC)):
            yield path
            return
    with tempfile.TemporaryDirectory(prefix="geoembed-") as folder:
        spool = Path(folder) / safe_name(_uncompressed(os.path.basename(text.rstrip("/"))))
        broken: TruncatedFileError | UnreadableFileError | None = None
        try:
            _spool(text, spool)
        except (TruncatedFileError, UnreadableFileError) as error:
            if not lines or not _cut_to_lines(spool):
                raise
            broken = error
        yield spool
        if broken is not None:
            raise broken


def _spool(source: str, spool: Path) -> None:
    with open_stream(source) as stream, open(spool, "wb") as file:
        read = getattr(stream, "read1", stream.read)  # read() would throw away what it had before a break
        size = 0
        while block := read(1 << 20):
            size += len(block)
            if size > LIMIT:
                raise BudgetError(where=source, found=f"over {size >> 20} MiB decompressed", expected=f"at most {LIMIT >> 20} MiB",
                                  remedy="Decompress the file yourself.")
            file.write(block)


def _cut_to_lines(path: Path) -> bool:
    """Cut a file behind its last line end; whether anything is left."""
    with open(path, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - (1 << 16))
            file.seek(start)
            place = file.read(end - start).rfind(b"\n")
            if place >= 0:
                file.truncate(start + place + 1)
                return True
            end = start
    return False
