"""Runs scripts one after the other, each in a process of its own, and puts their rows in one table."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.catalog import QUESTIONS, Question
from benchmarks.record import RESULTS, device

ROOT = Path(__file__).parents[1]
QUICK = ROOT / "build" / "benchmarks"
"""Where short runs leave their results: they are no figures to keep."""


@dataclass
class Outcome:
    """What became of a script."""

    name: str
    status: str
    """``ran``, ``failed`` or ``skipped``."""
    reason: str = ""
    seconds: float = 0.0
    files: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)


def run_all(names: Sequence[str], *, quick: bool, out: Path | None, only: Sequence[str] = (), echo: bool = True) -> list[Outcome]:
    """Run the scripts of these names in turn; one that fails does not stop the others.

    Args:
        out: folder of the results; by default the committed ones, and :data:`QUICK` for short runs.
        only: parts, for scripts that have some.
        echo: pass on what the scripts print (to stderr).
    """
    has_gpu = torch.cuda.is_available()
    outcomes = []
    for name in names:
        question = QUESTIONS[name]
        small = question.parts and not has_gpu
        if question.where == "gpu" and not has_gpu and not small:
            outcomes.append(Outcome(name, "skipped", "it measures a GPU, and there is none here"))
            continue
        outcomes.append(_run(question, _arguments(question, quick, small, only), out or (QUICK if quick or small else RESULTS), echo))
    return outcomes


def _arguments(question: Question, quick: bool, small: bool, only: Sequence[str]) -> list[str]:
    chosen = ["--only", *only] if only and question.parts else []
    if question.parts:
        return chosen + (["--cpu"] if small else []) + (["--quick"] if quick else [])
    return list(question.quick) if quick else []


def _run(question: Question, arguments: Sequence[str], out: Path, echo: bool) -> Outcome:
    """One script in its own process; its rows are those of the files that it wrote."""
    start, began = time.perf_counter(), time.time()
    if echo:
        print(f"— {question.name}: {question.line}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.alone", question.module, str(out.resolve()), *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False, text=True, stdout=sys.stderr if echo else subprocess.DEVNULL,
                          stderr=subprocess.PIPE)
    files = [path for path in sorted((out / device()).glob(f"{question.name}*.json"))
             if path.stat().st_mtime >= began - 1 and (path.stem == question.name or path.stem.startswith(f"{question.name}_"))]
    rows = [row for path in files for row in fresh(json.loads(path.read_text(encoding="utf-8")))]
    outcome = Outcome(question.name, "ran", "", time.perf_counter() - start, [str(path) for path in files], rows)
    if done.returncode:
        last = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        outcome.status, outcome.reason = "failed", last[-1][:500]
        if echo:
            print(done.stderr[-4000:], file=sys.stderr, flush=True)
    return outcome


def fresh(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the last run: those of parts that an earlier one measured are left out."""
    parts = document.get("parts", {})
    return [row for row in document["rows"] if "part" not in row or parts.get(row["part"]) == document["environment"]]
