"""How fast are the k nearest neighbors of ragged points found, with the same sets as in float64?

One event of 2,500 candidates, and 4,096 jets of 128 constituents, k = 16 on the cylinder of eta and phi, against the usual padded
``cdist`` and ``topk``. CPU time of the process, or time of the card where there is one; rounds of both sides in turn.
Run: ``python -m benchmarks.point_neighbors``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from geoembed.ops import knn
from torch import Tensor

from benchmarks.record import write

EVENT_MS, SPEEDUP = 0.5, 5.0
PERIOD = (None, 2 * torch.pi)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ROUNDS, WARM = (4, 1) if DEVICE == "cpu" else (30, 5)


def row(question: str, ours: list[float], rival: list[float], *, goal: float | None, met: bool | None, **raw: object) -> dict[str, object]:
    quartiles = statistics.quantiles(ours, n=4)
    ratio = statistics.median(a / b for a, b in zip(ours, rival, strict=True))
    return {"question": question, "ours": statistics.median(ours), "rival": statistics.median(rival), "ratio": ratio,
            "iqr": quartiles[2] - quartiles[0], "goal": goal, "met": met, "raw": {"ours": ours, "rival": rival, **raw}}


def times_of(calls: tuple[Callable[[], object], ...]) -> list[list[float]]:
    """Milliseconds of each call, one of each a round, the first rounds left out: CPU time, or time of the card between two events.

    On a card nothing waits between calls, so that what is measured is the card and not the way there.
    """
    rounds: list[list[float]] = [[] for _ in calls]
    marks = []
    for _ in range(ROUNDS + WARM):
        for number, call in enumerate(calls):
            if DEVICE == "cpu":
                start = time.process_time()
                call()
                rounds[number].append(1e3 * (time.process_time() - start))
                continue
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            call()
            end.record()
            marks.append((number, begin, end))
    if marks:
        torch.cuda.synchronize()
    for number, begin, end in marks:
        rounds[number].append(float(begin.elapsed_time(end)))
    return [times[WARM:] for times in rounds]


def padded(x: Tensor, k: int) -> Tensor:
    """The usual way: distances of all pairs of a padded batch, then the k + 1 smallest; phi does not wrap."""
    return torch.cdist(x, x).topk(k + 1, largest=False).indices[..., 1:]


def brute(x: Tensor, k: int) -> Tensor:
    """The definition in float64: all distances on the cylinder, a stable sort, self left out by index; x [n, 2]."""
    place = x.double().cpu()
    difference = (place.unsqueeze(1) - place).abs()
    turned = torch.minimum(difference[..., 1], 2 * torch.pi - difference[..., 1])
    distance = (difference[..., 0].square() + turned.square()).fill_diagonal_(torch.inf)
    return torch.sort(distance, dim=1, stable=True).indices[:, :k]


def knn_rows() -> list[dict[str, object]]:
    """Rows of neighbors: a large event, and a batch of jets."""
    g = torch.Generator().manual_seed(0)
    event = torch.stack([torch.randn(2500, generator=g) * 2, (torch.rand(2500, generator=g) * 2 - 1) * torch.pi], -1).to(DEVICE)
    batch = (torch.randn(4096, 128, 2, generator=g) * 0.3).to(DEVICE)
    batch[..., 1] = batch[..., 1].clamp(-3.1, 3.1)
    rows = []
    for name, x, goal in (("an event of 2,500 candidates, k = 16: ms", event.unsqueeze(0), EVENT_MS),
                          ("4,096 jets × 128, k = 16: times as fast", batch, SPEEDUP)):
        flat, ptr = x.flatten(0, 1), torch.arange(len(x) + 1, device=DEVICE) * x.shape[1]
        ours, rival = times_of((lambda f=flat, p=ptr, n=x.shape[1]: knn(f, p, 16, period=PERIOD, largest=n), lambda x=x: padded(x, 16)))
        table = knn(flat, ptr, 16, period=PERIOD).view(len(x), x.shape[1], 16).cpu()
        equal = all(torch.equal(table[i] - i * x.shape[1], brute(x[i], 16)) for i in range(min(len(x), 64)))
        speed = [b / a for a, b in zip(ours, rival, strict=True)]
        fast = statistics.median(speed) >= goal if len(x) > 1 else statistics.median(ours) <= goal
        on_card = DEVICE != "cpu"  # the goals are those of one card
        result = row(f"neighbors on the cylinder, {name} against padded cdist + topk, {DEVICE}", ours, rival,
                     goal=goal if on_card else None, met=bool(fast and equal) if on_card else None, equal=equal)
        rows.append({**result, "ratio": statistics.median(speed)})
    return rows


def main() -> None:
    """Measure, and write the rows."""
    torch.set_num_threads(1)
    rows = knn_rows()
    for line in rows:
        print(f"{line['question']}: {line['ours']:,.6g}, rival {line['rival']:,.6g}, ratio {line['ratio']:.3g}, met {line['met']}")
    print(write("point_neighbors", rows))


if __name__ == "__main__":
    main()
