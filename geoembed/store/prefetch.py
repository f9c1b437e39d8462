"""``ahead``: the next items of an iterator are made in a thread while the reader works on the last one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

T = TypeVar("T")


def ahead(items: Iterator[T], number: int) -> Iterator[T]:
    """The items in their order, up to ``number`` of them made before they are asked for; what raises there raises here.

    A thread and not a process: batches are made by torch, NumPy and Arrow, which leave Python's lock alone while they copy, and a
    process would have to send what it made. A reader that stops early stops the thread.
    """
    end = object()
    with ThreadPoolExecutor(1, "geoembed-loader") as worker:
        pending = deque(worker.submit(next, items, end) for _ in range(number))
        try:
            while (item := pending.popleft().result()) is not end:
                pending.append(worker.submit(next, items, end))
                yield cast(T, item)
        finally:
            worker.shutdown(cancel_futures=True)
