"""``Bus``: flat graphs go to a device as the store has them, narrow and from pinned memory, and become batches there, beside its work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from geoembed.schema import GraphBatch
from geoembed.store.flat import FlatGraphs


@dataclass(frozen=True)
class Sent:
    """A batch that may still be on its way; ``done`` is when it has arrived (None: it has)."""

    batch: GraphBatch
    done: torch.cuda.Event | None = None

    def received(self) -> GraphBatch:
        """The batch for the current stream, which waits for it; the caller does not."""
        if self.done is not None:
            stream = torch.cuda.current_stream(self.batch.ptr.device)
            stream.wait_event(self.done)
            for value in self.batch._store._mapping.values():
                if isinstance(value, Tensor):
                    value.record_stream(stream)  # else its memory might be given away while it is read
        return self.batch


class Bus:
    """The way to a device. On a GPU it has a stream of its own, so that copies and what makes batches of them run beside an encoder.

    A stored edge of a crystal takes 9 bytes and that of a batch 23: what is narrow crosses the bus, indices are widened behind it.

    Args:
        device: where batches go.
        beside: whether the way is apart from the current stream; not so for arrays that are on the device already.
    """

    def __init__(self, device: torch.device, *, beside: bool = True) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" and beside else None  # type: ignore[no-untyped-call]

    @property
    def pins(self) -> bool:
        """Whether what is sent should lie in pinned memory."""
        return self._stream is not None

    def send(self, flat: FlatGraphs, ends: Sequence[int] | None = None) -> list[Sent]:
        """The batches of consecutive graphs that end before ``ends``; by default one of all."""
        with self._beside():
            there = flat if flat.device.type == self.device.type else flat.to(self.device)
            batches = list(there.batches([len(flat)] if ends is None else ends))
            done = None if self._stream is None else self._stream.record_event()
        return [Sent(batch, done) for batch in batches]

    def check(self, sent: Sent, check: Callable[[GraphBatch], object]) -> None:
        """Have a batch checked where it is; what that reads back waits for the copies and for nothing else that the device does."""
        with self._beside():
            check(sent.batch)

    def _beside(self) -> AbstractContextManager[object]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)
