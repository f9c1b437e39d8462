"""Constituents of a jet relative to its axis."""

from __future__ import annotations

import math

import pytest
import torch
from geoembed.errors import ValueRangeError
from geoembed.nn import JetFeatures, signed_log
from hypothesis import given
from hypothesis import strategies as st

from generators import event, numbers


def kinematics(n: int, seed: int) -> torch.Tensor:
    c = event(n, seed)
    return torch.stack([c["pt"], c["eta"] * 0.2, torch.remainder(c["phi"] * 0.1 + math.pi, 2 * math.pi), c["energy"]], -1)


@given(st.integers(0, 99))
def test_features_are_those_of_the_definition_written_out(seed):
    x = torch.cat([kinematics(3, seed), kinematics(5, seed + 1)])
    out = JetFeatures(7)(x, torch.tensor([0, 3, 8]))
    for low, high in ((0, 3), (3, 8)):
        rows = x[low:high].tolist()
        sum_pt, sum_e = math.fsum(r[0] for r in rows), math.fsum(r[3] for r in rows)
        axis_eta = math.fsum(r[0] * r[1] for r in rows) / sum_pt
        axis_phi = math.atan2(math.fsum(r[0] * math.sin(r[2]) for r in rows), math.fsum(r[0] * math.cos(r[2]) for r in rows))
        for row, (pt, eta, phi, energy) in zip(out[low:high].tolist(), rows, strict=True):
            d_eta, d_phi = eta - axis_eta, math.remainder(phi - axis_phi, 2 * math.pi)
            shares = [math.log(pt / sum_pt), math.log(energy / sum_e)]
            expected = [d_eta, d_phi, math.log1p(pt), math.log1p(energy), *shares, math.hypot(d_eta, d_phi)]
            assert row == pytest.approx(expected, abs=1e-9)


@given(st.floats(-10, 10))
def test_a_common_shift_of_phi_changes_no_feature(angle):
    x, ptr = kinematics(6, 1), torch.tensor([0, 6])
    turned = x.clone()
    turned[:, 2] = torch.remainder(x[:, 2] + angle, 2 * math.pi)
    torch.testing.assert_close(JetFeatures(7)(turned, ptr), JetFeatures(7)(x, ptr), atol=1e-9, rtol=0)


def test_ready_features_pass_and_other_widths_are_refused():
    ready = numbers(4, 7)
    assert JetFeatures(7)(ready, torch.tensor([0, 4])) is ready
    with pytest.raises(ValueRangeError, match=r"found 5 features; expected 4 kinematic ones or 7\. Set JetConfig\.features"):
        JetFeatures(7)(numbers(4, 5), torch.tensor([0, 4]))
    with pytest.raises(ValueRangeError, match="expected 4 kinematic ones or 9"):
        JetFeatures(9)(numbers(4, 4), torch.tensor([0, 4]))


def test_jets_of_nothing_and_of_no_momentum_are_finite():
    assert JetFeatures(7)(torch.zeros(0, 4), torch.tensor([0, 0])).shape == (0, 7)
    out = JetFeatures(7)(torch.zeros(2, 4), torch.tensor([0, 2]))
    assert bool(torch.isfinite(out).all())


@given(st.floats(-1e4, 1e4))
def test_the_signed_logarithm_is_odd_and_monotone(value):
    up, down = (float(signed_log(torch.tensor(v, dtype=torch.float64))) for v in (value, -value))
    assert up == -down
    assert up == pytest.approx(math.copysign(math.log1p(abs(value)), value))
