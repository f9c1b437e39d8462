"""How benchmarks measure: calls in turns, so that what disturbs one disturbs all; medians, quartiles, raw times in every row."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

Call = Callable[[], object]


def on_cpu(calls: Mapping[str, Call], rounds: int, warm: int = 1) -> dict[str, list[float]]:
    """CPU seconds of each call, one of each a round; other work on the machine counts less in them than in wall time."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(warm + rounds):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return {name: values[warm:] for name, values in times.items()}


def on_card(calls: Mapping[str, Call], rounds: int, warm: int = 5) -> dict[str, list[float]]:
    """Seconds of each call on the card, one of each a round, between two events.

    Nothing waits between calls, so that the card is measured and not the way there; a call that reads a size back waits by itself.
    """
    marks: dict[str, list[tuple[torch.cuda.Event, torch.cuda.Event]]] = {name: [] for name in calls}
    for _ in range(warm + rounds):
        for name, call in calls.items():
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            call()
            end.record()
            marks[name].append((start, end))
    torch.cuda.synchronize()
    return {name: [start.elapsed_time(end) / 1e3 for start, end in pairs[warm:]] for name, pairs in marks.items()}


def in_turns(calls: Mapping[str, Call], rounds: int, device: str) -> dict[str, list[float]]:
    """Milliseconds of each call: between events on a card, of CPU time elsewhere."""
    times = on_card(calls, rounds) if device == "cuda" else on_cpu(calls, rounds)
    return {name: [1e3 * seconds for seconds in values] for name, values in times.items()}


def replayed(call: Call) -> Call:
    """The replay of a CUDA graph of a call; the graph is captured on a stream of its own after three calls there.

    Raises ``RuntimeError`` where the call waits for the card, as one that reads a size back: it is found out before the capture, as
    one that breaks leaves random numbers and memory of the process unusable.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(2):
                call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    replay: Call = graph.replay
    return replay


def peak_gb(call: Call) -> float | None:
    """GB that a call allocates at most above what was held before it, scratch included; None without a card."""
    if not torch.cuda.is_available():
        return None
    call()  # what is kept from call to call belongs to what was held before
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e9


def spread(values: Sequence[float]) -> float:
    """Interquartile range; 0 of a single value."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4)
    return high - low


def row(
    question: str, ours: Sequence[float], rival: Sequence[float], ratios: Sequence[float], *, goal: object, met: bool | None, **more: object
) -> dict[str, object]:
    """A row of a result: medians of both sides in one unit, how many times better ours is, spread of ours, raw values."""
    return {
        "question": question, "ours": statistics.median(ours), "rival": statistics.median(rival), "ratio": statistics.median(ratios),
        "iqr": spread(ours), "goal": goal, "met": met, **more, "raw": {"ours": list(ours), "rival": list(rival)},
    }


def quotients(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Quotient of each round."""
    return [a / b for a, b in zip(above, below, strict=True)]
