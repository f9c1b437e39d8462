"""The crystal graph convolution: the paper's formula edge by edge, its rules for odd graphs, and kernels through Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from geoembed.errors import SchemaError, ValueRangeError
from geoembed.ops import GateWeights, cgconv, fused_cgconv, ptr_from_sorted, sort_by_target
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import softplus

from generators import numbers


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed: its kernels are not compared")
@pytest.mark.parametrize("case", ["messages", "calls"])
def test_kernels_give_the_messages_and_gradients_of_torch(case):
    """In a process of its own: the interpreter is chosen when Triton is imported."""
    here = Path(__file__).parent
    ran = subprocess.run([sys.executable, here / "triton_segment_cases.py", case], capture_output=True, text=True, check=False,
                         env={**os.environ, "TRITON_INTERPRET": "1"})
    assert ran.returncode == 0, ran.stderr[-2000:]


def weights(width: int, columns: int) -> GateWeights:
    return GateWeights(numbers(width, columns, seed=1), numbers(width, columns, seed=2), numbers(width, seed=3), numbers(width, seed=4))


def edge_by_edge(x: Tensor, edge_index: Tensor, edge_attr: Tensor, maps: GateWeights, mean: bool) -> Tensor:
    """The definition, in a Python loop."""
    total, count = torch.zeros_like(x), torch.zeros(len(x), 1, dtype=x.dtype)
    for place, (source, target) in enumerate(edge_index.t().tolist()):
        z = torch.cat([x[target], x[source], edge_attr[place]])
        total[target] += torch.sigmoid(maps.filter @ z + maps.filter_bias) * softplus(maps.core @ z + maps.core_bias)
        count[target] += 1
    return x + (total / count.clamp(min=1) if mean else total)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=20), st.booleans())
def test_the_factorized_form_is_the_sum_over_edges_in_any_order_with_loops_and_repeats(pairs, mean):
    edge_index = torch.tensor(pairs, dtype=torch.int64).view(-1, 2).t()
    x, edge_attr, maps = numbers(6, 3), numbers(len(pairs), 2, seed=5), weights(3, 8)
    expected = edge_by_edge(x, edge_index, edge_attr, maps, mean)
    torch.testing.assert_close(fused_cgconv(x, edge_index, edge_attr, maps, mean=mean), expected, atol=1e-12, rtol=1e-12)
    ordered, rows = sort_by_target(edge_index, edge_attr)
    ptr = ptr_from_sorted(ordered[1], 6)
    torch.testing.assert_close(fused_cgconv(x, ordered, rows, maps, ptr=ptr, mean=mean), expected, atol=1e-12, rtol=1e-12)


def test_float32_agrees_with_the_concatenated_form_to_a_millionth():
    x, edge_attr = numbers(40, 16).float(), numbers(300, 5, seed=6).float()
    edge_index = torch.randint(0, 40, (2, 300), generator=torch.Generator().manual_seed(0))
    maps = GateWeights(*(value.float() / 6 for value in weights(16, 37)))
    z = torch.cat([x[edge_index[1]], x[edge_index[0]], edge_attr], 1)
    message = torch.sigmoid(z @ maps.filter.t() + maps.filter_bias) * softplus(z @ maps.core.t() + maps.core_bias)
    expected = x + torch.zeros_like(x).index_add(0, edge_index[1], message)
    found = cgconv(x, edge_index, edge_attr, maps)
    assert float((found - expected).norm() / expected.norm()) < 1e-6


def test_leading_axes_share_the_edges():
    x, edge_index, maps = numbers(2, 3, 4, 3), torch.tensor([[0, 1, 3], [1, 1, 2]]), weights(3, 8)
    edge_attr = numbers(3, 2, seed=5)
    together = fused_cgconv(x, edge_index, edge_attr, maps)
    apart = torch.stack([torch.stack([fused_cgconv(one, edge_index, edge_attr, maps) for one in part]) for part in x])
    torch.testing.assert_close(together, apart, atol=1e-12, rtol=0)


def test_first_and_second_derivatives_are_right():
    edge_index = torch.tensor([[0, 1, 1, 2], [1, 1, 0, 1]])
    inputs = [value.requires_grad_() for value in (numbers(3, 2), numbers(4, 1, seed=5), *weights(2, 5))]

    def call(x: Tensor, edge_attr: Tensor, *maps: Tensor) -> Tensor:
        return fused_cgconv(x, edge_index, edge_attr, GateWeights(*maps), mean=True)

    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


@pytest.mark.parametrize(("change", "said"), [
    ({"edge_index": torch.tensor([[0, 4], [1, 1]])}, "source: found nodes 0 … 4.*Number nodes from 0"),
    ({"edge_index": torch.tensor([[0, 1], [1, -1]])}, "target: found nodes -1 … 1.*Number nodes from 0"),
    ({"edge_index": torch.tensor([[0, 1], [2, 1]]), "ptr": torch.tensor([0, 0, 1, 2, 2])}, "ptr does not bound.*Sort them"),
    ({"ptr": torch.tensor([0, 1, 1, 2, 2])}, "ptr does not bound.*ptr_from_sorted"),
    ({"ptr": torch.tensor([0, 1, 2, 2, 3])}, "ptr does not bound.*ptr_from_sorted"),
])
def test_edges_that_cannot_be_are_refused(change, said):
    given_ = {"x": numbers(4, 3), "edge_index": torch.tensor([[0, 1], [1, 2]]), "edge_attr": numbers(2, 2), "weights": weights(3, 8), **change}
    with pytest.raises(ValueRangeError, match=said):
        fused_cgconv(**given_)


@pytest.mark.parametrize(("change", "said"), [
    ({"x": numbers(3)}, r"x: found .*\[\.\.\., N, C\]"),
    ({"x": numbers(4, 3).float()}, "one dtype.*Convert them"),
    ({"edge_attr": numbers(3, 2)}, r"expected \[2, D\].*Give every edge a row"),
    ({"edge_attr": None}, "columns of x and edge_attr: found 6; expected 8.*dim"),
    ({"edge_index": torch.zeros(2, 2)}, "integers"),
    ({"edge_index": torch.zeros(3, 2, dtype=torch.int64)}, "Stack source and target"),
    ({"ptr": torch.tensor([0, 2])}, r"expected \[5\].*ptr_from_sorted"),
    ({"edge_attr": torch.empty(2, 2, dtype=torch.float64, device="meta")}, "one device"),
])
def test_tensors_that_do_not_fit_are_refused(change, said):
    given_ = {"x": numbers(4, 3), "edge_index": torch.tensor([[0, 1], [1, 2]]), "edge_attr": numbers(2, 2), "weights": weights(3, 8), **change}
    with pytest.raises(SchemaError, match=said):
        fused_cgconv(**given_)


def test_a_look_at_the_numbers_can_be_spared():
    x, maps, edge_index = numbers(4, 3), weights(3, 6), torch.tensor([[0, 3], [2, 1]])
    assert torch.equal(fused_cgconv(x, edge_index, None, maps, unsafe=True), fused_cgconv(x, edge_index, None, maps))
