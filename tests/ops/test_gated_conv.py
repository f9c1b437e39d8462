"""The gated convolution: its factorized form is the concatenated one, its plan is checked, its kernels give what torch gives."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from geoembed.errors import ValueRangeError
from geoembed.nn import CrystalGraphConv, CrystalGraphStack
from geoembed.ops import gated_sum, plan_edges
from geoembed.ops.gated_plan import by_degree
from torch import Tensor

DEGREES = torch.tensor([3, 0, 17, 1, 5, 0, 2])
PTR = torch.cat([torch.zeros(1, dtype=torch.int64), DEGREES.cumsum(0)])


def edges(seed: int = 0) -> Tensor:
    source = torch.randint(len(DEGREES), (int(PTR[-1]),), generator=torch.Generator().manual_seed(seed))
    return torch.stack([source, torch.repeat_interleave(DEGREES)])


def concatenated(conv: CrystalGraphConv, x: Tensor, edge_index: Tensor, e: Tensor) -> Tensor:
    """Equation 5 as it is written: a row for every edge, everything side by side."""
    source, target = edge_index
    message = x[source] * conv.edge_mlp(torch.cat([x[source], x[target], e], dim=1))
    received = torch.zeros_like(x).index_add(0, target, message)
    return x + conv.node_mlp(torch.cat([x, received], dim=1))


def test_the_factorized_layer_with_a_folded_embedding_is_the_concatenated_one_forward_and_backward():
    torch.manual_seed(0)
    conv, embed = CrystalGraphConv(12, 12).double(), torch.nn.Linear(5, 12).double()
    x, f = torch.randn(len(DEGREES), 12).double().requires_grad_(), torch.randn(int(PTR[-1]), 5).double().requires_grad_()
    leaves = [x, f, *conv.parameters(), *embed.parameters()]
    forms = (conv(x, edges(), f, PTR, embed=embed), concatenated(conv, x, edges(), embed(f)))
    weight = torch.linspace(-1, 1, forms[0].numel()).double().view_as(forms[0])
    ours, plain = (torch.autograd.grad((form * weight).sum(), leaves) for form in forms)
    torch.testing.assert_close(*forms, atol=1e-12, rtol=1e-12)
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-10)


def test_a_stack_is_its_layers_and_its_last_map_may_wait_for_the_mean():
    torch.manual_seed(0)
    stack, embed = CrystalGraphStack(12, 3).double(), torch.nn.Linear(5, 12).double()
    x, f = torch.randn(len(DEGREES), 12).double(), torch.randn(int(PTR[-1]), 5).double()
    whole = x
    for conv in stack:
        whole = concatenated(conv, whole, edges(), embed(f))
    before, hidden = stack(x, edges(), f, PTR, embed)
    one = torch.ones(1, 1).double()
    torch.testing.assert_close(stack.outer(before.mean(0, keepdim=True), hidden.mean(0, keepdim=True), one), whole.mean(0, keepdim=True))
    assert set(stack.state_dict()) == {f"{i}.{name}" for i in range(3) for name in stack[0].state_dict()}


def test_edges_in_any_order_give_the_same_sums():
    torch.manual_seed(0)
    conv, x, e = CrystalGraphConv(8, 3).double(), torch.randn(len(DEGREES), 8).double(), torch.randn(int(PTR[-1]), 3).double()
    shuffled = torch.randperm(int(PTR[-1]))
    second = (conv.edge_mlp[2].weight, conv.edge_mlp[2].bias)
    found = gated_sum(x, edges()[:, shuffled], e[shuffled], conv.first(None), second)
    torch.testing.assert_close(found, gated_sum(x, edges(), e, conv.first(None), second, PTR))


def test_targets_are_put_in_falling_order_of_degree():
    assert by_degree(PTR.int()).tolist() == [2, 4, 0, 6, 3, 1, 5]


def test_a_plan_knows_the_edges_that_leave_each_node():
    plan = plan_edges(edges(), PTR, gradients=True)
    for node, (low, high) in enumerate(zip(plan.source_bounds[:-1].tolist(), plan.source_bounds[1:].tolist(), strict=True)):
        expected = torch.nonzero(edges()[0] == node).flatten()
        assert torch.equal(plan.by_source[low:high].long(), expected)


@pytest.mark.parametrize(("change", "said"), [
    (lambda index: index.index_put((torch.tensor(0), torch.tensor(3)), torch.tensor(7)), "nodes 0 … 7; expected 0 … 6"),
    (lambda index: index.index_put((torch.tensor(0), torch.tensor(3)), torch.tensor(-1)), "nodes -1"),
    (lambda index: index.flip(1), "Sort them with geoembed.ops.sort_by_target"),
])
def test_edges_that_are_out_of_range_or_order_are_refused_before_a_kernel_starts(change, said):
    with pytest.raises(ValueRangeError, match=said):
        plan_edges(change(edges()), PTR, gradients=False)


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed: its kernels are not compared")
@pytest.mark.parametrize("case", ["check", "order", "half", "nodes"])
def test_a_kernel_of_the_gated_convolution_gives_what_torch_gives(case):
    """In a process of its own: the interpreter is chosen when Triton is imported."""
    here = Path(__file__).parent
    ran = subprocess.run([sys.executable, here / "triton_gated_cases.py", case], capture_output=True, text=True, check=False,
                         env={**os.environ, "TRITON_INTERPRET": "1"})
    assert ran.returncode == 0, ran.stderr[-2000:]
