"""What every benchmark shares: the environment that it ran in, and the JSON that it leaves."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
"""The committed results; :func:`keep_in` names another folder."""

LIBRARIES = ("geoembed", "torch", "torch-geometric", "torch-scatter", "numpy", "pymatgen", "pyarrow", "triton")
CARD = ("driver_version", "power.limit", "clocks.max.sm", "clocks.max.mem")
PACKAGE = Path(__file__).parents[1] / "geoembed"

_place: list[Path] = []


def keep_in(folder: Path) -> None:
    """Let :func:`write` of this process leave its results in ``folder``/<device> instead of the committed ones."""
    _place[:] = [folder]


def device() -> str:
    """Folder of the results of this machine: ``cpu``, or the short name of the GPU."""
    if not torch.cuda.is_available():
        return "cpu"
    name = torch.cuda.get_device_name().lower()
    return next((short for short in ("h200", "h100", "a100", "b200") if short in name), name.replace(" ", "-"))


def environment() -> dict[str, object]:
    """Machine, versions, and which code ran: the commit where there is one, and a digest of the package's sources anywhere."""
    there = torch.cuda.is_available()
    return {
        "device": device(), "card": torch.cuda.get_device_name() if there else None,
        **({"card_state": card_query(CARD), "cuda": torch.version.cuda, "tuned": tuned_digest()} if there else {}),
        "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "threads": torch.get_num_threads(), "python": platform.python_version(),
        "versions": {name: _version(name) for name in LIBRARIES}, "commit": commit(), "sources": digest(sorted(PACKAGE.rglob("*.py"))),
    }


def card_query(fields: Sequence[str]) -> dict[str, str]:
    """Fields of ``nvidia-smi --query-gpu`` for the current card, with units; empty where the program is absent or refuses."""
    program = shutil.which("nvidia-smi")
    if program is None or not torch.cuda.is_available():
        return {}
    which = getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "uuid", None)
    chosen = [f"--id=GPU-{which}"] if which else []
    command = [program, *chosen, f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    values = done.stdout.strip().splitlines()[:1]
    return dict(zip(fields, (value.strip() for value in values[0].split(",")), strict=False)) if done.returncode == 0 and values else {}


def commit() -> str | None:
    """Commit of the checkout, with ``+`` where the package or the benchmarks differ from it; None outside of one."""
    here = PACKAGE.parent
    program = shutil.which("git")
    if program is None or not (here / ".git").exists():
        return None

    def ask(*arguments: str) -> str:
        return subprocess.run([program, "-C", str(here), *arguments], capture_output=True, text=True, check=False).stdout.strip()

    changed = ask("status", "--porcelain", "--untracked-files=no", "--", "geoembed", "benchmarks/*.py")
    return (ask("rev-parse", "HEAD") + ("+" if changed else "")) or None


def digest(files: Sequence[Path]) -> str | None:
    """First 16 digits of the sha256 of names and contents; None of no files."""
    whole = hashlib.sha256()
    for path in files:
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()[:16] if files else None


def tuned_digest() -> str | None:
    """Digest of what Triton's autotuner has written for this user, where it keeps its choices; another tile is another rounding."""
    cache = Path(os.environ.get("TRITON_CACHE_DIR", Path.home() / ".triton" / "cache"))
    return digest(sorted(cache.glob("*/*.autotune.json"))) if cache.is_dir() else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # a GPU machine has no domain libraries, and geoembed perhaps by its path
        return None


def write(
    script: str, rows: list[dict[str, object]], *, ceilings: Mapping[str, object] | None = None, seed: int | None = None,
    parts: Sequence[str] = (),
) -> Path:
    """Write the rows of a benchmark; each has question, ours, rival, ratio, iqr, goal, met and raw numbers.

    Args:
        ceilings: measured in this run; kept in the environment.
        parts: the parts that this run measured, where a script has several: rows have a ``part``, and those of other parts stay
            as an earlier run left them, each part beside the environment that it ran in.
    """
    path = (_place[0] if _place else RESULTS) / device() / f"{script}.json"
    here: dict[str, Any] = environment() | ({"ceilings": dict(ceilings)} if ceilings else {}) | ({} if seed is None else {"seed": seed})
    document: dict[str, Any] = {"environment": here, "rows": rows}
    if parts:
        before = _before(path, script)
        stay = [row for row in before["rows"] if row.get("part") not in parts]
        kept = {part: old for part, old in before.get("parts", {}).items() if part not in parts}
        document = {"environment": here, "parts": kept | dict.fromkeys(parts, here), "rows": stay + rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _before(path: Path, script: str) -> dict[str, Any]:
    """The document of an earlier run: where the new one goes, else the committed one, so that one run of a part can be copied there."""
    for place in (path, RESULTS / device() / f"{script}.json"):
        if place.is_file():
            return dict(json.loads(place.read_text(encoding="utf-8")))
    return {"rows": []}
