"""Sums over segments by kernels: through Triton's interpreter they are those of torch, and torch stands in wherever they do not run."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from geoembed.ops import backends, fused_segment, segment_mean, segment_sum

CARD = torch.device("cuda", 0)  # a name: nothing is put there


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed: its kernels are not compared")
@pytest.mark.parametrize("case", ["sums", "gradients", "rules"])
def test_a_kernel_gives_the_sums_of_torch(case):
    """In a process of its own: the interpreter is chosen when Triton is imported."""
    here = Path(__file__).parent
    ran = subprocess.run([sys.executable, here / "triton_segment_cases.py", case], capture_output=True, text=True, check=False,
                         env={**os.environ, "TRITON_INTERPRET": "1"})
    assert ran.returncode == 0, ran.stderr[-2000:]


@pytest.fixture
def served(monkeypatch):
    """Whether rows of a shape and dtype would go to the kernels of a card that runs them."""
    monkeypatch.setattr(backends, "runs", lambda name, device: name == fused_segment.KERNEL and backends.active() != "torch")

    def ask(shape=(30, 4), dtype=torch.float32, bounds=5, device=CARD):
        rows = SimpleNamespace(shape=torch.Size(shape), dtype=dtype, device=device)
        return fused_segment.serves(rows, SimpleNamespace(shape=torch.Size([bounds]), device=device))

    return ask


def test_a_back_end_asked_for_by_name_goes_before_the_kernels(served, monkeypatch):
    monkeypatch.setattr(backends, "_reductions", {**backends._reductions, "mine": {"segment_sum": backends._reductions["torch"]["segment_sum"]}})
    assert served()
    for name in ("torch", "mine"):
        with backends.use(name):
            assert not served()
    assert served()


def test_kernels_take_floating_numbers_on_a_card_in_sizes_that_a_launch_can_count(served):
    assert all(served(dtype=dtype) for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16))
    assert not served(dtype=torch.int64)
    assert not served(device=torch.device("cpu"))
    assert not served(shape=(70000, 3, 4))  # leading axes
    assert not served(shape=(0, 3, 4))
    assert not served(shape=(2**31, 4))


def test_the_call_can_be_traced_without_running_it():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        x, ptr = torch.empty(2, 30, 4, dtype=torch.bfloat16, requires_grad=True), torch.empty(6, dtype=torch.int64)
        total = fused_segment.fused_sum(x, ptr)
        assert (total.shape, total.dtype) == ((2, 5, 4), torch.bfloat16)
        assert fused_segment._rows(total, ptr, 30, True).shape == (2, 30, 4)


@pytest.mark.parametrize("op", [segment_sum, segment_mean], ids=lambda op: op.__name__)
def test_a_compiled_reduction_is_one_graph(op):
    x, ptr = torch.randn(12, 3), torch.tensor([0, 0, 3, 12])
    compiled = torch.compile(op, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, ptr), op(x, ptr))
