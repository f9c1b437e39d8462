"""``Flow``: what is embedded goes through three stages at a time, in one order: read ahead, encoded here, written behind."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Self

from geoembed.pipeline.encode import Batch, Encoded, Encoding
from geoembed.store import Shard
from geoembed.store.pieces import close_finished
from geoembed.store.prefetch import Thread

READERS, LAUNCHED, WRITING = 2, 2, 8
"""Threads that read for a GPU, each two batches ahead (for a CPU one does); batches that a GPU has before the first of them is fetched;
pieces that wait for the disk."""

_SWITCH = 5e-4
"""Seconds after which a thread passes Python's lock on, instead of 5 ms: a GPU would be without work for as long."""

Use = Callable[[Encoded], object]
Work = Callable[[], object]


@dataclass
class _Turn:
    """A batch on its way, and who takes its vectors."""

    encoding: Encoding
    read: Future[Batch]
    use: Use
    launched: Batch | None = None

    def launch(self) -> None:
        """Give it to the device when it has been read."""
        self.launched = self.encoding.launch(self.read.result())

    def parts(self) -> Iterator[Work]:
        """What there is to write, when the vectors are there."""
        for part in self.encoding.fetch(self.launched) if self.launched is not None else ():
            yield lambda part=part: self._written(part)  # type: ignore[misc]

    def _written(self, part: Encoded) -> None:
        self.use(part)
        close_finished([part.piece])


class Flow:
    """Batches and other work, done in the order in which they are given, though several are under way.

    Reading and writing have threads of their own; the encoder runs in that of the caller. An error in any of them is raised to the caller,
    and nothing that was given after what failed is done. Leaving the ``with`` block finishes all that was given before.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._at_work: set[int] = set()
        self._turns = count()
        self._reading: deque[_Turn | Work] = deque()
        self._launched: deque[_Turn | Work] = deque()
        self._writing: deque[Future[object]] = deque()

    def __enter__(self) -> Self:
        self._readers = [self._stack.enter_context(Thread("geoembed-reader")) for _ in range(READERS)]
        self._writer = self._stack.enter_context(Thread("geoembed-writer"))
        self._stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(_SWITCH)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._stack:
            if error is None:
                self.drain()
            else:  # what was given before an interruption is whole, commits among it
                with suppress(Exception):
                    self.drain()

    def encode(self, encoding: Encoding, shards: Sequence[Shard], use: Use) -> None:
        """Have every graph of some shards encoded, and ``use`` called with each piece, in order, in the thread that writes."""
        if id(encoding) not in self._at_work:
            self._stack.enter_context(encoding.at_work())
            self._at_work.add(id(encoding))
        readers, launched = (READERS, LAUNCHED) if encoding.device.type == "cuda" else (1, 0)
        for batch in encoding.plan(shards):
            reader = self._readers[next(self._turns) % readers]
            self._reading.append(_Turn(encoding, reader.do(encoding.read, batch), use))
            self._advance(2 * readers, launched, WRITING)

    def then(self, work: Work) -> None:
        """Have something done in the thread that writes, after all that was given before."""
        self._reading.append(work)
        self._advance(2 * READERS, LAUNCHED, WRITING)

    def drain(self) -> None:
        """Return when everything is done."""
        self._advance(0, 0, 0)

    def _advance(self, reading: int, launched: int, writing: int) -> None:
        """Move on what is there until each stage holds no more than this."""
        try:
            while _more(self._reading, reading):
                turn = self._reading.popleft()
                if isinstance(turn, _Turn):
                    turn.launch()
                self._launched.append(turn)
                self._fetch(launched, writing)
        except BaseException:
            self._reading.clear()
            raise
        self._fetch(launched, writing)

    def _fetch(self, launched: int, writing: int) -> None:
        try:
            while _more(self._launched, launched):
                turn = self._launched.popleft()
                for work in turn.parts() if isinstance(turn, _Turn) else (turn,):
                    self._writing.append(self._writer.do(work))
                    self._wait(writing)
            self._wait(writing)
        except BaseException:
            self._launched.clear()
            self._reading.clear()
            raise

    def _wait(self, writing: int) -> None:
        while self._writing and (len(self._writing) > writing or self._writing[0].done()):
            self._writing.popleft().result()


def _more(turns: deque[_Turn | Work], most: int) -> bool:
    """Whether the first of these moves on: there are too many, or it only waits for its turn."""
    return bool(turns) and (len(turns) > most or not isinstance(turns[0], _Turn))
