"""How fast do tables of jets become a store, and how fast are neighbors found, with the same sets as in float64?

Jets: a table of jets to a finished, checksummed store, in one process, by whole columns (what ``build`` does) against one
record after the other (the same readers and builders). Neighbors: one event of 2,500 candidates, and 4,096 jets of 128
constituents with k = 16, against the usual padded ``cdist`` and ``topk``; on a GPU where there is one. Every figure is process
CPU time (GPU time on a GPU), rounds of both sides in turn. Run: ``python -m benchmarks.particles``.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from geoembed.graphs.blocks import Block
from geoembed.io import reader
from geoembed.ops import knn
from geoembed.pipeline import Limits, worker
from geoembed.pipeline.worker import Task, blank, write_chunk
from torch import Tensor

from benchmarks.record import write

JETS_PER_SECOND = 200_000
EVENT_MS, SPEEDUP = 0.5, 5.0
ROUNDS, RECORDS = 4, 1500
PERIOD = (None, 2 * torch.pi)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def jets(count: int, slots: int, mean: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Padded jets [count, slots]: pt-ordered constituents around an axis, as many as a Poisson draw says."""
    g = np.random.default_rng(seed)
    real = np.arange(slots) < np.clip(g.poisson(mean, count), 1, slots)[:, None]
    pt = -np.sort(-g.exponential(20, (count, slots)) * real, axis=1)
    return {"pt": pt, "eta": g.normal(0, 0.25, (count, slots)) * real, "phi": g.normal(0, 0.25, (count, slots)) * real,
            "charge": g.integers(-1, 2, (count, slots)) * real, "pid": g.choice([211, -211, 22, 130, 11, 13], (count, slots)) * real,
            "mask": real}


def tables(folder: Path, count: int) -> dict[str, Path]:
    """The same kind of jets in the containers that the field uses."""
    few, many = jets(count, 30, 22), jets(count // 2, 128, 60)
    block = np.stack([few["eta"], few["phi"], few["pt"] / 1000, few["mask"]], -1).astype(np.float32)
    np.savez(folder / "jets30.npz", particle_features=block, jet_features=np.tile(np.float32([1000, 0, 80, 22]), (count, 1)))
    for name, table in (("jets30", few), ("jets128", many)):
        offsets = np.concatenate([[0], table["mask"].sum(1).cumsum()]).astype(np.int32)
        kinds = {"pt": "f4", "eta": "f4", "phi": "f4", "charge": "i1", "pid": "i2"}
        columns = {key: pa.ListArray.from_arrays(offsets, table[key][table["mask"]].astype(kind)) for key, kind in kinds.items()}
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    px, py, pz = (many["pt"] * factor for factor in (np.cos(many["phi"]), np.sin(many["phi"]), np.sinh(many["eta"])))
    flat = {"E": many["pt"] * np.cosh(many["eta"]), "PX": px, "PY": py, "PZ": pz}
    numbered = {f"{name}_{slot}": values[:, slot].astype(np.float32) for slot in range(128) for name, values in flat.items()}
    np.savez(folder / "top_tagging128.npz", **numbered, is_signal_new=np.arange(count // 2) % 2)
    return {"npz, [J, 30, 4], 22 a jet": folder / "jets30.npz", "Parquet lists, 5 columns, 22 a jet": folder / "jets30.parquet",
            "Parquet lists, 5 columns, 60 a jet": folder / "jets128.parquet",
            "npz, 4 × 128 zero-padded columns, 60 a jet": folder / "top_tagging128.npz"}


def store_seconds(source: Path, items: Callable[..., Iterator[object]]) -> tuple[float, int]:
    """(CPU seconds, jets) of one chunk from file to finished shards; ``items`` is how the worker reads."""
    with tempfile.TemporaryDirectory() as place:
        mark = Path(place) / ".writing-place"
        blank(mark)
        kept, vars(worker)["stream_blocks"] = worker.stream_blocks, items
        try:
            start = time.process_time()
            entry = write_chunk(Task(Path(place), "k", (str(source),), Limits(), mark, os.getppid()))
            return time.process_time() - start, entry.built
        finally:
            vars(worker)["stream_blocks"] = kept


def one_by_one(source: str, columns: object = None) -> Iterator[object]:
    """The first records of a source, each a graph of its own; the rest would take minutes and tell no more."""
    for number, item in enumerate(reader.stream(source)):
        if number >= RECORDS:
            return
        yield item


def same_graphs(source: Path) -> bool:
    """Whether the first records are the same bits by columns and one by one."""
    block = next(iter(reader.stream_blocks(source)))
    if not isinstance(block, Block):
        return False
    pairs = zip(block.cut(0, 50).graphs(), reader.stream(source), strict=False)
    return all(a.provenance == b.provenance and all(torch.equal(a[name], b[name]) for name in a.keys()  # noqa: SIM118 — no mapping
                                                    if isinstance(a[name], Tensor)) for a, b in pairs)


def store_rows(count: int) -> list[dict[str, object]]:
    """Rows of tables to a store."""
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, source in tables(Path(folder), count).items():
            equal, ours, rival = same_graphs(source), [], []
            for number in range(ROUNDS + 1):  # the first of each warms up
                for rates, items in ((ours, reader.stream_blocks), (rival, one_by_one)):
                    seconds, built = store_seconds(source, items)
                    rates += [built / seconds] if number else []
            rows.append(row(f"jets to a store, {name}: jets/s of a core against record by record", ours, rival, goal=JETS_PER_SECOND,
                            met=statistics.median(ours) >= JETS_PER_SECOND and equal, equal=equal, largest=max(ours)))
    return rows


def row(question: str, ours: list[float], rival: list[float], *, goal: float | None, met: bool | None, **raw: object) -> dict[str, object]:
    quartiles = statistics.quantiles(ours, n=4)
    ratio = statistics.median(a / b for a, b in zip(ours, rival, strict=True))
    return {"question": question, "ours": statistics.median(ours), "rival": statistics.median(rival), "ratio": ratio,
            "iqr": quartiles[2] - quartiles[0], "goal": goal, "met": met, "raw": {"ours": ours, "rival": rival, **raw}}


def seconds_of(work: Callable[[], object]) -> float:
    """CPU seconds of a call, or GPU seconds between two events."""
    if DEVICE == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


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
        work: tuple[Callable[[], object], Callable[[], object]] = (
            lambda f=flat, p=ptr: knn(f, p, 16, period=PERIOD), lambda x=x: padded(x, 16))
        ours, rival = [], []
        for number in range(ROUNDS + 1):
            for times, call in zip((ours, rival), work, strict=True):
                seconds = seconds_of(call)
                times += [1e3 * seconds] if number else []
        table = knn(flat, ptr, 16, period=PERIOD).view(len(x), x.shape[1], 16).cpu()
        equal = all(torch.equal(table[i] - i * x.shape[1], brute(x[i], 16)) for i in range(min(len(x), 64)))
        speed = [b / a for a, b in zip(ours, rival, strict=True)]
        fast = statistics.median(speed) >= goal if len(x) > 1 else statistics.median(ours) <= goal
        result = row(f"neighbors on the cylinder, {name} against padded cdist + topk, {DEVICE}", ours, rival, goal=goal,
                     met=bool(fast and equal), equal=equal)
        rows.append({**result, "ratio": statistics.median(speed)})
    return rows


def main() -> None:
    """Measure, and write the rows."""
    torch.set_num_threads(1)
    rows = [*store_rows(60_000), *knn_rows()]
    for line in rows:
        print(f"{line['question']}: {line['ours']:,.6g}, rival {line['rival']:,.6g}, ratio {line['ratio']:.3g}, met {line['met']}")
    print(write("particles", rows))


if __name__ == "__main__":
    main()
