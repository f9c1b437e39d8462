"""Kernels through Triton's interpreter: the same pairs, order and ties as the specification in torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed: its kernels are not compared")


@pytest.mark.parametrize("case", ["periodic", "nearest", "runs", "checks"])
def test_a_kernel_gives_what_the_specification_gives(case):
    """In a process of its own: the interpreter is chosen when Triton is imported."""
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run([sys.executable, here / "triton_cases.py", case], capture_output=True, text=True, check=False,
                         env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": paths})
    assert ran.returncode == 0, ran.stderr[-2000:]
