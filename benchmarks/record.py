"""What every benchmark shares: the environment that it ran in, and the JSON that it leaves."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("geoembed", "torch", "torch-geometric", "numpy", "pymatgen", "pyarrow", "triton")


def device() -> str:
    """Folder of the results of this machine: ``cpu``, or the short name of the GPU."""
    if not torch.cuda.is_available():
        return "cpu"
    name = torch.cuda.get_device_name().lower()
    return next((short for short in ("h200", "h100", "a100", "b200") if short in name), name.replace(" ", "-"))


def environment() -> dict[str, object]:
    """Machine and versions."""
    return {
        "device": device(), "card": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "threads": torch.get_num_threads(), "python": platform.python_version(),
        "versions": {name: _version(name) for name in LIBRARIES},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # a GPU machine has no domain libraries, and geoembed perhaps by its path
        return None


def write(script: str, rows: list[dict[str, object]]) -> Path:
    """Write the rows of a benchmark; each has question, ours, rival, ratio, iqr, goal, met and raw numbers."""
    path = RESULTS / device() / f"{script}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
