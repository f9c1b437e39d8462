"""Momenta, charges and the split of flat columns into events."""

from __future__ import annotations

import math

import numpy as np
import pytest
from geoembed.io.kinematics import by_prefix, charge_of, is_kinematic, split, to_pt_eta_phi
from hypothesis import given
from hypothesis import strategies as st

momentum = st.floats(-1e4, 1e4, allow_nan=False).filter(lambda value: value == 0 or abs(value) > 1e-3)


@given(momentum, momentum, momentum)
def test_pt_eta_phi_give_the_momentum_back(px: float, py: float, pz: float) -> None:
    pt, eta, phi = (float(value[0]) for value in to_pt_eta_phi(np.array([px]), np.array([py]), np.array([pz])))
    if px == py == 0:
        assert pt == eta == 0
        return
    size = math.hypot(px, py, pz)
    assert abs(pt * math.cos(phi) - px) < 1e-12 * size
    assert abs(pt * math.sin(phi) - py) < 1e-12 * size
    assert abs(pt * math.sinh(eta) - pz) < 1e-9 * size


def test_pseudorapidity_of_a_forward_particle_does_not_cancel() -> None:
    _, eta, _ = to_pt_eta_phi(np.array([1e-3]), np.array([0.0]), np.array([5000.0]))
    assert float(eta[0]) == pytest.approx(math.asinh(5e6), rel=1e-14)  # ln((p + pz) / (p - pz)) / 2 is infinite in float64 here


def test_charges_of_pdg_codes_agree_with_the_table_of_particles() -> None:
    particle = pytest.importorskip("particle")
    known = [p for p in particle.Particle.all() if not 10**8 < abs(int(p.pdgid)) < 10**9]  # without exotic tetraquarks
    codes = [int(p.pdgid) for p in known]
    charges = np.array([float(p.charge) for p in known])
    assert len(codes) > 500
    assert np.abs(charge_of(codes) - charges).max() < 1e-12


def test_a_name_is_a_quantity_behind_any_prefix_and_other_names_are_left_out() -> None:
    groups = by_prefix(["ReconstructedParticles.momentum.x", "EFlowTrack.PT", "jet_nparticles", "pt", "part_isElectron", "apt"])
    assert groups == {"ReconstructedParticles.": {"px": "ReconstructedParticles.momentum.x"}, "EFlowTrack.": {"pt": "EFlowTrack.PT"},
                      "": {"pt": "pt"}, "part_": {"is11": "part_isElectron"}}


@pytest.mark.parametrize(("quantities", "fixed"), [
    (("pt", "eta", "phi"), True), (("px", "py", "pz"), True), (("pt", "rapidity", "phi"), True), (("pt", "eta"), False),
    (("px", "py", "energy"), False), ((), False),
])
def test_momenta_are_fixed_by_three_components_only(quantities: tuple[str, ...], fixed: bool) -> None:
    assert is_kinematic(quantities) is fixed


def test_events_are_cut_at_their_counts_and_an_empty_event_stays() -> None:
    columns = {"pt": np.arange(1.0, 6.0), "eta": np.zeros(5), "phi": np.zeros(5)}
    events = [payload.pt.tolist() for payload, _ in split(columns, np.array([2, 0, 3]), "event")]
    assert events == [[1.0, 2.0], [], [3.0, 4.0, 5.0]]


def test_a_particle_along_the_beam_is_left_out_and_counted() -> None:
    columns = {"px": np.array([0.0, 3.0, 0.0]), "py": np.array([0.0, 4.0, 0.0]), "pz": np.array([7.0, 0.0, 0.0])}
    (payload, notes), = split(columns, np.array([3]), "event")
    assert payload.pt.tolist() == [5.0, 0.0]  # the row of zeros is padding, which the builder counts
    assert notes == {"along_beam_dropped": 1}


def test_a_masked_row_has_no_influence_whatever_it_holds() -> None:
    columns = {"pt": np.array([1.0, np.nan, 2.0]), "eta": np.array([0.1, -999.0, 0.2]), "phi": np.zeros(3),
               "valid": np.array([1.0, 0.0, 1.0])}
    (payload, notes), = split(columns, np.array([3]), "event")
    assert payload.pt.tolist() == [1.0, 2.0]
    assert payload.eta.tolist() == [0.1, 0.2]
    assert notes == {"masked_dropped": 1}


def test_rapidity_becomes_pseudorapidity_with_the_mass_of_the_particle() -> None:
    pt, y, mass = 2.0, 1.5, 0.938272
    columns = {"pt": np.array([pt]), "rapidity": np.array([y]), "phi": np.array([0.0]), "pdg": np.array([-2212.0])}
    (payload, notes), = split(columns, np.array([1]), "jet")
    pz = math.hypot(pt, mass) * math.sinh(y)
    assert float(payload.eta[0]) == pytest.approx(math.asinh(pz / pt), rel=1e-12)
    assert payload.charge is not None
    assert payload.charge.tolist() == [-1.0]
    assert notes["eta_from"] == "rapidity and mass"


def test_a_quark_keeps_the_sign_of_its_charge_and_the_note_says_so() -> None:
    columns = {"pt": np.ones(3), "eta": np.zeros(3), "phi": np.zeros(3), "pdg": np.array([2.0, -2.0, 11.0])}
    (payload, notes), = split(columns, np.array([3]), "event")
    assert payload.charge is not None
    assert payload.charge.tolist() == [1.0, -1.0, -1.0]
    assert notes == {"charge_from": "PDG code", "charge_reduced_to_sign": 2}


@pytest.mark.parametrize(("codes", "classes", "read_as"), [
    ([1.0, 5.0, 6.0], [1.0, 5.0, 6.0], "class"), ([11.0, 22.0, -211.0], [1.0, 5.0, 6.0], "PDG code"),
])
def test_particle_id_is_a_class_where_all_numbers_are_classes_and_the_note_says_which(
    codes: list[float], classes: list[float], read_as: str
) -> None:
    columns = {"pt": np.ones(3), "eta": np.zeros(3), "phi": np.zeros(3), "class_or_pdg": np.array(codes)}
    (payload, notes), = split(columns, np.array([3]), "event")
    assert payload.particle_id is not None
    assert payload.particle_id.tolist() == classes
    assert notes["particle_id_read_as"] == read_as
