"""Batch norms in the maps before them, and a small run of the benchmark that rests on it."""

from __future__ import annotations

import pytest
import torch
from benchmarks.particle_forms import Factorized, FoldedNet, ParticleNet
from benchmarks.script import Run
from geoembed.errors import ConfigError
from geoembed.nn import EdgeConv, FoldedEdgeConv
from geoembed.nn.edge_conv import fold_batch_norm
from torch import nn

from benchmarks import particle_net
from generators import numbers


@pytest.fixture(autouse=True)
def _fixed_weights():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_a_folded_map_is_the_map_and_its_norm_with_or_without_bias_and_gain():
    for bias in (True, False):
        for affine in (True, False):
            linear, norm = nn.Linear(3, 4, bias=bias).double(), nn.BatchNorm1d(4, affine=affine).double()
            for seed in range(3):
                norm(numbers(20, 4, seed=seed) * 2 + 1)  # statistics
            norm.eval()
            x = numbers(5, 3)
            weight, shift = fold_batch_norm(linear, norm)
            torch.testing.assert_close(x @ weight.T + shift, norm(linear(x)))


def test_a_batch_norm_that_keeps_no_statistics_cannot_be_folded():
    with pytest.raises(ConfigError, match="track_running_stats=True"):
        fold_batch_norm(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False))
    pair = (nn.Linear(4, 2), nn.BatchNorm1d(2))
    with pytest.raises(ConfigError, match="three maps"):
        FoldedEdgeConv.of([pair, pair], pair)


def test_the_folded_network_is_particle_net_as_published():
    net = ParticleNet().as_if_trained().double()
    places, features = numbers(3, 20, 2), numbers(3, 20, 7, seed=1)
    ours = FoldedNet(net)
    expected = net(places, features)
    torch.testing.assert_close(ours(places.flatten(0, 1), features.flatten(0, 1), torch.arange(4) * 20, 20), expected)
    torch.testing.assert_close(Factorized(ours)(places, features), expected)


def test_a_norm_without_parameters_is_refused_by_name():
    layer = EdgeConv(3, 4)
    layer.norm = nn.LayerNorm(4, elementwise_affine=False)
    with pytest.raises(ConfigError, match="LayerNorm: .*bias=True"):
        layer(torch.zeros(2, 3), torch.tensor([[1], [0]]))


@pytest.mark.parametrize("part", particle_net.PARTS)
def test_every_part_of_the_benchmark_measures_ours_within_its_gate(part):
    rows = particle_net.PARTS[part](Run("cpu", small=True, rounds=1, repeats=2, roofs={"bf16": 1.0, "fp32": 1.0, "copy": 1.0}))
    assert rows
    for row in rows:
        assert "failure" not in row, row
        assert row["ours"] > 0
        assert row["bitwise"] is True
