"""Refuse by content what could run code when opened: pickles and torch archives, whatever their suffix."""

from __future__ import annotations

from geoembed.errors import UnsafeFileError

_PICKLE_PROTOCOLS = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_PICKLE_TEXT = (b"cos\n", b"cposix\n", b"cbuiltins\n", b"c__builtin__\n", b"csubprocess\n", b"cnt\n")


def refuse_unsafe(head: bytes, source: str) -> None:
    """Raise :class:`UnsafeFileError` where ``head`` (first 4 kB, decompressed) is a pickle or a torch archive."""
    pickled = (head.startswith(_PICKLE_PROTOCOLS) and head[2:3] in b"c}](X\x8c\x95K)") or head.startswith(_PICKLE_TEXT)
    archived = head.startswith(b"PK\x03\x04") and b"/data.pkl" in head[:200]
    tarred = b"ustar" in head[257:263] and head[:100].rstrip(b"\0").endswith((b"pickle", b".pkl"))
    if pickled or archived or tarred:
        raise UnsafeFileError(
            where=source, found="a Python pickle, which runs code when opened", expected="a data format",
            remedy="Save the tensors as safetensors, npz or Parquet.",
        )
