"""Bases of distances, steps and positions."""

from __future__ import annotations

import math

import pytest
import torch
from geoembed.nn import PositionBasis, RadialBasis, StepBasis
from hypothesis import given
from hypothesis import strategies as st


def test_radial_functions_are_gaussians_around_evenly_spaced_centers():
    basis = RadialBasis(0.0, 8.0, 9)
    distance = torch.linspace(0, 8, 50, dtype=torch.float64).unsqueeze(-1)
    step = 8.0 / 8
    expected = torch.stack([torch.exp(-(((distance[:, 0] - k * step) / step) ** 2)) / 1.12 for k in range(9)], -1)
    torch.testing.assert_close(basis(distance), expected, atol=1e-9, rtol=1e-9)


@given(st.floats(-1e4, 1e4))
def test_the_first_half_of_a_step_is_odd_and_the_second_even(step):
    basis = StepBasis(0.02, 200.0, scales=5)
    there, back = (basis(torch.tensor([[s]], dtype=torch.float64))[0] for s in (step, -step))
    assert torch.equal(there[:5], -back[:5])
    assert torch.equal(there[5:], back[5:])
    scales = [0.02 * (200 / 0.02) ** (k / 4) for k in range(5)]
    assert there.tolist() == pytest.approx([math.asinh(step / s) for s in scales] + [math.exp(-abs(step) / s) for s in scales], rel=1e-5)
    assert basis.width == 10


@given(st.floats(3.0, 4.5))
def test_positions_are_sines_and_cosines_of_wavelengths_halved_each_time(place):
    basis = PositionBasis(3.0, 4.5, 4)
    angles = [math.pi * 2**k * (place - 3.0) / 1.5 for k in range(4)]
    expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    assert basis(torch.tensor([[place]], dtype=torch.float64))[0].tolist() == pytest.approx(expected, abs=1e-5)
    assert basis.width == 8


@pytest.mark.parametrize("basis", [RadialBasis(0, 8, 4), StepBasis(1.0, 32.0), PositionBasis(0, 1, 3)], ids=lambda b: type(b).__name__)
def test_a_basis_keeps_the_precision_of_its_input_and_is_differentiable_at_zero(basis):
    for dtype in (torch.float32, torch.float64):
        x = torch.zeros(3, 1, dtype=dtype, requires_grad=True)
        out = basis(x)
        assert out.dtype == dtype
        out.sum().backward()
        assert bool(torch.isfinite(x.grad).all())
