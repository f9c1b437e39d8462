"""Softmax inside segments."""

from __future__ import annotations

import math

import pytest
import torch
from geoembed.ops import segment_softmax
from hypothesis import given
from hypothesis import strategies as st

logits = st.floats(-80, 80)


@given(st.lists(st.lists(st.one_of(logits, st.just(-math.inf)), max_size=5), min_size=1, max_size=6))
def test_weights_are_those_of_the_formula_written_out(segments):
    flat = torch.tensor([value for part in segments for value in part], dtype=torch.float64).view(-1, 1)
    ptr = torch.tensor([0, *torch.tensor([len(part) for part in segments]).cumsum(0).tolist()])
    expected = []
    for part in segments:
        top = max((value for value in part if value > -math.inf), default=0.0)
        terms = [math.exp(value - top) for value in part]
        expected += [term / (math.fsum(terms) or 1.0) for term in terms]
    torch.testing.assert_close(segment_softmax(flat, ptr).flatten(), torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=1e-12)


@given(st.lists(logits, min_size=1, max_size=8), st.floats(-1000, 1000))
def test_a_common_shift_of_the_logits_changes_nothing(values, shift):
    x, ptr = torch.tensor(values, dtype=torch.float64).view(-1, 1), torch.tensor([0, len(values)])
    torch.testing.assert_close(segment_softmax(x, ptr), segment_softmax(x + shift, ptr), atol=1e-10, rtol=1e-10)


def test_heads_and_leading_axes_do_not_mix():
    x = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ptr = torch.tensor([0, 4, 6])
    whole = segment_softmax(x, ptr)
    for b in range(2):
        for head in range(3):
            torch.testing.assert_close(whole[b, :, head : head + 1], segment_softmax(x[b, :, head : head + 1], ptr))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_dtype_of_the_logits_is_kept(dtype):
    assert segment_softmax(torch.zeros(4, 1, dtype=dtype), torch.tensor([0, 4])).tolist() == [[0.25]] * 4
    assert segment_softmax(torch.zeros(4, 1, dtype=dtype), torch.tensor([0, 4])).dtype == dtype
