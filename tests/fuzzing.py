"""Byte mutations of sample files, read in a process of their own: what a reader may do to a broken file, and what never.

Run as a script (``make fuzz``) it goes on for FUZZ_MINUTES with seeds from the clock, and keeps what it finds in ``build/fuzz``.
"""

from __future__ import annotations

import gzip
import multiprocessing
import os
import random
import re
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

SECONDS = 5.0
"""Longest time for one file, of the process (on a loaded machine the clock says more)."""

_MEMORY = 8 << 30  # of addresses, beyond what the libraries take
_INTEGERS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0\0\0\x80", b"\0\x01\0\0")
_TOKENS = (b"nan", b"inf", b"-inf", b"1e400", b"-1", b"0", b"99999999999999999999", b"1e-400", b"", b"x", b"--", b"\xff", b"\0", b"?", b".")
_NUMBER = re.compile(rb"-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")


def _cut(data: bytes, r: random.Random) -> bytes:
    return data[: r.randrange(len(data))]


def _flip(data: bytes, r: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(r.choice((1, 1, 1, 2, 8, 32))):
        changed[r.randrange(len(changed))] ^= 1 << r.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, r: random.Random) -> bytes:
    what = r.choice(_INTEGERS) if r.random() < 0.7 else r.randbytes(r.randrange(1, 16))
    at = r.randrange(len(data))
    return data[:at] + what + data[at + len(what) :]


def _insert(data: bytes, r: random.Random) -> bytes:
    at = r.randrange(len(data) + 1)
    return data[:at] + (r.choice(_TOKENS) if r.random() < 0.5 else r.randbytes(r.randrange(1, 64))) + data[at:]


def _delete(data: bytes, r: random.Random) -> bytes:
    at = r.randrange(len(data))
    return data[:at] + data[at + r.choice((1, 2, 4, 16, 100, 1000)) :]


def _duplicate(data: bytes, r: random.Random) -> bytes:
    at, size = r.randrange(len(data)), r.choice((1, 4, 16, 80, 512))
    return data[: at + size] + data[at : at + size] * r.choice((1, 1, 5)) + data[at + size :]


def _splice(data: bytes, r: random.Random) -> bytes:
    source, target, size = r.randrange(len(data)), r.randrange(len(data)), r.choice((4, 16, 128, 1024))
    return data[:target] + data[source : source + size] + data[target + size :]


def _number(data: bytes, r: random.Random) -> bytes:
    """Another value for one of the numbers that stand in the first 64 kB as text; of a binary file, a token somewhere."""
    found = list(_NUMBER.finditer(data[:65536]))
    match = r.choice(found) if found else None
    low, high = match.span() if match else (r.randrange(len(data)),) * 2
    return data[:low] + r.choice(_TOKENS) + data[high:]


def _head(data: bytes, r: random.Random) -> bytes:
    """Any of the others, near the beginning: most of what a format declares is there."""
    part = r.choice((64, 512, 4096))
    return r.choice((_flip, _overwrite, _insert, _delete, _splice, _number))(data[:part], r) + data[part:]


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _cut, _flip, _overwrite, _insert, _delete, _duplicate, _splice, _number, _head, _head, _head,
)


def mutated(data: bytes, seed: str) -> bytes:
    """A mutation of ``data`` that depends on the seed alone; of one in four, several."""
    r = random.Random(seed)
    for _ in range(r.choice((1, 1, 1, 3))):
        data = r.choice(MUTATIONS)(data, r) if data else data
    return data


@dataclass(frozen=True)
class Sample:
    """A whole file: its name and its bytes."""

    name: str
    data: bytes

    @property
    def format(self) -> str:
        """Its suffixes without that of a compression."""
        return Path(self.name.removesuffix(".gz")).suffix

    def mutation(self, seed: str) -> tuple[str, bytes]:
        """(name, bytes) of a mutated copy; of a compressed sample mostly the content is mutated, and stored plain."""
        if self.name.endswith(".gz") and random.Random(f"packed {seed}").random() < 0.8:
            return self.name.removesuffix(".gz"), mutated(gzip.decompress(self.data), seed)
        return self.name, mutated(self.data, seed)


@dataclass
class Findings:
    """What came of the mutations of one sample: outcomes by name, and defects as (seed, what happened)."""

    outcomes: Counter[str] = field(default_factory=Counter)
    defects: list[tuple[str, str]] = field(default_factory=list)


def judge(path: Path) -> tuple[Counter[str], str]:
    """Read a file: (outcomes by name, what is wrong about it or ""). Exceptions that leave the reader are wrong by themselves."""
    import torch
    from geoembed import errors
    from geoembed.io.reader import stream
    from geoembed.io.sequences import NotNucleotidesError
    from geoembed.schema import Graph, validate

    ours = {name for name, value in vars(errors).items() if isinstance(value, type)} | {NotNucleotidesError.__name__}
    outcomes: Counter[str] = Counter()
    began = time.process_time()
    for item in stream(path):
        if isinstance(item, Graph):
            validate(item)
            for name in ("pos", "edge_attr", "weight", "cell"):
                if name in item and not bool(torch.isfinite(item[name]).all()):
                    return outcomes, f"{name} holds NaN or infinity"
            if int(item.num_nodes or 0) == 0 and item.kind != "cloud":
                return outcomes, "a graph without nodes"
            outcomes["graph"] += 1
            continue
        bad, error = item
        if bad.error not in ours or not isinstance(error, errors.GeoembedError):
            return outcomes, f"{bad.error} left the reader at {bad.stage}: {bad.reason[:300]}"
        if not bad.reason.rstrip().endswith((".", "?", "!", ")", "'")) or str(path) not in bad.reason:
            return outcomes, f"a reason without place or remedy: {bad.reason[:300]}"
        outcomes[bad.error] += 1
    if not outcomes:
        return outcomes, "neither a graph nor a reason"
    used = time.process_time() - began
    return outcomes, f"{used:.1f} s for one file" if used > SECONDS else ""


def _work(connection: Connection) -> None:
    """The process that reads: a message before each file and one after it."""
    import logging

    import torch
    from geoembed.io.reader import readers

    readers()  # imported before the first file's clock runs
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with open(os.devnull, "w") as null:  # what C libraries print about broken files
        os.dup2(null.fileno(), 2)
    with open("/proc/self/statm") as memory:
        taken = int(memory.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + _MEMORY, taken + _MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        while task := connection.recv():
            sample, seeds = task
            for seed in seeds:
                name, data = sample.mutation(seed)
                path = Path(folder) / name
                path.write_bytes(data)
                connection.send(seed)
                try:
                    outcomes, defect = judge(path)
                except Exception as error:  # noqa: BLE001 — whatever it is, it is a finding
                    outcomes, defect = Counter(), f"{type(error).__name__} left the stream: {error}"[:400]
                connection.send((outcomes, defect))


class Fuzzer:
    """A process that reads mutated files; one that dies or hangs is a finding, and another one goes on with the next file."""

    def __init__(self) -> None:
        self.process: multiprocessing.process.BaseProcess | None = None

    def __enter__(self) -> Fuzzer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def run(self, sample: Sample, seeds: list[str]) -> Findings:
        """Read a mutation of ``sample`` for each seed."""
        findings = Findings()
        while seeds:
            process = self.process or self._start()
            self.connection.send((sample, seeds))
            seeds = self._collect(process, seeds, findings)
        return findings

    def _start(self) -> multiprocessing.process.BaseProcess:
        context = multiprocessing.get_context("spawn")
        self.connection, there = context.Pipe()
        self.process = context.Process(target=_work, args=(there,), daemon=True)
        self.process.start()
        there.close()
        self.patience = 120.0  # for the imports
        return self.process

    def _stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
        self.process = None

    def _collect(self, process: multiprocessing.process.BaseProcess, seeds: list[str], findings: Findings) -> list[str]:
        """Take messages until the work is done or the process is lost; the seeds that are left."""
        for number, seed in enumerate(seeds):
            for _ in range(2):
                lost = ""
                try:
                    if self.connection.poll(self.patience):
                        message = self.connection.recv()
                    else:
                        lost = f"nothing for {self.patience:.0f} s"
                except (EOFError, ConnectionError):
                    process.join(5)
                    lost = f"the process died with code {process.exitcode}"
                if lost:
                    findings.defects.append((seed, lost))
                    self._stop()
                    return seeds[number + 1 :]
                self.patience = 6 * SECONDS
            outcomes, defect = message
            findings.outcomes += outcomes
            if defect:
                findings.defects.append((seed, defect))
        return []


def main() -> int:
    """Mutate all samples in turn until FUZZ_MINUTES are over; 1 where something was found."""
    from fuzz_samples import samples

    minutes = float(os.environ.get("FUZZ_MINUTES", "10"))
    end, found, base = time.monotonic() + 60 * minutes, Path("build/fuzz"), int(os.environ.get("FUZZ_SEED", time.time()))
    every = samples()
    print(f"seed {base}, {len(every)} samples, {minutes:g} minutes (FUZZ_SEED={base} repeats it)", flush=True)
    total, defects = 0, 0
    with Fuzzer() as fuzzer:
        for turn, (name, sample) in ((turn, one) for turn in count() for one in every.items()):
            if time.monotonic() > end:
                print(f"{total} files read, {defects} defects" + (f", kept in {found}/" if defects else ""))
                return int(defects > 0)
            findings = fuzzer.run(sample, [f"{base}:{turn}:{i}" for i in range(50)])
            total += 50
            for seed, what in findings.defects:
                defects += 1
                found.mkdir(parents=True, exist_ok=True)
                mutated_name, data = sample.mutation(seed)
                (found / f"{defects:03d}-{mutated_name}").write_bytes(data)
                print(f"{name} {seed}: {what}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
