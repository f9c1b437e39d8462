"""Many clouds at once, from columns and from awkward arrays."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch
from geoembed.errors import BudgetError, MissingColumnError, UnknownNameError, ValueRangeError
from geoembed.graphs.cloud import cloud_graph
from geoembed.graphs.clouds import clouds, clouds_from_awkward
from geoembed.graphs.connect import connect, edge_counts, rule_of
from hypothesis import given
from hypothesis import strategies as st


def events(counts: list[int], seed: int = 0) -> ak.Array:
    g = np.random.default_rng(seed)
    n = sum(counts)
    flat = {"pt": g.exponential(5, n), "eta": g.normal(size=n), "phi": g.uniform(-5, 5, n), "mass": g.exponential(1, n),
            "charge": g.integers(-1, 2, n), "particle_id": g.integers(0, 20, n)}
    return ak.zip({name: ak.unflatten(values, counts) for name, values in flat.items()}, depth_limit=1)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(0, 99), st.integers(0, 20))
def test_a_batch_of_an_awkward_array_is_its_events_one_by_one(counts, seed, neighbors):
    array = events(counts, seed)
    batch = clouds_from_awkward(array, neighbors=neighbors)
    assert batch.num_graphs == len(counts)
    for i, event in enumerate(array):
        one = cloud_graph(**{name: ak.to_numpy(event[name]) for name in array.fields}, neighbors=neighbors)
        cut = batch.get_example(i)
        for name in ("x", "token", "pos", "edge_index", "edge_attr"):
            assert cut[name].numpy().tobytes() == one[name].numpy().tobytes(), name
        assert cut.notes == one.notes
        assert cut.record == str(i)


def test_cuts_masks_and_records_of_lists_are_awkward_arrays_too():
    array = events([3, 0, 5])
    whole = clouds_from_awkward(array)
    assert clouds_from_awkward(array[[2, 0]]).get_example(0).x.equal(whole.get_example(2).x)
    assert clouds_from_awkward(ak.zip({name: array[name] for name in array.fields})).x.equal(whole.x)
    hard = clouds_from_awkward(ak.zip({name: array[name] for name in array.fields})[array.pt > 4])
    assert hard.x.equal(whole.x[whole.x[:, 0] > 4])


@pytest.mark.parametrize(("array", "match"), [
    ({"pt": [[1.0]], "eta": [[0.0]]}, r"expected \['phi'\]. Name the fields"),
    ({"pt": [[1.0]], "eta": [[0.0, 1.0]], "phi": [[0.0]]}, "other lengths than those of pt"),
    ({"pt": [1.0], "eta": [0.0], "phi": [0.0]}, "a list of numbers an event"),
    ({"pt": [[1.0], None], "eta": [[0.0], [1.0]], "phi": [[0.0], [1.0]]}, "1 events that are None"),
])
def test_what_is_no_array_of_events_is_refused(array, match):
    with pytest.raises(MissingColumnError, match=match):
        clouds_from_awkward(ak.Array(ak.contents.RecordArray([ak.Array(v).layout for v in array.values()], list(array))))


def test_an_event_that_cannot_be_is_named_by_its_number():
    array = ak.Array({"pt": [[1.0], [2.0, -1.0]], "eta": [[0.0], [0.0, 0.0]], "phi": [[0.0], [0.0, 0.0]]})
    with pytest.raises(ValueRangeError, match="event 1: pt: found -1.0 GeV"):
        clouds_from_awkward(array)


def test_events_that_are_not_plainly_good_are_flagged_and_no_others():
    columns = {"pt": np.array([1.0, -1, 1, 0, 1e300, 1]), "eta": np.array([0, 0, np.nan, np.nan, 0, 0]), "phi": np.zeros(6),
               "charge": np.array([0, 0, 0, np.nan, 0, 2.0])}
    made = clouds(columns, np.ones(6, np.int64), "event")
    assert made.suspect.tolist() == [False, True, True, False, True, True]


def test_a_cloud_may_be_linked_within_a_radius_or_in_full():
    graph = cloud_graph(pt=[1.0, 2.0, 3.0], eta=[0.0, 0.3, 2.0], phi=[3.1, -3.1, 0.0])
    near = connect(graph.clone(), {"rule": "eta_phi_radius", "r": 0.4})
    assert near.edge_index.tolist() == [[1, 0], [0, 1]]  # across the seam of phi: ΔR = 0.31
    assert near.edge_attr[0, 0].exp().item() == pytest.approx(np.hypot(0.3, 2 * np.pi - 6.2), rel=1e-5)
    full = connect(graph.clone(), {"rule": "full"})
    assert full.edge_index.tolist() == [[1, 2, 0, 2, 0, 1], [0, 0, 1, 1, 2, 2]]
    with pytest.raises(BudgetError, match="over 1 edges"):
        connect(graph.clone(), {"rule": "eta_phi_radius", "r": 0.4, "most": 1})
    with pytest.raises(UnknownNameError, match="eta_phi_radius, full"):
        connect(graph.clone(), {"rule": "knn"})


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(0, 5))
def test_edges_of_a_rule_are_counted_without_making_them(counts, k):
    ptr = torch.tensor([0, *counts]).cumsum(0)
    for rule in ({"rule": "eta_phi", "k": k}, {"rule": "full"}):
        made = [connect(cloud_graph(pt=[1.0] * n, eta=range(n), phi=[0.0] * n), rule).num_edges for n in counts]
        found = edge_counts(ptr, rule)
        assert found is not None
        assert found.tolist() == made
    assert edge_counts(ptr, {"rule": "eta_phi_radius", "r": 1.0}) is None
    assert rule_of({"unit": "mag"}) is None
