"""Edge rules against their definitions written as loops, and derived again on a batch."""

from __future__ import annotations

import math

import pytest
import torch
from geoembed.errors import UnknownNameError
from geoembed.graphs.cloud import cloud_graph
from geoembed.graphs.connect import connect, eta_phi_edges, offset_edges, pair_attr, pair_features, step_attr
from geoembed.schema import GraphBatch
from hypothesis import given
from hypothesis import strategies as st

from generators import event, numbers, sample

counts_strategy = st.lists(st.integers(0, 9), min_size=1, max_size=5)
offsets_strategy = st.sets(st.integers(1, 6), min_size=1, max_size=4)


def looped(counts: list[int], offsets: set[int], bands: list[int] | None = None) -> list[list[int]]:
    """Samples ``offsets`` steps apart, and the previous and next sample of the same band: a set of pairs, sorted by target."""
    pairs: set[tuple[int, int]] = set()
    low = 0
    for count in counts:
        inside = range(low, low + count)
        pairs |= {(j, i) for i in inside for o in offsets for j in (i - o, i + o) if j in inside}
        if bands is not None:
            for i in inside:
                later = [j for j in inside if j > i and bands[j] == bands[i]]
                if later:
                    pairs |= {(i, later[0]), (later[0], i)}
        low += count
    return [list(pair) for pair in pairs]


@given(counts_strategy, offsets_strategy)
def test_offset_edges_link_samples_so_many_steps_apart_inside_each_chain(counts, offsets):
    ptr = torch.tensor([0, *torch.tensor(counts).cumsum(0).tolist()])
    edges = offset_edges(ptr, sorted(offsets))
    assert sorted(edges.T.tolist()) == sorted(looped(counts, offsets))
    assert bool((edges[1].diff() >= 0).all())


@given(counts_strategy, offsets_strategy, st.data())
def test_samples_of_one_passband_are_linked_to_the_next_of_theirs_once(counts, offsets, data):
    bands = data.draw(st.lists(st.integers(0, 3), min_size=sum(counts), max_size=sum(counts)))
    ptr = torch.tensor([0, *torch.tensor(counts).cumsum(0).tolist()])
    edges = offset_edges(ptr, sorted(offsets), torch.tensor(bands, dtype=torch.int64)).T.tolist()
    assert sorted(edges) == sorted(looped(counts, offsets, bands))


def test_the_step_of_an_edge_goes_from_target_to_source():
    pos, edges = torch.tensor([[1.0], [4.0], [9.0]], dtype=torch.float64), torch.tensor([[1, 0, 2], [0, 1, 1]])
    assert step_attr(pos, edges).flatten().tolist() == [3.0, -3.0, 5.0]
    days = torch.tensor([[59000.0], [59000.0009765625]], dtype=torch.float64)
    assert step_attr(days, torch.tensor([[1], [0]])).item() == 0.0009765625  # half a minute survives float32


@given(st.lists(st.integers(0, 8), min_size=1, max_size=4), st.integers(1, 5), st.integers(0, 99))
def test_particles_are_linked_to_their_nearest_on_the_cylinder(counts, k, seed):
    n = sum(counts)
    place = torch.stack([numbers(n, seed=seed), torch.remainder(numbers(n, seed=seed + 1) * 3, 2 * math.pi) - math.pi], -1)
    edges = eta_phi_edges(place, torch.tensor([0, *torch.tensor(counts).cumsum(0).tolist()]), k)
    expected, low = [], 0
    for count in counts:
        for i in range(low, low + count):
            others = [j for j in range(low, low + count) if j != i]
            step = {j: (place[i] - place[j]).tolist() for j in others}
            nearest = sorted(others, key=lambda j: math.hypot(step[j][0], math.remainder(step[j][1], 2 * math.pi)))
            expected += [[j, i] for j in sorted(nearest[:k])]
        low += count
    assert edges.T.tolist() == expected


def test_pair_features_of_two_particles_worked_out_by_hand():
    """pT 3 and 1 GeV, Δη 0.3, Δφ 0.4 across ±π: ΔR = 0.5, kT = 0.5, z = 1/4, m² = 6 (cosh 0.3 − cos 0.4)."""
    place = torch.tensor([[0.3, math.pi - 0.1], [0.0, -math.pi + 0.3]], dtype=torch.float64)
    features = pair_attr(torch.tensor([3.0, 1.0]), place, torch.tensor([[0], [1]]))[0]
    expected = [math.log(0.5), math.log(0.5), math.log(0.25), math.log(6 * (math.cosh(0.3) - math.cos(0.4)))]
    assert features.tolist() == pytest.approx(expected, abs=1e-6)


def test_pair_features_do_not_depend_on_the_order_of_a_pair_and_stay_finite_at_zero_distance():
    place, pt = torch.tensor([[0.2, 0.1], [0.2, 0.1], [1.0, 2.0]]), torch.tensor([1.0, 2.0, 3.0])
    edges = torch.tensor([[0, 1, 0, 2], [1, 0, 2, 0]])
    features = pair_attr(pt, place, edges)
    assert torch.equal(features[0], features[1])
    assert torch.equal(features[2], features[3])
    assert features[0, 0].item() == pytest.approx(math.log(1e-8))
    assert bool(torch.isfinite(features).all())


def test_pair_features_are_finite_for_no_momentum_and_any_angle():
    features = pair_features(torch.tensor([0.0, 1e4]), torch.tensor([0.0, 1e4]), torch.tensor([2000.0, 1e5]), torch.tensor([0.0, 3.0]))
    assert bool(torch.isfinite(features).all())


@pytest.mark.parametrize("kind", ["light_curve", "spectrum", "sequence"])
def test_offset_rules_come_back_bit_for_bit_on_a_batch(kind):
    graphs = [sample(kind, seed) for seed in range(4)]
    batch = GraphBatch.from_data_list(graphs)
    edges, attr = batch.edge_index.clone(), batch.edge_attr.clone()
    del batch["edge_index"], batch["edge_attr"]
    connect(batch, graphs[0].provenance.settings)
    assert torch.equal(batch.edge_index, edges)
    assert torch.equal(batch.edge_attr, attr)


def test_neighbor_rules_come_back_up_to_near_ties_of_float32():
    graphs = [cloud_graph(**event(n, seed=n), neighbors=6) for n in (1, 4, 30, 80)]
    batch = GraphBatch.from_data_list(graphs)
    before = set(map(tuple, batch.edge_index.T.tolist()))
    again = connect(batch, {"rule": "eta_phi", "k": 6})
    assert len(before ^ set(map(tuple, again.edge_index.T.tolist()))) == 0
    torch.testing.assert_close(again.edge_attr, torch.cat([graph.edge_attr for graph in graphs]), atol=1e-3, rtol=1e-3)


def test_an_unknown_rule_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"edge rule: found radius; expected one of offsets, eta_phi"):
        connect(sample("event"), {"rule": "radius"})
