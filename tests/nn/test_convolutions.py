"""Layers against their formulas written as loops over nodes and edges, in float64."""

from __future__ import annotations

import pytest
import torch
from geoembed.nn import BiasedAttentionBlock, CrystalGraphConv, EdgeConv, InteractionNetwork, NeighborConv
from geoembed.ops import ptr_from_sorted, sort_by_target
from torch import Tensor, nn

from generators import numbers

N, H = 6, 8


@pytest.fixture(autouse=True)
def _fixed_weights():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def edges(count: int = 25, nodes: int = N) -> Tensor:
    """Unsorted, with repeats and self-loops; the last node receives none."""
    drawn = torch.randint(0, nodes, (2, count), generator=torch.Generator().manual_seed(1))
    drawn[1] = drawn[1] % (nodes - 1)
    return drawn


def table(nodes: int = N, width: int = 4) -> Tensor:
    """Neighbors with holes; node 0 has none."""
    drawn = torch.randint(-1, nodes, (nodes, width), generator=torch.Generator().manual_seed(2))
    drawn[0] = -1
    return drawn


def test_the_crystal_convolution_is_the_gated_sum_and_an_update():
    layer, x, edge_index, attr = CrystalGraphConv(H, 3).double(), numbers(N, H), edges(), numbers(25, 3, seed=3)
    received = torch.zeros(N, H, dtype=torch.float64)
    for (s, t), e in zip(edge_index.T.tolist(), attr, strict=True):
        received[t] += x[s] * layer.edge_mlp(torch.cat([x[s], x[t], e]))
    expected = torch.stack([x[n] + layer.node_mlp(torch.cat([x[n], received[n]])) for n in range(N)])
    torch.testing.assert_close(layer(x, edge_index, attr), expected, atol=1e-10, rtol=0)
    index, rows = sort_by_target(edge_index, attr)
    torch.testing.assert_close(layer(x, index, rows, ptr_from_sorted(index[1], N)), expected, atol=1e-10, rtol=0)


def test_the_edge_convolution_is_the_mean_over_neighbors_of_a_network_of_the_pair():
    layer, x, neighbors = EdgeConv(3, H).double(), numbers(N, 3), table()
    rows = []
    for i in range(N):
        messages = [layer.rest(layer.first(torch.cat([x[i], x[j] - x[i]]))) for j in neighbors[i].tolist() if j >= 0]
        mean = torch.stack(messages).mean(0) if messages else torch.zeros(H, dtype=torch.float64)
        rows.append(torch.relu(layer.norm(mean + layer.shortcut(x[i]))))
    torch.testing.assert_close(layer(x, neighbors), torch.stack(rows), atol=1e-10, rtol=0)


def test_the_grid_convolution_leaves_out_missing_and_masked_neighbors():
    layer, x, neighbors, geometry = NeighborConv(H, 2).double(), numbers(N, H), table(), numbers(N, 4, 2, seed=4)
    mask = torch.tensor([True, True, False, True, True, False])
    rows = []
    for i in range(N):
        present = [(slot, j) for slot, j in enumerate(neighbors[i].tolist()) if j >= 0 and bool(mask[j])]
        parts = [layer.value(x[j]) * layer.filter(geometry[i, slot]) for slot, j in present]
        mean = torch.stack(parts).mean(0) if parts else torch.zeros(H, dtype=torch.float64)
        rows.append(x[i] + layer.update(layer.norm(torch.cat([x[i], mean]))))
    torch.testing.assert_close(layer(x, neighbors, geometry, mask), torch.stack(rows), atol=1e-10, rtol=0)
    junk = x.clone()
    junk[~mask] = torch.nan
    assert bool(torch.isfinite(layer(junk, neighbors, geometry, mask)[mask]).all())


def test_the_interaction_network_updates_edges_then_targets():
    layer, source, target = InteractionNetwork(H).double(), numbers(5, H), numbers(N, H, seed=1)
    index = edges(20, 5)
    index, attr = sort_by_target(index, numbers(20, H, seed=2))
    messages, received = [], torch.zeros(N, H, dtype=torch.float64)
    for (s, t), e in zip(index.T.tolist(), attr, strict=True):
        hidden = torch.nn.functional.silu(layer.edge_first(torch.cat([e, source[s], target[t]])))
        messages.append(e + layer.edge_norm(layer.edge_second(hidden)))
        received[t] += messages[-1]
    expected = torch.stack([target[n] + layer.node_norm(layer.node_mlp(torch.cat([target[n], received[n]]))) for n in range(N)])
    nodes, updated = layer(source, target, attr, index, ptr_from_sorted(index[1], N))
    torch.testing.assert_close(updated, torch.stack(messages), atol=1e-10, rtol=0)
    torch.testing.assert_close(nodes, expected, atol=1e-10, rtol=0)


def test_attention_is_the_softmax_of_scaled_products_plus_a_bias_a_pair_and_padding_is_not_seen():
    heads, sizes = 2, [4, 2]
    layer, x, bias = BiasedAttentionBlock(H, heads).double(), numbers(2, 4, H), numbers(2, heads, 4, 4, seed=5)
    exists = torch.arange(4) < torch.tensor(sizes).unsqueeze(-1)
    out = layer(x, exists, lambda rows: bias[:, :, rows], block=4)
    for b, n in enumerate(sizes):
        q, k, v = layer.qkv(layer.attention_norm(x[b, :n])).view(n, 3, heads, H // heads).permute(1, 2, 0, 3)
        weights = torch.softmax(q @ k.mT / (H // heads) ** 0.5 + bias[b, :, :n, :n], -1)
        attended = (weights @ v).transpose(0, 1).reshape(n, H)
        state = x[b, :n] + layer.out(attended)
        expected = state + layer.mlp(layer.mlp_norm(state))
        torch.testing.assert_close(out[b, :n], expected, atol=1e-10, rtol=0)
    for block in (1, 3):
        torch.testing.assert_close(layer(x, exists, lambda rows: bias[:, :, rows], block=block), out, atol=1e-10, rtol=0)


LAYERS = {
    "crystal": (lambda: CrystalGraphConv(H, 3), lambda layer, x: layer(x, edges(), numbers(25, 3).to(x.dtype))),
    "edge": (lambda: EdgeConv(H, H), lambda layer, x: layer(x, table())),
    "grid": (lambda: NeighborConv(H, 2), lambda layer, x: layer(x, table(), numbers(N, 4, 2).to(x.dtype), torch.ones(N, dtype=torch.bool))),
}


@pytest.mark.parametrize("name", LAYERS)
def test_leading_axes_are_independent(name):
    make, call = LAYERS[name]
    layer: nn.Module = make().double()
    x = numbers(2, 3, N, H)
    together = call(layer, x)
    for a in range(2):
        for b in range(3):
            torch.testing.assert_close(together[a, b], call(layer, x[a, b]), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_a_layer_are_those_of_finite_differences(name):
    make, call = LAYERS[name]
    layer = make().double()
    assert torch.autograd.gradcheck(lambda x: call(layer, x), (numbers(N, H).requires_grad_(),))


def test_two_coincident_points_and_parallel_neighbors_have_finite_gradients():
    layer, x = EdgeConv(3, H), torch.zeros(4, 3, requires_grad=True)
    layer(x, torch.tensor([[1, 2], [0, 2], [0, 1], [-1, -1]])).sum().backward()
    assert bool(torch.isfinite(x.grad).all())
    assert float(x.grad.abs().max()) < 1e6
