"""The ONNX forms of single operations against torch, where digits are easily lost and at the borders."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest
import torch
from geoembed.export.onnx_file import OPSET, _quiet, _simplify
from geoembed.export.translations import TABLE
from torch import Tensor, nn
from torch.export import Dim

SMALL = torch.cat([torch.logspace(-30, 1, 200), -torch.logspace(-30, -0.1, 200), torch.zeros(1)])
AROUND = torch.linspace(-math.pi, math.pi, 721, dtype=torch.float64)


class Single(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.function(*tensors)


def run(function, *tensors: Tensor, dynamic: bool = False) -> Tensor:
    """What ONNX Runtime makes of a function."""
    shapes = (tuple({0: Dim.DYNAMIC} for _ in tensors),) if dynamic else None
    with _quiet():
        program = torch.export.export(Single(function), tensors, dynamic_shapes=shapes, strict=False)
        written = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False, optimize=False, custom_translation_table=TABLE)
    _simplify(written.model)
    session = onnxruntime.InferenceSession(written.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {value.name: tensor.numpy() for value, tensor in zip(session.get_inputs(), tensors, strict=True)})
    return torch.from_numpy(np.asarray(out))


@pytest.mark.parametrize("function", [torch.expm1, torch.log1p], ids=lambda f: f.__name__)
def test_exponentials_and_logarithms_near_one_keep_their_digits(function):
    exact = function(SMALL.double())
    torch.testing.assert_close(run(function, SMALL).double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_angles_of_all_directions_keep_the_precision_that_they_are_given(dtype):
    y, x = torch.cat([AROUND.sin(), torch.zeros(1)]).to(dtype), torch.cat([AROUND.cos(), torch.zeros(1)]).to(dtype)
    found, expected = run(torch.atan2, 7 * y, 7 * x), torch.atan2(7 * y, 7 * x)
    around = torch.remainder(found - expected + math.pi, 2 * math.pi) - math.pi  # π and −π are one direction
    assert float(around.abs().max()) < (1e-6 if dtype == torch.float32 else 1e-14)


def test_a_floor_under_a_logarithm_is_no_zero():
    x = torch.tensor([0.0, 1e-3])
    torch.testing.assert_close(run(lambda x: torch.sqrt(x.square() + 1e-16).log(), x), torch.sqrt(x.square() + 1e-16).log())


def test_places_among_sorted_numbers_are_counted_from_the_left():
    ids, ask = torch.tensor([0, 0, 2, 2, 2, 5]), torch.arange(8)
    assert run(torch.searchsorted, ids, ask).tolist() == [0, 2, 2, 5, 5, 5, 6, 6]


def test_runs_of_rows_may_be_empty_at_both_ends():
    def ids(counts: Tensor, rows: Tensor) -> Tensor:
        return torch.repeat_interleave(counts, output_size=rows.shape[0])
    assert run(ids, torch.tensor([0, 2, 0, 3, 0]), torch.zeros(5)).tolist() == [1, 1, 3, 3, 3]


def test_equal_numbers_keep_their_order_when_sorted():
    x = torch.tensor([[3.0, 1.0, 3.0, 1.0, torch.inf, 1.0]])
    assert run(lambda x: torch.sort(x, dim=-1, stable=True).indices, x).tolist() == [[1, 3, 5, 0, 2, 4]]
