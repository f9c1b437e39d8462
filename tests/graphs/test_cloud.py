"""Particle clouds."""

from __future__ import annotations

import math

import pytest
import torch
from geoembed.errors import GeoembedError, ValueRangeError
from geoembed.graphs.cloud import CLASSES, PARTICLE_CLASSES, cloud_graph, particle_class
from hypothesis import given
from hypothesis import strategies as st

from generators import event

KNOWN = {  # Particle Data Group numbering scheme
    "electron": [11], "muon": [13], "tau": [15], "neutrino": [12, 14, 16], "photon": [22], "charged pion": [211], "neutral pion": [111],
    "charged kaon": [321], "neutral kaon": [130, 310, 311], "proton": [2212], "neutron": [2112],
    "other baryon": [3122, 3112, 3212, 3222, 3312, 3322, 3334, 2224, 2214, 1114, 4122, 5122, 5332, 13122],
    "other meson": [113, 213, 221, 223, 331, 333, 313, 323, 411, 421, 431, 443, 511, 521, 531, 541, 553, 100443, 10113, 20213, 9010221],
    "light quark": [1, 2, 3], "b quark": [5], "c quark": [4], "top quark": [6], "gluon": [21], "W, Z, Higgs": [23, 24, 25],
    "unknown": [0, 7, 17, 32, 37, 39, 81, 990, 1103, 2101, 2203, 3303, 5503, 1000021, 1000022, 2000011, 4000011, 1000010020, 1000020040,
                999999, 1000993],
}


@pytest.mark.parametrize("name", KNOWN)
def test_particles_and_antiparticles_have_the_class_of_their_kind(name):
    codes = torch.tensor(KNOWN[name])
    expected = [PARTICLE_CLASSES.index(name)] * len(codes)
    assert particle_class(codes).tolist() == expected
    assert particle_class(-codes).tolist() == expected


def test_classes_keep_the_shape_of_the_codes():
    assert particle_class([[211, 22], [11, 0]]).tolist() == [[6, 5], [1, 0]]
    assert len(PARTICLE_CLASSES) == CLASSES


@given(st.integers(-10_000_000_000, 10_000_000_000))
def test_any_code_has_a_class(code):
    assert 0 <= int(particle_class([code])[0]) < CLASSES


def test_features_are_pt_eta_phi_energy_and_tokens_are_class_and_charge_plus_one():
    graph = cloud_graph(pt=[5.0, 3.0], eta=[0.5, -1.0], phi=[4.0, 1.0], energy=[7.0, 6.0], charge=[-1, 0], particle_id=[6, 5])
    assert graph.x.tolist() == [pytest.approx([5, 0.5, 4 - 2 * math.pi, 7]), pytest.approx([3, -1, 1, 6])]
    assert graph.token.tolist() == [[6, 0], [5, 1]]
    assert graph.pos.tolist() == [pytest.approx([0.5, 4 - 2 * math.pi]), pytest.approx([-1, 1])]
    assert graph.notes == {"phi_wrapped": 1}
    assert graph.pos.dtype == torch.float32


@given(st.floats(1e-3, 1e3), st.floats(-5, 5), st.floats(0, 200))
def test_the_energy_follows_from_mass_and_momentum(pt, eta, mass):
    graph = cloud_graph(pt=[pt], eta=[eta], phi=[0.0], mass=[mass])
    assert graph.x[0, 3].item() == pytest.approx(math.sqrt((pt * math.cosh(eta)) ** 2 + mass**2), rel=1e-6)
    massless = cloud_graph(pt=[pt], eta=[eta], phi=[0.0])
    assert massless.x[0, 3].item() == pytest.approx(pt * math.cosh(eta), rel=1e-6)
    assert massless.notes["taken_as_massless"] is True
    assert "taken_as_massless" not in graph.notes


def test_what_is_not_given_is_said_in_the_notes():
    graph = cloud_graph(pt=[1.0], eta=[0.0], phi=[0.0])
    assert graph.notes == {"taken_as_massless": True, "particle_id_absent": True, "charge_absent": True}
    assert graph.token.tolist() == [[0, 1]]


def test_rows_of_padding_may_hold_anything_beside_their_zero_pt():
    """The pseudorapidity of no momentum is not a number."""
    columns = event(4)
    padded = {name: torch.cat([column.double(), torch.tensor([0.0 if name == "pt" else math.nan])]) for name, column in columns.items()}
    graph, plain = cloud_graph(**padded), cloud_graph(**columns)
    for name in ("x", "token", "pos", "edge_index", "edge_attr"):
        assert torch.equal(graph[name], plain[name]), name
    assert graph.notes["padding_dropped"] == 1


def test_no_particle_is_a_legal_empty_cloud():
    for graph in (cloud_graph(pt=[], eta=[], phi=[]), cloud_graph(pt=[0.0, 0.0], eta=[0.0, 0.0], phi=[0.0, 0.0])):
        assert (graph.num_nodes, graph.num_edges) == (0, 0)


def test_the_rule_of_the_edges_is_kept_in_the_settings():
    graph = cloud_graph(**event(9), neighbors=3, modality="jet")
    assert graph.provenance.settings == {"rule": "eta_phi", "k": 3}
    assert graph.provenance.modality == "jet"
    assert torch.bincount(graph.edge_index[1]).tolist() == [3] * 9


@pytest.mark.parametrize(("change", "match"), [
    ({"pt": [-1.0, 2.0]}, r"event: pt: found -1\.0 GeV; expected ≥ 0"), ({"pt": [math.nan, 2.0]}, "event: pt: found nan in row 0"),
    ({"eta": [0.0, math.inf]}, "event: eta: found inf in row 1"), ({"phi": [0.0]}, "event: phi: found 1 values; expected 2"),
    ({"charge": [0.5, 0]}, r"charge: found 0\.5 in row 0"), ({"neighbors": -1}, r"event: neighbors: found -1; expected at least 0"),
])
def test_what_is_no_event_is_refused_with_its_reason(change, match):
    with pytest.raises(ValueRangeError, match=match):
        cloud_graph(**{"pt": [1.0, 2.0], "eta": [0.0, 0.0], "phi": [0.0, 1.0], **change})


def test_a_batch_of_events_is_not_taken_for_one():
    with pytest.raises(ValueRangeError, match=r"shape \[2, 3\].*clouds_from_awkward"):
        cloud_graph(pt=torch.ones(2, 3), eta=torch.zeros(2, 3), phi=torch.zeros(2, 3))


@pytest.mark.parametrize("pt", [["a"], None, "text", [None, 1.0]])
def test_what_is_no_number_is_a_typed_error(pt):
    with pytest.raises(GeoembedError):
        cloud_graph(pt=pt, eta=[0.0], phi=[0.0])
