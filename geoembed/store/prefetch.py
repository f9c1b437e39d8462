"""Work in threads beside the caller, in the order in which it was given: what comes next is read while what is here is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

T = TypeVar("T")
P = ParamSpec("P")


class Thread:
    """One thread that does what it is given, in that order; after an error nothing more is done, and the error is raised to the caller.

    A thread and not a process: batches are made by torch, NumPy and Arrow, which leave Python's lock alone while they copy, and a
    process would have to send what it made.
    """

    def __init__(self, name: str) -> None:
        self._worker = ThreadPoolExecutor(1, name)
        self._error: BaseException | None = None
        self._context = copy_context()  # which back end was chosen, for example

    def do(self, work: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> Future[T]:
        """Start some work when all before it is done; where that has failed, its error is that of this work too."""
        return self._worker.submit(self._unless_broken, work, *arguments, **more)

    def _unless_broken(self, work: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        if self._error is not None:
            raise self._error
        try:
            return self._context.run(work, *arguments, **more)
        except BaseException as error:
            self._error = error
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Forget what has not begun, and wait for what has."""
        self._worker.shutdown(cancel_futures=True)


def ahead(items: Iterator[T], number: int) -> Iterator[T]:
    """The items in their order, up to ``number`` of them made before they are asked for; what raises there raises here.

    A reader that stops early stops the thread.
    """
    end = object()
    with Thread("geoembed-loader") as thread:
        pending = deque(thread.do(next, items, end) for _ in range(number))
        while (item := pending.popleft().result()) is not end:
            pending.append(thread.do(next, items, end))
            yield cast(T, item)
