"""Patch networks: pixels of a patch, turns, and the grid around them."""

from __future__ import annotations

import pytest
import torch
from geoembed.graphs.grid import grid_graph, turn
from geoembed.nn import PatchEmbedding, PatchNetwork, TurnAveragedEmbedding

from generators import numbers


@pytest.fixture(autouse=True)
def _fixed_weights():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_a_patch_and_its_eight_turns_have_one_state():
    layer = TurnAveragedEmbedding(2, 4, 8).double()
    patch, known = numbers(2, 4, 4), numbers(2, 4, 4, seed=1) > -1
    states = []
    for k in range(4):
        for flip in (False, True):
            view, seen = (torch.rot90(t.flip(2) if flip else t, k, (1, 2)) for t in (patch, known))
            states.append(layer(view.reshape(1, -1), seen.reshape(1, -1)))
    for state in states[1:]:
        torch.testing.assert_close(state, states[0], atol=1e-12, rtol=0)
    plain = PatchEmbedding(2, 4, 8).double()
    there, back = (plain(p.reshape(1, -1), torch.ones(1, 32, dtype=torch.bool)) for p in (patch, patch.rot90(1, (1, 2))))
    assert not torch.allclose(there, back, atol=1e-3)


@pytest.mark.parametrize("embedding", [PatchEmbedding, TurnAveragedEmbedding])
def test_node_states_turn_with_the_image_where_the_network_has_no_orientation(embedding):
    network = PatchNetwork(embedding(1, 2, 8), 8, 2).double()
    graph = grid_graph(numbers(1, 6, 8), patch=2)

    def states(g):
        return network(g.x.double(), g.measured, g.mask, g.edge_index, g.edge_attr.double())

    turned = turn(graph, 1)
    place = {tuple(p): row for p, row in zip(graph.pos.long().tolist(), states(graph), strict=True)}
    rows = int(turned.pos[:, 0].max()) + 1
    moved = torch.stack([place[(c, rows - 1 - r)] for r, c in turned.pos.long().tolist()])
    far = float((states(turned) - moved).detach().abs().max())
    assert (far < 1e-6) == (embedding is TurnAveragedEmbedding)


def test_a_network_without_edges_still_embeds_its_one_patch():
    network = PatchNetwork(PatchEmbedding(1, 4, 8), 8, 2)
    graph = grid_graph(numbers(1, 4, 4).float(), patch=4)
    out = network(graph.x, graph.measured, graph.mask, graph.edge_index, graph.edge_attr)
    assert out.shape == (1, 8)
    assert bool(torch.isfinite(out).all())
