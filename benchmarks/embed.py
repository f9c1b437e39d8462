"""Does a store become a table as fast as the encoder alone could go: store on disk → GPU → table on disk, for a minute?

Crystals of about 30 sites with 12 edges each in shards on disk. The encoder's own rate: on batches that lie on the device, at the best
of several batch sizes. Then ``geoembed.embed`` of the store to a table: from the page cache, for as many seconds as asked (the same files
under many names, so that nothing is skipped), and cold, each file read once after the system was told to forget it. The rate without an
encoder says what reading and writing alone can do here. Rates are of whole runs, start and last commit included; raw: of each second.
Run: ``python -m benchmarks.embed [--seconds N] [--precision bf16] [--crystals N] [--cold-gb N] [--cpu] [--folder PLACE] [--out FOLDER]``.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geoembed
import numpy as np
import torch
from geoembed import CrystalGraphEncoder
from geoembed.config import config
from geoembed.encoders import Encoder
from geoembed.encoders.crystal import CrystalGraphConfig
from geoembed.nn import unit_length
from geoembed.pipeline.budgets import ON_CPU
from geoembed.pipeline.precision import checked, placed, products
from geoembed.schema import Graph, GraphBatch, Provenance
from geoembed.store import Budget, ChunkEntry, ShardEntry, ShardWriter, open_store
from geoembed.store.flat import FlatGraphs
from geoembed.store.manifest import Journal
from geoembed.store.pieces import plan
from geoembed.store.transfer import Bus
from torch import Tensor, nn

from benchmarks import record
from benchmarks.timing import spread

CACHED, COLD = 0.8, 0.6
SHARD = 8192
SIZES = (1, 2, 4, 8)
"""Batches for the encoder's own rate, in multiples of the default budget."""
ON_DEVICE = 6  # different batches: more than the second-level cache holds


def crystals(number: int, seed: int = 0) -> Iterator[Graph]:
    """Random graphs with the fields of crystals: 10 to 50 sites, 12 edges a site."""
    rng = np.random.default_rng(seed)
    for name in range(number):
        n = int(rng.integers(10, 51))
        edges = 12 * n
        source = f"{name // 1000}.json"
        origin = Provenance(kind="crystal", modality="crystal", source=source, record=f"mp-{name}", settings={"cutoff": 8.0})
        yield Graph(
            origin, num_nodes=n, pos=torch.from_numpy(rng.random((n, 3)) * 9), token=torch.from_numpy(rng.integers(1, 95, (n, 1))),
            token_node=torch.arange(n), token_weight=torch.ones(n), weight=torch.ones(n),
            edge_index=torch.from_numpy(np.stack([rng.integers(0, n, edges), np.repeat(np.arange(n), 12)])),
            edge_attr=torch.from_numpy(rng.random((edges, 1), np.float32) * 8),
            edge_shift=torch.from_numpy(rng.integers(-2, 3, (edges, 3), np.int8)),
            cell=torch.from_numpy(rng.random((1, 3, 3))), pbc=torch.ones(1, 3, dtype=torch.bool),
        )


class Shelf:
    """Stores of one set of crystals: their files once on the disk, or under as many names as asked."""

    def __init__(self, place: Path, shard: int) -> None:
        self.place, self.shard = place, shard
        writer = ShardWriter(place, "first")
        for graph in crystals(shard):
            writer.add(graph)
        self.entries = writer.close()
        self.bytes = sum(path.stat().st_size for path in place.iterdir())
        self.graphs = sum(entry.graphs for entry in self.entries)

    def store(self, name: str, copies: int, names: int = 1) -> Path:
        """A store of ``copies`` × ``names`` shards: so many copies of the files, each of them under so many names."""
        folder = self.place / name
        folder.mkdir()
        entries = []
        for copy in range(copies):
            for number in range(names):
                shards = [self._shard(folder, entry, f"{name}:{copy}:{number}", f"{name}:{copy}:0") for entry in self.entries]
                entries.append(ChunkEntry(key=hashlib.sha256(f"{name}{copy}{number}".encode()).hexdigest()[:32],
                                          sources=[f"{name}-{copy}-{number}"], records_in=self.graphs, built=self.graphs, quarantined=0,
                                          shards=shards))
        Journal(folder).close(entries)
        return folder

    def _shard(self, folder: Path, entry: ShardEntry, name: str, original: str) -> ShardEntry:
        stem, first = (f"shard-{hashlib.sha256(f'{key}:{entry.stem}'.encode()).hexdigest()[:20]}" for key in (name, original))
        files = {}
        for file, digest in entry.files.items():
            suffix = Path(file).suffix
            if name == original:
                shutil.copyfile(self.place / file, folder / f"{stem}{suffix}")
            else:
                os.link(folder / f"{first}{suffix}", folder / f"{stem}{suffix}")
            files[f"{stem}{suffix}"] = digest
        return ShardEntry(**{**vars(entry), "stem": stem, "files": files})


def forget(folder: Path) -> None:
    """Have the system write what it holds of the files in a folder, and drop it from memory."""
    for path in folder.iterdir():
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


@config
class NoConfig:
    """D."""

    embedding_dim: int = 128


class Lookup(Encoder[NoConfig]):
    """Hardly an encoder: a row of a table for the first atom; what is left is reading and writing."""

    name, kind, needs, config_class = "lookup", "crystal", CrystalGraphEncoder.needs, NoConfig

    def __init__(self) -> None:
        super().__init__(NoConfig())
        self.rows = nn.Embedding(128, 128)

    def embed(self, batch: GraphBatch) -> Tensor:
        """Rows of the first atom of each graph."""
        found: Tensor = self.rows(batch.token[batch.ptr[:-1], 0])
        return found

    def from_tensors(self, *tensors: Tensor) -> GraphBatch:
        """There are none."""
        raise TypeError("a store is read")


def encoder_of(options: argparse.Namespace) -> CrystalGraphEncoder:
    """The encoder with its defaults, small on a CPU; random parameters."""
    torch.manual_seed(0)
    return CrystalGraphEncoder(CrystalGraphConfig(hidden_dim=32, layers=2) if options.cpu else CrystalGraphConfig())


def kernel_rate(store: Path, options: argparse.Namespace, seconds: float) -> tuple[float, dict[str, float]]:
    """Crystals a second of the encoder on batches that lie on the device: (best, by size of the batch)."""
    device = torch.device("cpu" if options.cpu else "cuda")
    precision = checked(options.precision, device)
    encoder, bus = placed(encoder_of(options), device, precision).eval(), Bus(device)
    shards = open_store(store).shards()
    budgets = [ON_CPU] if options.cpu else [Budget(k * Budget.nodes, k * Budget.edges, k * Budget.graphs) for k in SIZES]
    rates = {}
    for budget in budgets:
        pieces = [next(plan([shard], budget)) for shard in shards[:ON_DEVICE]]
        batches = [bus.send(FlatGraphs.of(some, pinned=bus.pins))[0].received() for some in pieces]
        with torch.inference_mode(), products(precision, device):
            for batch in batches:
                unit_length(encoder.embed(batch))  # compiled and warm
            rates[str(batches[0].num_graphs)] = _rate(encoder, batches, seconds / len(budgets), device)
    return max(rates.values()), rates


def _rate(encoder: Encoder[Any], batches: list[GraphBatch], seconds: float, device: torch.device) -> float:
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for batch in batches:
            unit_length(encoder.embed(batch))
            done += batch.num_graphs
        if device.type == "cuda":
            torch.cuda.synchronize()
    return done / (time.perf_counter() - start)


def timed(stores: list[Path], encoder: Encoder[Any], options: argparse.Namespace, table: Path) -> dict[str, Any]:
    """One run of ``embed``: records, seconds, and the rate in each second of it (given to the device; the last ones are being written)."""
    marks = [(0.0, 0)]
    start = time.perf_counter()

    def progress(done: int, total: int, records: int) -> None:
        marks.append((time.perf_counter() - start, records))

    shutil.rmtree(table, ignore_errors=True)
    report = geoembed.embed(stores, encoder, out=table, device="cpu" if options.cpu else "cuda", precision=options.precision,
                            progress=progress)
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in table.glob("*.parquet"))
    shutil.rmtree(table, ignore_errors=True)
    if report.embedded != report.records_in or report.quarantined:
        raise SystemExit(f"{report.embedded} of {report.records_in} embedded: {report.reasons}")
    return {"records": report.embedded, "seconds": seconds, "rate": report.embedded / seconds, "table_gb": size / 1e9,
            "each_second": _by_second(marks), "encoders": dict(report.encoders)}


def _by_second(marks: list[tuple[float, int]]) -> list[float]:
    times, records = (np.array(values, float) for values in zip(*marks, strict=True))
    ticks = np.arange(0, np.floor(times[-1]) + 1)
    return np.diff(np.interp(ticks, times, records)).round().tolist() if len(ticks) > 1 else []


def result(question: str, run: dict[str, Any], kernel: float | None, goal: float | None, **more: object) -> dict[str, object]:
    """A row: crystals a second of a run beside those of the encoder alone."""
    share = None if kernel is None else run["rate"] / kernel
    whole = run["each_second"] or [run["rate"]]
    return {"question": question, "unit": "crystals/s", "ours": run["rate"], "rival": kernel, "rival_name": "the encoder alone",
            "ratio": share, "iqr": spread(whole), "goal": None if goal is None else f"≥ {goal} of the encoder alone",
            "met": None if goal is None or share is None else share >= goal, "fraction": share, "records": run["records"],
            "seconds": run["seconds"], "table_gb": run["table_gb"], "better": "higher", **more, "raw": {"ours": whole}}


def rows(options: argparse.Namespace, place: Path) -> list[dict[str, object]]:
    """Measure all of it."""
    shelf, table = Shelf(place, min(SHARD, options.crystals)), place / "table"
    copies = -(-options.crystals // shelf.graphs)
    one = shelf.store("one", copies)
    encoder = encoder_of(options)
    more = {"precision": options.precision, "bytes_a_crystal": shelf.bytes / shelf.graphs, "shards": copies * len(shelf.entries)}
    first = timed([one], encoder, options, table)  # in which kernels are compiled
    kernel, sizes = kernel_rate(one, options, min(10.0, options.seconds))
    print(f"encoder alone: {kernel:,.0f} crystals/s {sizes}; first run {first['rate']:,.0f}", flush=True)
    alone = timed([one], Lookup(), options, table)
    names = max(1, round(options.seconds * min(alone["rate"], kernel) / (copies * shelf.graphs)))
    long = timed([shelf.store("many", copies, names)], encoder, options, table)
    cold = shelf.store("cold", max(1, int(options.cold_gb * 1e9 / shelf.bytes)))
    forget(cold)
    read = timed([cold], encoder, options, table)
    gigabytes = read["records"] * shelf.bytes / shelf.graphs / 1e9
    return [
        result(f"store → table of embeddings, sustained {long['seconds']:.0f} s, from the page cache", long, kernel, CACHED, batches=sizes,
               encoders=long["encoders"], **more),
        result("store → table of embeddings, cold", read, kernel, COLD, read_gb_per_s=gigabytes / read["seconds"], **more),
        result("store → table without an encoder, from the page cache", alone, kernel, None, **more),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a line a row, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the long run")
    parser.add_argument("--precision", default="bf16", help="fp32, tf32 or bf16")
    parser.add_argument("--crystals", type=int, default=262_144, help="of the store")
    parser.add_argument("--cold-gb", type=float, default=8.0, help="GB that the cold run reads")
    parser.add_argument("--cpu", action="store_true", help="a small encoder on the CPU")
    parser.add_argument("--folder", type=Path, help="where stores and tables are made: the disk that is measured")
    parser.add_argument("--out", type=Path, help="folder of the results; by default those of the checkout")
    options = parser.parse_args(arguments)
    if not options.cpu and not torch.cuda.is_available():
        raise SystemExit("There is no GPU here; --cpu measures a small encoder.")
    if options.out:
        record.keep_in(options.out)
    logging.getLogger("geoembed").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="embed-", dir=options.folder) as place:
        table = rows(options, Path(place))
    for one in table:
        share = "" if one["fraction"] is None else f" = {one['fraction']:.3f} of the encoder alone"
        print(f"{one['question']}: {one['ours']:,.0f} crystals/s{share}, goal {one['goal']}, met {one['met']}", flush=True)
    print(record.write("embed", table, seed=0))


if __name__ == "__main__":
    main()
