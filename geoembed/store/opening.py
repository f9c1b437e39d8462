"""``Opening``: shards are opened and their checksums compared in threads, some ahead of their use; a disk is read by several at a time."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock
from types import TracebackType
from typing import Self

from geoembed.errors import GeoembedError
from geoembed.store.columns import ListedShard

SHARDS, THREADS = 8, 4
"""Shards that are open ahead, of 64 MiB at most; to hash one takes longer than a GPU needs for its graphs."""


class Opening:
    """Within the ``with`` block, opens shards in their order; when one is closed, that is, done with, the next is opened.

    Whoever asks for a shard before its turn opens it; what is wrong with one is said to those who ask.
    """

    def __init__(self, shards: Iterable[ListedShard]) -> None:
        self._left, self._lock = iter(shards), Lock()

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(THREADS, "geoembed-opening")
        for _ in range(SHARDS):
            self._next()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._left = iter(())
        self._pool.shutdown(cancel_futures=True)

    def _next(self) -> None:
        with self._lock:
            shard = next(self._left, None)
            if shard is not None:
                shard.when_closed = self._next
                self._pool.submit(_open, shard)


def _open(shard: ListedShard) -> None:
    with suppress(GeoembedError, OSError):
        shard.open()
