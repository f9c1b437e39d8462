"""How fast are the k nearest neighbors of ragged points found, with the same sets as in float64?

One event of 2,500 candidates, and 4,096 jets of 128 constituents, k = 16 on the cylinder of eta and phi, against the usual padded
``cdist`` and ``topk``. CPU time of the process, or time of the card where there is one; rounds of both sides in turn.
Run: ``python -m benchmarks.point_neighbors``.
"""

from __future__ import annotations

import statistics

import torch
from geoembed.ops import knn
from torch import Tensor

from benchmarks.record import write
from benchmarks.timing import Call, on_card, on_cpu, quotients, row

EVENT_MS, SPEEDUP = 0.5, 5.0
PERIOD = (None, 2 * torch.pi)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


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
        calls: dict[str, Call] = {
            "ours": lambda f=flat, p=ptr, n=x.shape[1]: knn(f, p, 16, period=PERIOD, largest=n), "rival": lambda x=x: padded(x, 16),
        }
        times = on_cpu(calls, 4) if DEVICE == "cpu" else on_card(calls, 30)
        ours, rival = ([1e3 * seconds for seconds in times[side]] for side in ("ours", "rival"))
        ratios = quotients(rival, ours)
        table = knn(flat, ptr, 16, period=PERIOD).view(len(x), x.shape[1], 16).cpu()
        equal = all(torch.equal(table[i] - i * x.shape[1], brute(x[i], 16)) for i in range(min(len(x), 64)))
        fast = statistics.median(ratios) >= goal if len(x) > 1 else statistics.median(ours) <= goal
        on_gpu = DEVICE != "cpu"  # the goals are those of one card
        rows.append(row(f"neighbors on the cylinder, {name} against padded cdist + topk, {DEVICE}", ours, rival, ratios,
                        goal=goal if on_gpu else None, met=bool(fast and equal) if on_gpu else None, unit="ms", equal=equal))
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
