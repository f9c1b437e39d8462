"""How fast do batches come out of a store, beside PyG's InMemoryDataset and DataLoader at its best number of workers?

Crystals of the size of the Materials Project's (30 sites, 360 edges in the mean), 1,024 a batch. Both sides have the same fields in
the same dtypes and must give the same tensors. An epoch of each in turns; graphs a second of wall time, one thread and no prefetch on
our side; the rival with 0, 1 and 2 workers, and its best one counts. On a GPU: batches of 2,048 cut from resident arrays, in
milliseconds. Run: ``python -m benchmarks.loader [--graphs N]``; ``--larger`` instead reads a store of 4 GB in a process
that may have 1 GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from geoembed.schema import Graph, Provenance
from geoembed.store import Budget, ChunkEntry, Loader, ShardDataset, ShardWriter, Store
from geoembed.store.manifest import Journal
from torch_geometric.data import Data, InMemoryDataset
from torch_geometric.loader import DataLoader

from benchmarks.record import write
from benchmarks.timing import on_card, quotients, row

BATCH, GPU_BATCH, EPOCHS = 1024, 2048, 5
WORKERS = (0, 1, 2)
SHUFFLED, SEQUENTIAL, GPU_MS = 10.0, 40.0, 0.10
STORE_BYTES, MEMORY = 4 << 30, 1 << 30
FIELDS = ("pos", "token", "edge_index", "edge_attr", "edge_shift", "cell", "pbc", "y")
UNBOUNDED = 1 << 62


def crystals(number: int, seed: int = 0) -> Iterable[Graph]:
    """Random graphs with the fields of crystals: 1 to 59 sites, 12 edges a site."""
    rng = np.random.default_rng(seed)
    for record in range(number):
        n = int(rng.integers(1, 60))
        edges = 12 * n
        target = np.repeat(np.arange(n), 12)
        yield Graph(
            Provenance(kind="crystal", modality="crystal", source="random", record=str(record), settings={"cutoff": 8.0}),
            num_nodes=n, pos=torch.from_numpy(rng.random((n, 3)) * 9), token=torch.from_numpy(rng.integers(1, 95, (n, 1))),
            edge_index=torch.from_numpy(np.stack([rng.integers(0, n, edges), target])),
            edge_attr=torch.from_numpy(rng.random((edges, 1), np.float32)),
            edge_shift=torch.from_numpy(rng.integers(-2, 3, (edges, 3), np.int8)),
            cell=torch.from_numpy(rng.random((1, 3, 3))), pbc=torch.ones(1, 3, dtype=torch.bool),
            y=torch.from_numpy(rng.random((1, 1), np.float32)),
        )


def store_of(folder: Path, number: int) -> Store:
    """A store of random crystals."""
    writer = ShardWriter(folder, "benchmark")
    for graph in crystals(number):
        writer.add(graph)
    shards = writer.close()
    entry = ChunkEntry(key="benchmark", sources=["random"], records_in=number, built=number, quarantined=0, shards=shards)
    return Journal(folder).close([entry])


class Collated(InMemoryDataset):  # type: ignore[misc]
    """The same graphs as PyG keeps them."""

    def __init__(self, graphs: list[Data]) -> None:
        super().__init__(None)
        self.data, self.slices = self.collate(graphs)


def collated(store: Store) -> Collated:
    """PyG's data set of the graphs of a store, with the fields alone."""
    return Collated([Data(**{name: graph[name] for name in FIELDS}, num_nodes=graph.num_nodes) for graph in ShardDataset(store)])


def check(store: Store, data: Collated) -> None:
    """Stop unless a batch of ours has the tensors of PyG's."""
    ours = next(iter(Loader(store, budget=Budget(UNBOUNDED, UNBOUNDED, BATCH), shuffle=True, prefetch=0)))
    numbers = [int(origin.record) for origin in ours.provenances]
    theirs = next(iter(DataLoader(data.index_select(numbers), BATCH)))
    for name in (*FIELDS, "ptr"):
        if not torch.equal(ours[name], theirs[name]) or ours[name].dtype != theirs[name].dtype:
            raise SystemExit(f"{name} differs from PyG's")
    if not torch.equal(ours.segment, theirs.batch):
        raise SystemExit("the graph of each node differs from PyG's")


def epoch(batches: Iterable[object], graphs: int) -> float:
    """Graphs a second of one epoch, wall time, after one that is not timed: each has memory as its own last epoch left it."""
    sum(batch.num_graphs for batch in batches)  # type: ignore[attr-defined]
    start = time.perf_counter()
    seen = sum(batch.num_graphs for batch in batches)  # type: ignore[attr-defined]
    seconds = time.perf_counter() - start
    if seen != graphs:
        raise SystemExit(f"{seen} of {graphs} graphs")
    return graphs / seconds


def cpu_rows(store: Store) -> list[dict[str, object]]:
    """Shuffled and sequential epochs beside PyG's."""
    data, graphs = collated(store), store.built
    check(store, data)
    budget = Budget(UNBOUNDED, UNBOUNDED, BATCH)
    loaders: dict[str, Iterable[object]] = {
        "shuffled": Loader(store, budget=budget, shuffle=True, prefetch=0), "sequential": Loader(store, budget=budget, prefetch=0),
        "shuffled, ahead": Loader(store, budget=budget, shuffle=True),
    }
    rivals: dict[str, Iterable[object]] = {
        f"{n} workers": DataLoader(data, BATCH, shuffle=True, num_workers=n, persistent_workers=n > 0) for n in WORKERS
    }
    rates: dict[str, list[float]] = {name: [] for name in loaders | rivals}
    for _ in range(EPOCHS):
        for name, loader in (loaders | rivals).items():
            rates[name].append(epoch(loader, graphs))
    best = max(rivals, key=lambda name: statistics.median(rates[name]))
    table = []
    for name, goal in (("shuffled", SHUFFLED), ("sequential", SEQUENTIAL), ("shuffled, ahead", None)):
        ratios = quotients(rates[name], rates[best])
        table.append(row(f"graphs/s of an epoch, {BATCH} a batch, {name}, beside PyG's InMemoryDataset with {best}, shuffled", rates[name],
                         rates[best], ratios, goal=goal, met=None if goal is None else statistics.median(ratios) >= goal,
                         workers={n: statistics.median(rates[n]) for n in rivals}))
    return [*table, growth(loaders["shuffled"])]


def growth(loader: Iterable[object]) -> dict[str, object]:
    """Memory of the process after one more epoch and after five more, MB."""
    def resident() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6

    sizes = []
    for _ in range(6):
        sum(batch.num_graphs for batch in loader)  # type: ignore[attr-defined]
        sizes.append(resident())
    grown = [size - sizes[0] for size in sizes[1:]]
    return row("resident memory that later epochs add to an early one, MB", grown, sizes, [1.0] * 5, goal=5.0, met=max(grown) <= 5.0)


def gpu_rows(store: Store) -> list[dict[str, object]]:
    """Milliseconds a batch from arrays that stay on the card, beside a batch that is cut on the CPU and copied."""
    budget = Budget(UNBOUNDED, UNBOUNDED, GPU_BATCH)
    table = []
    for shuffle in (True, False):
        resident = Loader(store, budget=budget, shuffle=shuffle, device="cuda", resident=True, prefetch=0)
        copied = Loader(store, budget=budget, shuffle=shuffle, device="cuda")
        for ours, theirs in zip(resident, copied, strict=True):
            if not all(torch.equal(ours[name], theirs[name]) for name in (*FIELDS, "ptr")):
                raise SystemExit("a batch from the card differs from the same one from the CPU")
        batches = -(-store.built // GPU_BATCH)

        def whole(loader: Loader = resident) -> object:
            return [batch.ptr for batch in loader]

        def moved(loader: Loader = copied) -> object:
            return [batch.ptr for batch in loader]

        walls: dict[str, list[float]] = {"resident": [], "copied": []}
        for number in range(EPOCHS + 2):
            for name, call in (("resident", whole), ("copied", moved)):
                start = time.perf_counter()
                call()
                torch.cuda.synchronize()
                if number > 1:
                    walls[name].append(1e3 * (time.perf_counter() - start) / batches)
        card = [1e3 * seconds / batches for seconds in on_card({"resident": whole}, EPOCHS)["resident"]]
        name = "shuffled" if shuffle else "sequential"
        table.append(row(f"ms of wall time a batch of {GPU_BATCH} from arrays on the card, {name}, beside cut on the CPU and copied",
                         walls["resident"], walls["copied"], quotients(walls["copied"], walls["resident"]), goal=GPU_MS,
                         met=statistics.median(walls["resident"]) <= GPU_MS, between_events_ms=card))
    return table


_LARGER = """
import json, resource, sys, time
from geoembed.store import Budget, Loader
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
loader = Loader(sys.argv[1], budget=Budget(graphs=1024), shuffle=True, memory=limit // 8, prefetch=0)
seconds, peaks = [], []
for _ in range(2):
    start = time.perf_counter()
    graphs = sum(batch.num_graphs for batch in loader)
    seconds.append(time.perf_counter() - start)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
print(json.dumps({"graphs": graphs, "seconds": seconds, "peaks": peaks}))
"""


def larger_rows(folder: Path) -> list[dict[str, object]]:
    """Two shuffled epochs of a store of 4 GB, the same crystals again and again, in a process that may have 1 GB."""
    chunk = 10_000
    graphs, entries, size = list(crystals(chunk)), list[ChunkEntry](), 0
    while size < STORE_BYTES:
        writer = ShardWriter(folder, f"chunk {len(entries)}")
        for graph in graphs:
            writer.add(graph)
        shards = writer.close()
        entries.append(ChunkEntry(key=f"chunk {len(entries)}", sources=[str(len(entries))], records_in=chunk, built=chunk, quarantined=0,
                                  shards=shards))
        size = sum(path.stat().st_size for path in folder.iterdir())
    store = Journal(folder).close(entries)
    done = subprocess.run([sys.executable, "-c", _LARGER, str(folder), str(MEMORY)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    result = json.loads(done.stdout)
    rates = [store.built / seconds for seconds in result["seconds"]]
    met = result["graphs"] == store.built and max(result["peaks"]) * 1e6 <= MEMORY
    question = f"graphs/s of a shuffled epoch of a store of {size / 1e9:.1f} GB under a memory limit of {MEMORY / 1e9:.1f} GB"
    return [{"question": question, "ours": statistics.median(rates), "rival": None, "ratio": None, "iqr": abs(rates[1] - rates[0]),
             "goal": "every graph once an epoch, within the limit", "met": met, "peak_mb": result["peaks"],
             "megabytes_per_s": [size / seconds / 1e6 for seconds in result["seconds"]], "raw": {"ours": rates}}]


def main() -> None:
    """Measure, print a line a row, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=20_480)
    parser.add_argument("--larger", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="loader-") as place:
        folder = Path(place)
        if options.larger:
            table, name = larger_rows(folder), "loader_larger"
        else:
            store = store_of(folder, options.graphs)
            table, name = (gpu_rows if torch.cuda.is_available() else cpu_rows)(store), "loader"
    for one in table:
        print(f"{one['question']}: {one['ours']:.4g}, rival {one['rival'] or 0:.4g}, ratio {one['ratio'] or 0:.3g}, met {one['met']}")
    print(write(name, table))


if __name__ == "__main__":
    main()
