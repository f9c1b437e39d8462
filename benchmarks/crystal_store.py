"""How many crystals a second does a core turn from files into a store, in how much memory, and how large is the store?

``geoembed.build`` of a source with two workers; ``--source`` names files of your own, else CIF files of random crystals of 10 to 50
sites are made. Every record has to be in the store or in its quarantine. Memory: the most that each process held at a time (VmHWM of
Linux), this one and every worker that there was; read several times a second, so that of a worker that is replaced counts as well.
Run: ``python -m benchmarks.crystal_store [--source PATH …] [--files N] [--workers N] [--rounds N] [--out FOLDER]``.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import geoembed
import numpy as np
from geoembed.store import open_store

from benchmarks import record
from benchmarks.timing import spread

PEAK_GIB = 1.0
"""A worker that holds a crystal at a time has no reason to need more."""
ELEMENTS = ("Li", "O", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "K", "Ca", "Ti", "Fe", "Cu", "Zn", "Ga", "Sr", "Zr", "Ba", "La")
SPACING = 2.6  # Å between sites of a grid from which they are moved by up to 0.4 Å: no two coincide


def crystal_files(folder: Path, number: int) -> Path:
    """CIF files of random crystals."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in range(number):
        sides = rng.integers(2, 5, 3)
        sites = np.stack(np.meshgrid(*(np.arange(side) for side in sides), indexing="ij"), -1).reshape(-1, 3)[: int(rng.integers(10, 51))]
        length = sides * SPACING
        fractions = (sites * SPACING + rng.uniform(-0.4, 0.4, sites.shape)) / length
        elements = rng.choice(ELEMENTS, len(sites))
        rows = "".join(f"{e}{i} {e} {x:.6f} {y:.6f} {z:.6f}\n" for i, (e, (x, y, z)) in enumerate(zip(elements, fractions, strict=True)))
        cell = "".join(f"_cell_length_{axis} {value:.6f}\n" for axis, value in zip("abc", length, strict=True))
        angles = "".join(f"_cell_angle_{angle} 90\n" for angle in ("alpha", "beta", "gamma"))
        columns = "".join(f"_atom_site_{column}\n" for column in ("label", "type_symbol", "fract_x", "fract_y", "fract_z"))
        head = f"data_c{name}\n_symmetry_space_group_name_H-M 'P 1'\n{cell}{angles}"
        (folder / f"c{name:05d}.cif").write_text(f"{head}loop_\n{columns}{rows}")
    return folder


class Peaks:
    """The most memory that this process and each of those below it held while a ``with`` block lasted, in MB, by number of the process."""

    def __init__(self) -> None:
        self.peaks: dict[int, float] = {}
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._watch.join()

    def _follow(self) -> None:
        while not self._over.wait(0.1):
            for process in family(os.getpid()):
                if (peak := high_water(process)) is not None:
                    self.peaks[process] = peak


def family(first: int) -> set[int]:
    """Numbers of a process and of all below it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended meanwhile
                continue
    found = {first}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def high_water(process: int) -> float | None:
    """Peak resident memory of a process in MB; None where it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM")), None)


def once(sources: list[str], folder: Path, workers: int) -> dict[str, float | list[float]]:
    """One build into a new folder: counts, seconds, peaks of this process and of the others."""
    start = time.perf_counter()
    with Peaks() as memory:
        report = geoembed.build(sources, folder, workers=workers)
        seconds = time.perf_counter() - start
    if report.records_in != report.built + len(report.quarantined):
        raise SystemExit(f"{report.records_in} records in, {report.built} built and {len(report.quarantined)} quarantined")
    others = sorted(peak for process, peak in memory.peaks.items() if process != os.getpid())
    return {"records": report.records_in, "built": report.built, "quarantined": len(report.quarantined), "seconds": seconds,
            "own": memory.peaks.get(os.getpid(), 0.0), "workers": others}


def rows(sources: list[str], what: str, workers: int, rounds: int, place: Path) -> list[dict[str, object]]:
    """Build some times; the rate of each, the largest peaks of all, and the size of the store."""
    runs = [once(sources, place / str(number), workers) for number in range(rounds)]
    first = runs[0]
    rates = [float(run["records"]) / float(run["seconds"]) / workers for run in runs]  # type: ignore[arg-type]
    peak = max((one for run in runs for one in run["workers"]), default=0.0)  # type: ignore[union-attr]
    store = open_store(place / "0")
    entries = [shard for chunk in store.chunks for shard in chunk.shards]
    size = sum((store.folder / name).stat().st_size for name in store.files())
    edges, graphs = sum(entry.edges for entry in entries), sum(entry.graphs for entry in entries)
    counts = {"records": first["records"], "built": first["built"], "quarantined": first["quarantined"], "workers": workers, "source": what}
    return [
        {"question": f"build: crystals/s a core, {workers} workers, start included", "unit": "crystals/s", "ours": statistics.median(rates),
         "rival": None, "ratio": None, "iqr": spread(rates), "goal": "records in = built + quarantined", "met": True, "better": "higher",
         **counts, "seconds": [run["seconds"] for run in runs], "raw": {"ours": rates}},
        {"question": "build: peak resident memory of the largest worker, MB", "unit": "MB", "ours": peak, "rival": None, "ratio": None,
         "iqr": None, "goal": f"≤ {PEAK_GIB} GiB", "met": 0 < peak <= PEAK_GIB * 1073.741824, "better": "lower", **counts,
         "raw": {"workers": [run["workers"] for run in runs], "main": [run["own"] for run in runs]}},
        {"question": "store: bytes a crystal on the disk", "unit": "B", "ours": size / max(graphs, 1), "rival": None, "ratio": None,
         "iqr": None, "goal": None, "met": None, "better": "lower", **counts, "bytes_an_edge": size / max(edges, 1),
         "edges_a_crystal": edges / max(graphs, 1), "nodes_a_crystal": sum(entry.nodes for entry in entries) / max(graphs, 1)},
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a line a row, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", nargs="+", help="files or folders of crystals; by default random ones")
    parser.add_argument("--files", type=int, default=2000, help="CIF files that are made where no source is named")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where stores are made")
    parser.add_argument("--out", type=Path, help="folder of the results; by default those of the checkout")
    options = parser.parse_args(arguments)
    if options.out:
        record.keep_in(options.out)
    logging.getLogger("geoembed").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="crystal-store-", dir=options.folder) as name:
        place = Path(name)
        sources = options.source or [str(crystal_files(place / "files", options.files))]
        what = ", ".join(Path(source).name for source in options.source or ()) or f"{options.files} random CIF files"
        table = rows(sources, what, options.workers, options.rounds, place)
    for one in table:
        print(f"{one['question']}: {one['ours']:,.1f}, goal {one['goal']}, met {one['met']}", flush=True)
    print(record.write("crystal_store", table, seed=0))


if __name__ == "__main__":
    main()
