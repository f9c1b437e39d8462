"""How fast is the road from files to a table, a domain and a stage, and is its memory flat in the number of files?

For each domain the shipped samples are copied to a folder with N and with 4N files. ``read``: file to graphs in one process.
``embed``: the whole command (workers, store, untrained encoder, table) in a process of its own, whose peak memory and that
of its workers is measured. Run: ``python -m benchmarks.pipeline``.
"""

from __future__ import annotations

import json
import logging
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

from geoembed import read

from benchmarks.record import write
from benchmarks.timing import spread

DOMAINS = {
    "materials": ("crystal-*.cif", 1000), "particles": ("jet-*.parquet", 10), "climate": ("weather-*.nc", 10),
    "satellite": ("scene-*.tif", 50), "astronomy, images": ("galaxy-*.fits.gz", 50),
    "astronomy, light curves": ("lightcurve-*.csv", 20), "astronomy, spectra": ("spectrum-*.fits", 20),
    "ecology, sounds": ("sound-*.flac", 50), "ecology, photographs": ("photo-*.png", 50), "ecology, sequences": ("dna-*.fasta", 5),
}
"""Samples of a domain, and N."""

CRYSTALS_PER_SECOND = 100
PEAK_GIB = 4.0
FLAT = 1.25
"""Peak with 4N files over peak with N files."""

_EMBED = """
import json, resource, sys
from geoembed import embed
report = embed([sys.argv[1]], out=sys.argv[2], workers=2)
peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps({"in": report.records_in, "out": report.done, "seconds": report.seconds, "peak": peak / 2**20}))
"""


def copies(pattern: str, count: int, folder: Path) -> Path:
    """A folder with ``count`` files made of the samples that match."""
    samples = sorted(Path(str(files("geoembed") / "samples")).glob(pattern))
    folder.mkdir()
    for i in range(count):
        sample = samples[i % len(samples)]
        shutil.copy(sample, folder / f"{i:05d}_{sample.name}")
    return folder


def read_rate(folder: Path, repeats: int = 3) -> tuple[float, float]:
    """(records/s, interquartile range) of file to graphs, one process, first pass left out."""
    rates = []
    for _ in range(repeats + 1):
        start, records = time.perf_counter(), 0
        for path in sorted(folder.iterdir()):
            records += sum(1 for _ in read(path))
        rates.append(records / (time.perf_counter() - start))
    return statistics.median(rates[1:]), spread(rates[1:])


def embed_once(folder: Path, out: Path) -> dict[str, float]:
    """The whole command in a process of its own: records, wall seconds with start-up, peak GiB of the largest process."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", _EMBED, str(folder), str(out)], check=True, capture_output=True, text=True)
    return {**json.loads(done.stdout.splitlines()[-1]), "wall": time.perf_counter() - start}


def rows_of(domain: str, pattern: str, count: int) -> list[dict[str, object]]:
    """Rows of one domain."""
    with tempfile.TemporaryDirectory() as place:
        few, many = (copies(pattern, n, Path(place) / str(n)) for n in (count, 4 * count))
        rate, iqr = read_rate(few)
        small, large = embed_once(few, Path(place) / "t1"), embed_once(many, Path(place) / "t2")
    growth = large["peak"] / small["peak"]
    # The slope between the two runs leaves the start of processes out; the goal counts it in.
    marginal = (large["in"] - small["in"]) / max(large["wall"] - small["wall"], 1e-9)
    goal = CRYSTALS_PER_SECOND if domain == "materials" else None
    throughput = large["in"] / large["wall"]
    return [
        {"question": f"{domain}: read, records/s, one core", "ours": rate, "rival": None, "ratio": None, "iqr": iqr,
         "goal": None, "met": None},
        {"question": f"{domain}: embed from files to table, records/s, start-up included", "ours": throughput, "rival": None, "ratio": None,
         "iqr": None, "goal": goal, "met": None if goal is None else throughput >= goal, "records": large["in"], "embedded": large["out"],
         "wall": large["wall"], "marginal": marginal},
        {"question": f"{domain}: peak memory with 4N files, GiB", "ours": large["peak"], "rival": small["peak"], "ratio": growth,
         "iqr": None,
         "goal": f"< {PEAK_GIB} GiB and ≤ {FLAT} × the peak with N files", "met": large["peak"] < PEAK_GIB and growth <= FLAT,
         "files": [count, 4 * count]},
    ]


def main() -> None:
    """Measure every domain, print a table, write the JSON."""
    logging.getLogger("geoembed").setLevel(logging.ERROR)
    rows: list[dict[str, object]] = []
    for domain, (pattern, count) in DOMAINS.items():
        rows += rows_of(domain, pattern, count)
        for row in rows[-3:]:
            print(f"{row['question']:<75} {row['ours']:10.2f}  goal {row['goal']}  met {row['met']}", flush=True)
    print(write("pipeline", rows))


if __name__ == "__main__":
    main()
