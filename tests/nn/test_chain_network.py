"""Chain networks and perceptrons."""

from __future__ import annotations

import torch
from geoembed.graphs.connect import offset_edges, step_attr
from geoembed.nn import ChainNetwork, StepBasis, mlp
from geoembed.ops import ptr_from_sorted

from generators import numbers


def test_a_chain_network_reaches_as_far_as_its_layers_and_offsets_and_no_farther():
    ptr, pos = torch.tensor([0, 40]), torch.arange(40.0).unsqueeze(-1)
    edges = offset_edges(ptr, (1, 4))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ChainNetwork(8, 3, StepBasis(1.0, 8.0)).double()
    x = numbers(40, 8).requires_grad_()
    out = network(x, edges, step_attr(pos, edges).double(), ptr_from_sorted(edges[1], 40))
    (grad,) = torch.autograd.grad((out[20] * torch.arange(8)).sum(), x)
    felt = grad.abs().sum(1)
    assert not bool(felt[:8].any() | felt[33:].any())
    assert float(felt[8]) > 0 < float(felt[32])


def test_a_perceptron_has_an_activation_between_its_maps_and_none_at_the_end():
    network = mlp(3, 5, 2).double()
    x = numbers(4, 3)
    torch.testing.assert_close(network(x), network[2](torch.relu(network[0](x))))
    assert [type(layer).__name__ for layer in mlp(3, 2)] == ["Linear"]
