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


def spread(values: Sequence[float]) -> float:
    """Interquartile range."""
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
