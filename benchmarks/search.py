"""How fast, how large and how right is the vector table: 10 million rows of 128 columns, exactly and by the index?

The vectors are clustered as those of a trained encoder are: 10,000 centers drawn from a normal distribution of 16 dimensions, normal
points of a quarter of its width around them, sent through a fixed random network (16 → 64, tanh, → 128), noise of 0.02 added, scaled
to unit length. (Independent normal numbers in 128 dimensions have no near neighbors.) Questions are points of the same distribution
that are not in the table. Every stage is a process of its own with its own peak memory, and one thread of linear algebra; times are
CPU seconds of all its threads, with wall seconds beside them where other threads work. Run: ``python -m benchmarks.search`` (``--rows``
for fewer, ``--folder`` for a disk with 12 GB).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from geoembed.schema import Provenance
from geoembed.store import VectorTable, open_table
from geoembed.store.search import Block, best_rows, unit_rows
from geoembed.store.vectors import Vectors
from numpy.typing import NDArray

from benchmarks.record import write
from benchmarks.timing import on_cpu, quotients, row

ROWS, DIM, CLUSTERS, LATENT = 10_000_000, 128, 10_000, 16
BLOCK, COMMIT = 65_536, 1_048_576
QUESTIONS, K = 256, 10
PEAK_GIB, BANDWIDTH, RECALL = 8.0, 0.9, 0.95
SMALL = 1_000_000
"""Rows for comparisons with a second copy in memory."""

Floats = NDArray[np.float32]


def clustered(count: int, seed: int) -> Iterator[Floats]:
    """Blocks of unit vectors, ``count`` in all; another seed draws other points of the same distribution."""
    world, points = np.random.default_rng(0), np.random.default_rng(seed)
    centers = world.standard_normal((CLUSTERS, LATENT), dtype=np.float32)
    first, second = (world.standard_normal(shape, dtype=np.float32) for shape in ((LATENT, 64), (64, DIM)))
    for start in range(0, count, BLOCK):
        n = min(BLOCK, count - start)
        latent = centers[points.integers(0, CLUSTERS, n)] + 0.25 * points.standard_normal((n, LATENT), dtype=np.float32)
        rows = np.tanh(latent @ first / 4) @ second / 8 + 0.02 * points.standard_normal((n, DIM), dtype=np.float32)
        yield rows / np.linalg.norm(rows, axis=1, keepdims=True)


def questions() -> Floats:
    """Points that are not in the table."""
    return np.concatenate(list(clustered(QUESTIONS, seed=2)))


def peak_gib() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def fill(folder: Path, rows: int) -> dict[str, object]:
    """Append all rows in blocks, committed a million at a time; the time of drawing them is left out."""
    spent = wall = 0.0
    with VectorTable(folder / "table") as table:
        done = 0
        for block in clustered(rows, seed=1):
            names = [Provenance(kind="cloud", modality="jet", source=f"{i // 10_000}.root", record=str(i))
                     for i in range(done, done + len(block))]
            start, began = time.process_time(), time.perf_counter()
            table.append(block, names, encoder="jet", weights="w")
            done += len(block)
            if done % COMMIT == 0:
                table.flush()
            spent, wall = spent + time.process_time() - start, wall + time.perf_counter() - began
        start, began = time.process_time(), time.perf_counter()
    spent, wall = spent + time.process_time() - start, wall + time.perf_counter() - began
    files = [path for path in (folder / "table").iterdir() if path.is_file()]
    return {"cpu": spent, "wall": wall, "files": len(files), "bytes": sum(path.stat().st_size for path in files), "peak": peak_gib()}


def exact(folder: Path, rows: int) -> dict[str, object]:
    """Exact search of a table whose vectors are all in memory, against reading that memory; its answers are left in the folder."""
    table = open_table(folder / "table", memory_gib=1.01 * rows * DIM * 4 / 2**30)
    asked = questions()
    start, began = time.process_time(), time.perf_counter()
    table.nearest(asked[:1], K, exact=True)
    first = {"cpu": time.process_time() - start, "wall": time.perf_counter() - began}
    blocks = kept_blocks(table)
    tensors = [torch.from_numpy(block.rows.T) for block in blocks]
    calls: dict[str, Callable[[], object]] = {
        "one": lambda: table.nearest(asked[:1], K, exact=True), "many": lambda: table.nearest(asked[:64], K, exact=True),
        "sum": lambda: [tensor.sum() for tensor in tensors], "dot": lambda: [torch.dot(flat, flat) for flat in flats],
        "filtered": lambda: table.nearest(asked[:1], K, where={"source": "7*"}),
    }
    flats = [tensor.reshape(-1) for tensor in tensors]
    times = on_cpu(calls, rounds=5)
    answers = table.nearest(asked, K, exact=True)
    np.savez(folder / "exact.npz", score=answers.score.reshape(QUESTIONS, K))
    return {"first": first, "times": times, "peak": peak_gib(), "rival": against_numpy(blocks, asked, rows)}


def kept_blocks(table: VectorTable) -> list[Block]:
    """The blocks of the whole table, as its searches see them."""
    vectors: Vectors = table._answers.vectors
    return list(vectors.blocks(table.parts))


def against_numpy(blocks: list[Block], asked: Floats, rows: int) -> dict[str, list[float]]:
    """The first million rows: ours against a product of row-major NumPy arrays and argpartition."""
    few: list[Block] = []
    for block in blocks:
        if sum(len(one.rows) for one in few) < min(SMALL, rows):
            few.append(block)
    flat = np.ascontiguousarray(np.concatenate([block.rows for block in few]))
    unit = unit_rows(asked[:64])

    def plain(queries: Floats) -> object:
        scores = queries @ flat.T
        best = np.argpartition(scores, -K, axis=1)[:, -K:]
        return np.take_along_axis(best, -np.take_along_axis(scores, best, 1).argsort(1), 1)

    return on_cpu({"ours, 1": lambda: best_rows(unit[:1], few, K), "numpy, 1": lambda: plain(unit[:1]),
                   "ours, 64": lambda: best_rows(unit, few, K), "numpy, 64": lambda: plain(unit)}, rounds=5)


def make_index(folder: Path, rows: int) -> dict[str, object]:
    """Make the index, nothing of the table kept in memory."""
    start = time.process_time()
    entry = open_table(folder / "table", memory_gib=0).build_index()
    return {"cpu": time.process_time() - start, "wall": entry.seconds, "recall": entry.recall, "probes": entry.probes,
            "refine": entry.refine, "partitions": entry.partitions, "files": len(entry.files), "bytes": sum(entry.files.values()),
            "peak": peak_gib()}


def ask_index(folder: Path, rows: int) -> dict[str, object]:
    """Ask the index the questions that exact search has answered."""
    table, asked = open_table(folder / "table", memory_gib=0), questions()
    truth = np.load(folder / "exact.npz")
    hits = table.nearest(asked, K, exact=False)
    right = hits.score.reshape(QUESTIONS, K) >= truth["score"][:, -1:]
    wall: list[float] = []

    number = itertools.cycle(range(QUESTIONS))

    def one() -> None:
        began, place = time.perf_counter(), next(number)
        table.nearest(asked[place : place + 1], K, exact=False)
        wall.append(time.perf_counter() - began)

    times = on_cpu({"one": one, "many": lambda: table.nearest(asked[:64], K, exact=False),
                    "named": lambda: table.search(asked[:1], K, exact=False)}, rounds=60)
    return {"times": times, "wall": wall, "recall": float(right.mean()), "peak": peak_gib()}


STAGES: dict[str, Callable[[Path, int], dict[str, object]]] = {
    "fill": fill, "exact": exact, "index": make_index, "ask": ask_index,
}


def in_a_process(stage: str, folder: Path, rows: int) -> dict[str, object]:
    """A stage in a process of its own, with one thread of linear algebra."""
    command = [sys.executable, "-m", "benchmarks.search", "--stage", stage, "--folder", str(folder), "--rows", str(rows)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    print(f"{stage}: {done.stdout.strip()[:300]}", flush=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def rows_of(rows: int, filled: dict, asked: dict, made: dict, index: dict) -> list[dict[str, object]]:  # type: ignore[type-arg]
    """Rows of the result from what the stages measured."""
    size, times = f"{rows / 1e6:g} M × {DIM}", asked["times"]
    memory = [min(pair) for pair in zip(times["sum"], times["dot"], strict=True)]
    peak = max(stage["peak"] for stage in (filled, asked, made, index))
    ms = {name: [1e3 * value for value in values] for name, values in times.items()}
    per_index = [1e3 * value for value in index["times"]["one"]]
    numpy = asked["rival"]
    share = quotients(memory, times["one"])
    found = [
        {"question": f"{size}: build, rows/s of CPU time", "ours": rows / filled["cpu"], "rival": None, "ratio": None, "iqr": None,
         "goal": None, "met": None, "wall": filled["wall"], "bytes": filled["bytes"]},
        {"question": f"{size}: files", "ours": filled["files"], "rival": None, "ratio": None, "iqr": None, "goal": "< 20",
         "met": filled["files"] < 20},
        {"question": f"{size}: peak memory of the largest stage, GiB", "ours": peak, "rival": None, "ratio": None, "iqr": None,
         "goal": f"< {PEAK_GIB}", "met": peak < PEAK_GIB,
         "stages": {"build": filled["peak"], "exact": asked["peak"], "index": made["peak"], "ask": index["peak"]}},
        row(f"{size}: exact, 1 query, in memory, ms; rival: reading the same memory (the faster of sum and dot)", ms["one"],
            [1e3 * value for value in memory], share, goal=f"≥ {BANDWIDTH} of the memory bandwidth",
            met=statistics.median(share) >= BANDWIDTH, bandwidth=rows * DIM * 4 / statistics.median(memory) / 1e9, first=asked["first"]),
        row(f"{size}: exact, 64 queries, in memory, ms a query; rival: one query", [value / 64 for value in ms["many"]], ms["one"],
            quotients(ms["one"], [value / 64 for value in ms["many"]]), goal=None, met=None,
            bandwidth_share=statistics.median(quotients(memory, times["many"])),
            gflops=2 * 64 * rows * DIM / statistics.median(times["many"]) / 1e9),
        {"question": f"{size}: exact among the rows of a condition on the source, 1 query, ms", "ours": statistics.median(ms["filtered"]),
         "rival": None, "ratio": None, "iqr": None, "goal": None, "met": None, "raw": {"ours": ms["filtered"]}},
    ]
    for queries in (1, 64):
        ours, rival = numpy[f"ours, {queries}"], numpy[f"numpy, {queries}"]
        ratio = quotients(rival, ours)
        question = f"{min(rows, SMALL) / 1e6:g} M × {DIM}: exact, queries: {queries}, s; rival: NumPy product and argpartition"
        found.append(row(question, ours, rival, ratio, goal="faster", met=statistics.median(ratio) > 1))
    scale = statistics.median(ms["one"])
    return [
        *found,
        {"question": f"{size}: index, CPU s to make and measure", "ours": made["cpu"], "rival": None, "ratio": None, "iqr": None,
         "goal": None, "met": None, "wall": made["wall"], "files": made["files"], "bytes": made["bytes"], "partitions": made["partitions"],
         "probes": made["probes"], "refine": made["refine"]},
        {"question": f"{size}: recall@{K} of the index, 1,000 rows of the table", "ours": made["recall"], "rival": None, "ratio": None,
         "iqr": None, "goal": f"≥ {RECALL}", "met": made["recall"] >= RECALL},
        {"question": f"{size}: recall@{K} of the index, {QUESTIONS} points that are not in the table", "ours": index["recall"],
         "rival": None, "ratio": None, "iqr": None, "goal": f"≥ {RECALL}", "met": index["recall"] >= RECALL},
        row(f"{size}: index, 1 query, CPU ms; rival: exact in memory", per_index, ms["one"], [scale / value for value in per_index],
            goal="faster", met=scale > statistics.median(per_index), wall_ms=1e3 * statistics.median(index["wall"]),
            with_names_ms=1e3 * statistics.median(index["times"]["named"])),
        row(f"{size}: index, 64 queries, CPU ms a query; rival: exact in memory", [1e3 * v / 64 for v in index["times"]["many"]],
            [value / 64 for value in ms["many"]],
            [statistics.median(times["many"]) / value for value in index["times"]["many"]], goal=None, met=None),
    ]


def main() -> None:
    """Run every stage, print a table, write the JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=ROWS)
    options.add_argument("--folder", type=Path, default=None)
    options.add_argument("--stage", choices=list(STAGES), default=None)
    given = options.parse_args()
    if given.stage:
        print(json.dumps(STAGES[given.stage](given.folder, given.rows)))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        found = [in_a_process(stage, Path(place), given.rows) for stage in STAGES]
    rows = rows_of(given.rows, *found)
    torch.set_num_threads(1)  # as the stages had
    for one in rows:
        print(f"{one['question']:<110} {one['ours']:12.4g}  ratio {one['ratio']}  met {one['met']}", flush=True)
    print(write("search", rows))


if __name__ == "__main__":
    main()
