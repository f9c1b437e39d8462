"""Processes that may die: a pool whose workers cost themselves only, and the word of how one ended."""

from __future__ import annotations

import multiprocessing.process
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import spawn
from types import TracebackType
from typing import Any, Self, TypeVar

from pebble import ProcessExpired, ProcessPool

from geoembed.errors import StoreError
from geoembed.pipeline.worker import begin

T = TypeVar("T")
_TASKS = 256  # tasks after which a worker is replaced: what a parser leaks does not add up

if sys.platform.startswith("linux"):
    # One process imports everything once and forks the workers, so that replacing a dead one takes milliseconds.
    from multiprocessing.context import ForkServerContext as _Base
    from multiprocessing.context import ForkServerProcess as _BaseProcess
else:
    from multiprocessing.context import SpawnContext as _Base
    from multiprocessing.context import SpawnProcess as _BaseProcess


@dataclass(frozen=True)
class Death:
    """A worker ended without a result."""

    exitcode: int


class _Process(_BaseProcess):
    @staticmethod
    def _Popen(process_obj: multiprocessing.process.BaseProcess) -> Any:  # noqa: N802 — the name that multiprocessing calls
        _starting.worker = True
        try:
            return _BaseProcess._Popen(process_obj)
        finally:
            _starting.worker = False


class _Context(_Base):
    Process = _Process


_starting = threading.local()
_preparation = spawn.get_preparation_data


def _without_main(name: str) -> dict[str, Any]:
    """Preparation of a new process; a parsing worker does not run the user's script again, as multiprocessing would have it.

    Without this, ``geoembed.embed(…)`` at the top of a script starts the script anew in every worker.
    """
    data: dict[str, Any] = _preparation(name)
    if getattr(_starting, "worker", False):
        data.pop("init_main_from_path", None)
        data.pop("init_main_from_name", None)
    return data


vars(spawn)["get_preparation_data"] = _without_main


class Isolation:
    """``workers`` parsing processes; :meth:`run` may be called from as many threads."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._scratch = tempfile.TemporaryDirectory(prefix="geoembed-")
        self._pool: ProcessPool | None = None

    def run(self, function: Callable[..., T], *args: object) -> T | Death:
        """The result of ``function(*args)`` in a worker, or how the worker died. Exceptions of the function are raised here."""
        for _ in range(3):
            pool = self._running_pool()
            try:
                future = pool.schedule(function, args=args)
            except RuntimeError:  # the pool broke since
                self._renew(pool)
                continue
            while not wait([future], timeout=0.5).done:  # in steps, so that stop() is heard
                if self._stopped.is_set():
                    raise CancelledError
            try:
                return future.result()
            except ProcessExpired as death:
                return Death(int(death.exitcode))
            except BrokenProcessPool:
                self._renew(pool)
        raise StoreError(where="parsing workers", found="processes that end before they begin", expected="processes that run",
                         remedy="Look for a system limit on processes or memory; try with one worker.")

    def _running_pool(self) -> ProcessPool:
        with self._lock:
            if self._stopped.is_set():
                raise CancelledError
            if self._pool is None:
                context = _Context()
                if sys.platform.startswith("linux"):
                    context.set_forkserver_preload(["geoembed.pipeline.worker"])
                about = (self._scratch.name, dict(os.environ))
                self._pool = ProcessPool(self.workers, max_tasks=_TASKS, initializer=begin, initargs=about, context=context)
            return self._pool

    def _renew(self, broken: ProcessPool) -> None:
        with self._lock:
            if self._pool is broken:
                self._pool = None
                _end(broken)

    def stop(self) -> None:
        """End the workers at once, whatever they do."""
        self._stopped.set()
        with self._lock:
            if self._pool is not None:
                _end(self._pool)
                self._pool = None
        self._scratch.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()
