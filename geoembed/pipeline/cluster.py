"""Many machines: an executor that sends units of work to a Dask cluster, and the check that what comes back is one store.

Dask moves functions and errors between its processes by pickle, as any cluster of Python does: give it the address of a cluster that
you trust. No file that geoembed reads or writes is touched by that.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from geoembed.errors import ConfigError, StoreError
from geoembed.io.extras import require
from geoembed.pipeline.chunks import code_version
from geoembed.pipeline.inputs import ABSENT, BARRED, unusable
from geoembed.store import ChunkEntry
from geoembed.store.manifest import refused_in

T = TypeVar("T")
_FEWEST = 8  # units in flight at least: a cluster that grows on demand needs demand to see
_DAEMON = "Start the workers with DASK_DISTRIBUTED__WORKER__DAEMON=False in their environment, or with --no-nanny."
_SHARED = "All machines of a cluster must see the same files under the same paths: put the inputs and the output on a shared file system."
_AGAIN = "The same command goes on where it stopped."


class ClusterExecutor(Executor):
    """Runs functions on the workers of a Dask cluster; what a dead worker had in hand is run again by another."""

    def __init__(self, client: Any) -> None:
        self._client, self._inner = client, client.get_executor(pure=False)

    @property
    def threads(self) -> int:
        """Units that the cluster runs at once, now: one for each thread of each worker."""
        return sum(self._client.nthreads().values())

    @property
    def width(self) -> int:
        """Units to be kept in flight, over 2."""
        return max(_FEWEST, self.threads)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """``fn(*args, **kwargs)`` on a worker that runs the same code as this process."""
        future: Future[T] = self._inner.submit(_there, code_version(), fn, args, kwargs)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel what has not run, or wait for it."""
        self._inner.shutdown(wait=wait and not cancel_futures)


@contextmanager
def dask_cluster(address: str, seconds: float = 5.0) -> Iterator[ClusterExecutor]:
    """Address of a Dask scheduler (``tcp://HOST:8786``) -> an executor for :func:`build` and :func:`embed`.

    The workers may come and go; one that dies costs time only. Inputs and output must lie on a file system that all machines share,
    and all must have the same geoembed installed. Each thread of a worker has a parsing process of its own.

    Raises:
        MissingExtraError: Dask is not installed here.
        ConfigError: nobody answers within ``seconds``, or the address is none.
        StoreError: the cluster was lost, or a unit of work with it, or its workers do not see what this machine sees.
    """
    distributed = require("distributed", "cluster")
    client = _client(distributed, address, seconds)
    executor = ClusterExecutor(client)
    try:
        yield executor
    except distributed.scheduler.KilledWorker as error:
        raise StoreError(where=address, found="workers that died one after the other over the same unit of work", expected="a result",
                         remedy=f"Look for a limit on their memory or time in the logs of the cluster. {_AGAIN}") from error
    except (CancelledError, distributed.comm.CommClosedError) as error:
        raise StoreError(where=address, found="a scheduler that went away or gave the work up", expected="a result",
                         remedy=f"Start the cluster again. {_AGAIN}") from error
    finally:
        executor.shutdown(wait=False)
        client.close(timeout=seconds)


def _client(distributed: Any, address: str, seconds: float) -> Any:
    remedy = "Start one with 'dask scheduler' and give the address that it prints, as tcp://HOST:8786."
    if ":" not in address:  # Dask would take no address for a wish to start a cluster here
        raise ConfigError(where="cluster", found=repr(address), expected="the address of a Dask scheduler", remedy=remedy)
    try:
        with ThreadPoolExecutor(1) as thread:  # in a notebook, this one has a loop that runs
            thread.submit(asyncio.run, _greeted(distributed, address, seconds)).result()
        return distributed.Client(address, timeout=seconds, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(where=address, found=f"no Dask scheduler ({error})", expected=f"an answer within {seconds:g} s",
                          remedy=remedy) from error


async def _greeted(distributed: Any, address: str, seconds: float) -> None:
    """Connect and go; a client alone would wait without end for the greeting of a server that is no scheduler."""
    arguments = distributed.Security().get_connection_args("client")
    comm = await asyncio.wait_for(distributed.comm.connect(address, timeout=seconds, **arguments), seconds + 1)
    comm.abort()


def _there(version: str, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    """Run a function on a worker, if the worker may do so."""
    where = f"worker of the cluster, process {os.getpid()} of {os.uname().nodename if hasattr(os, 'uname') else 'this machine'}"
    if code_version() != version:
        raise ConfigError(where=where, found=f"geoembed or reader plug-ins of code {code_version()}", expected=f"code {version}, as here",
                          remedy="Install the same geoembed and the same plug-ins on all machines, and start the workers again.")
    if multiprocessing.current_process().daemon:  # its unit of work needs a child, to isolate what it reads
        raise ConfigError(where=where, found="a daemonic process, which may have no children", expected="one that may", remedy=_DAEMON)
    return fn(*args, **kwargs)


def confirm(entry: ChunkEntry, folder: Path) -> ChunkEntry:
    """A chunk that another machine has built, if this one sees its files in ``folder``, and it saw the inputs that this one sees.

    Without this, workers with disks of their own would make a store with holes, or list as missing what is there.
    """
    if absent := [name for name in entry.files if not (folder / name).is_file()]:
        raise StoreError(where=folder / absent[0], found="no file, though a worker has written it", expected="a shared folder",
                         remedy=f"{_SHARED} {_AGAIN}")
    for line in refused_in(folder, entry):
        if line.stage == "open" and line.reason.endswith((ABSENT, BARRED)) and unusable(line.source) is None:
            raise StoreError(where=line.source, found=f"that a worker cannot open it ({line.reason})", expected="that it can, as here",
                             remedy=f"{_SHARED} {_AGAIN}")
    return entry
