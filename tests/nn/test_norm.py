"""Unit length and standardization."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from geoembed.nn import Standardize, safe_norm, unit_length
from hypothesis import given
from hypothesis import strategies as st

from generators import numbers

vectors = st.lists(st.floats(-1e6, 1e6).filter(lambda v: v == 0 or abs(v) > 1e-6), min_size=1, max_size=6)


@given(vectors)
def test_the_length_is_that_of_numpy_and_a_unit_vector_has_length_one(values):
    x = torch.tensor(values, dtype=torch.float64)
    length = np.linalg.norm(values)
    assert safe_norm(x).item() == pytest.approx(length)
    unit = unit_length(x)
    assert unit.norm().item() == pytest.approx(1.0 if length > 0 else 0.0)
    torch.testing.assert_close(unit * length, x)


def test_a_vector_that_is_not_a_number_does_not_become_the_zero_vector():
    assert bool(safe_norm(torch.tensor([[1.0, torch.nan]])).isnan())
    assert bool(unit_length(torch.tensor([[1.0, torch.nan]])).isnan().all())


def test_gradients_of_the_length_and_of_the_unit_vector_are_exact():
    x = numbers(3, 4).requires_grad_()
    assert torch.autograd.gradcheck(safe_norm, (x,))
    assert torch.autograd.gradcheck(unit_length, (x,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_normalized_in_float32(dtype):
    unit = unit_length(torch.tensor([[300.0, 400.0]], dtype=dtype))  # 300² has no float16
    assert unit.dtype == torch.float32
    assert unit.tolist() == [pytest.approx([0.6, 0.8], abs=1e-2)]


def test_standardization_starts_as_the_identity_on_what_was_measured():
    x, measured = numbers(4, 3), torch.tensor([True, False, True]).expand(4, 3)
    out = Standardize(3).double()(x.where(measured, torch.nan), measured)
    torch.testing.assert_close(out, x.where(measured, 0.0))


def test_fitted_channels_have_mean_zero_and_deviation_one_over_the_measured_entries():
    x = numbers(500, 6) * torch.tensor([1.0, 1, 50, 50, 1e-3, 1e-3]) + torch.tensor([0.0, 0, 280, 280, 7, 7])
    measured = numbers(500, 6, seed=1) > -0.5
    norm = Standardize(3, repeat=2).double()
    norm.fit(x.where(measured, torch.nan), measured)
    out = norm(x.where(measured, torch.inf), measured).view(500, 3, 2)
    for channel in range(3):
        seen = out[:, channel][measured.view(500, 3, 2)[:, channel]]
        assert seen.mean().item() == pytest.approx(0.0, abs=1e-9)
        assert seen.std(correction=0).item() == pytest.approx(1.0)
    assert not bool(out[~measured.view(500, 3, 2)].any())


def test_a_constant_channel_and_one_never_measured_keep_their_unit():
    x = torch.stack([torch.full((9,), 273.15), torch.zeros(9), numbers(9).float()], -1)
    measured = torch.tensor([True, True, False]).expand(9, 3)
    norm = Standardize(3)
    norm.fit(x, measured)
    assert norm.scale.tolist() == [1.0, 1.0, 1.0]
    assert norm.mean.tolist() == [pytest.approx(273.15), 0.0, 0.0]


def test_a_large_mean_does_not_swallow_a_small_deviation():
    """Pressure in Pa: 101,325 ± 3 in float32; the sum of squares would cancel."""
    x = (101_325 + 3 * numbers(2000, 1)).float()
    norm = Standardize(1)
    norm.fit(x, torch.ones_like(x, dtype=torch.bool))
    assert norm.scale.item() == pytest.approx(float(x.double().std(correction=0)), rel=1e-5)


def test_the_statistics_are_stored_with_the_weights():
    norm = Standardize(2)
    norm.fit(numbers(10, 2).float() * 3 + 1, torch.ones(10, 2, dtype=torch.bool))
    other = Standardize(2)
    other.load_state_dict(norm.state_dict())
    assert torch.equal(other.mean, norm.mean)
    assert torch.equal(other.scale, norm.scale)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_statistics_stay_exact_in_a_model_of_half_precision(dtype):
    norm, x = Standardize(1), torch.tensor([[101_300.0], [101_350.0], [101_325.0]])
    norm.fit(x, torch.ones_like(x, dtype=torch.bool))
    expected = norm(x, torch.ones_like(x, dtype=torch.bool))
    norm.to(dtype)
    assert torch.equal(norm(x, torch.ones_like(x, dtype=torch.bool)), expected)
    assert norm.double().mean.dtype == torch.float64
