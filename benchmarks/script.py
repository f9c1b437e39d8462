"""What scripts of several parts share: their options, and a run that keeps what is done when a part fails."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import record
from benchmarks.ceilings import ceilings
from benchmarks.tables import print_rows

SEED = 0


@dataclass(frozen=True)
class Run:
    """How to measure: where, how often, and the ceilings measured there."""

    device: str
    small: bool
    rounds: int
    repeats: int
    roofs: Mapping[str, object]

    @property
    def few(self) -> dict[str, int]:
        """Rounds and repeats, as :func:`benchmarks.contest.contest` takes them."""
        return {"rounds": self.rounds, "repeats": self.repeats}


def compiled(run: Run, function: Callable[..., Any], *, tuned: bool) -> dict[str, Callable[..., Any]]:
    """A rival compiled, by name of the mode; nothing on a CPU, where compiling would take longer than all else.

    Shapes are static. CUDA graphs are captured by the contest, for all alike, not by the mode.
    """
    if run.device != "cuda":
        return {}
    ways: dict[str, Callable[..., Any]] = {"compiled": torch.compile(function, dynamic=False)}
    return ways | ({"max-autotune": torch.compile(function, dynamic=False, mode="max-autotune-no-cudagraphs")} if tuned else {})


Part = Callable[[Run], list[dict[str, object]]]
"""Measures one part; its one-line docstring is what ``--help`` says of it."""


def parsed(doc: str | None, parts: Mapping[str, Part], arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a script."""
    lines = "\n".join(f"  {name}: {(part.__doc__ or '').splitlines()[0]}" for name, part in parts.items())
    parser = argparse.ArgumentParser(description=doc, epilog=f"parts:\n{lines}", formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(parts), default=list(parts), metavar="PART", help="measure these parts alone")
    parser.add_argument("--cpu", action="store_true", help="a small problem on the CPU, in seconds")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--out", type=Path, help="folder of the results; by default those of the checkout")
    return parser.parse_args(arguments)


def run_parts(name: str, doc: str | None, parts: Mapping[str, Part], arguments: list[str] | None = None) -> None:
    """Measure the parts that are asked for, write the JSON after each, print a table; exit status 1 where one failed."""
    options = parsed(doc, parts, arguments)
    if not options.cpu and not torch.cuda.is_available():
        raise SystemExit("There is no GPU here; --cpu measures a small problem.")
    if options.out:
        record.keep_in(options.out)
    if options.cpu:
        torch.set_num_threads(1)
    torch.manual_seed(SEED)
    device, few = "cpu" if options.cpu else "cuda", options.quick or options.cpu
    run = Run(device, options.cpu, rounds=3 if options.cpu else 10 if few else 30, repeats=3 if few else 20,
              roofs=ceilings(device, quick=options.cpu))
    failures = []
    for part in options.only:
        try:
            rows = parts[part](run)
        except (SystemExit, Exception) as error:  # noqa: BLE001 (one part that fails must not lose those after it)
            rows = [{"question": f"{name}, {part}", "part": part, "ours": None, "rival": None, "ratio": None, "iqr": None, "goal": None,
                     "met": False, "failure": f"{type(error).__name__}: {error}"[:500], "failed": "ours"}]
        failures += [f"{part}: {one['failure']}" for one in rows if one.get("failed") == "ours"]
        print_rows(rows)
        path = record.write(name, rows, ceilings=run.roofs, seed=SEED, parts=(part,))
        if device == "cuda":
            torch.cuda.empty_cache()
    print(path, flush=True)
    if failures:
        raise SystemExit("\n".join(failures))
