"""How fast do tables of jets become a store?

A table of jets to a finished, checksummed store, in one process, by whole columns (what ``build`` does) against one record after
the other (the same readers and builders). Every figure is process CPU time, rounds of both sides in turn.
Run: ``python -m benchmarks.particles``.
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
from geoembed.pipeline import Limits, worker
from geoembed.pipeline.worker import Task, blank, write_chunk
from torch import Tensor

from benchmarks.record import write
from benchmarks.timing import quotients, row

JETS_PER_SECOND = 200_000
ROUNDS, RECORDS = 4, 1500


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
            rows.append(row(f"jets to a store, {name}: jets/s of a core against record by record", ours, rival, quotients(ours, rival),
                            goal=JETS_PER_SECOND, met=statistics.median(ours) >= JETS_PER_SECOND and equal, equal=equal))
    return rows


def main() -> None:
    """Measure, and write the rows."""
    torch.set_num_threads(1)
    rows = store_rows(60_000)
    for line in rows:
        print(f"{line['question']}: {line['ours']:,.6g}, rival {line['rival']:,.6g}, ratio {line['ratio']:.3g}, met {line['met']}")
    print(write("particles", rows))


if __name__ == "__main__":
    main()
