"""Tables of jets and events: which columns make them, and what becomes of each row."""

from __future__ import annotations

import math
import time

import numpy as np
import pandas as pd
import pytest
from geoembed.errors import MissingColumnError, ValueRangeError
from geoembed.io.forms.particle_rows import ParticleRows
from geoembed.io.forms.particles import ParticleTable
from geoembed.io.record import BadRecord, Record

FORM = ParticleTable()


def jets(rows: int, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, 90, rows)
    def column() -> list[np.ndarray]:
        return [generator.normal(size=count) for count in counts]

    return pd.DataFrame({"pt": [np.abs(cell) + 0.1 for cell in column()], "eta": column(), "phi": column(),
                         "charge": [np.sign(cell).round() for cell in column()], "label": np.arange(rows) % 2})


def payloads(table: pd.DataFrame, name: str = "events", start: int = 0) -> list[Record]:
    records = list(FORM.records(table, start, name))
    assert all(isinstance(record, Record) for record in records)
    return [record for record in records if isinstance(record, Record)]


@pytest.mark.parametrize("columns", [
    ["pt", "eta", "phi"], ["PX", "PY", "PZ", "E"], ["part_px", "part_py", "part_pz", "part_energy", "jet_pt"],
    ["j1_px", "j1_py", "j1_pz", "j1_e"], ["E_0", "PX_0", "PY_0", "PZ_0", "E_1", "PX_1", "PY_1", "PZ_1", "is_signal_new"],
    ["fjet_clus_pt", "fjet_clus_eta", "fjet_clus_phi"], ["PFCands_pt", "PFCands_eta", "PFCands_phi"],
    ["Run", "Event", "E1", "px1", "py1", "pz1", "E2", "px2", "py2", "pz2", "M"], ["ptrel", "etarel", "phirel", "jet_pt", "jet_eta"],
])
def test_the_usual_tables_of_particles_are_known(columns: list[str]) -> None:
    assert FORM.matches(columns)


@pytest.mark.parametrize("columns", [
    ["jet_pt", "jet_eta", "jet_phi", "jet_mass"], ["ra", "dec", "flux"], ["pt", "eta"], ["PX_0", "PY_0", "PZ_1"], [],
    ["ptrel", "etarel", "phirel"], ["Muon_pt", "Muon_eta", "Muon_phi"],
])
def test_tables_without_the_momenta_of_constituents_are_not(columns: list[str]) -> None:
    assert not FORM.matches(columns)


def test_a_row_is_a_record_whose_key_is_its_number_in_the_file() -> None:
    records = payloads(jets(5), start=1024)
    assert [record.key for record in records] == ["1024", "1025", "1026", "1027", "1028"]


def test_labels_and_columns_of_the_whole_jet_are_never_inputs() -> None:
    table = jets(3)
    other = table.assign(label=7, jet_pt=[1e3, 2e3, 3e3], jet_mass=5.0)
    for plain, labeled in zip(payloads(table), payloads(other), strict=True):
        a, b = FORM.to_graph(plain), FORM.to_graph(labeled)
        assert a.x.equal(b.x)
        assert a.token.equal(b.token)
        assert a.edge_attr.equal(b.edge_attr)


def test_cartesian_and_cylindrical_tables_of_one_event_give_one_graph() -> None:
    table = jets(4)
    px = [pt * np.cos(phi) for pt, phi in zip(table.pt, table.phi, strict=True)]
    py = [pt * np.sin(phi) for pt, phi in zip(table.pt, table.phi, strict=True)]
    pz = [pt * np.sinh(eta) for pt, eta in zip(table.pt, table.eta, strict=True)]
    energy = [pt * np.cosh(eta) for pt, eta in zip(table.pt, table.eta, strict=True)]
    cartesian = pd.DataFrame({"px": px, "py": py, "pz": pz, "e": energy, "charge": table.charge})
    for a, b in zip(payloads(table), payloads(cartesian), strict=True):
        left, right = FORM.to_graph(a), FORM.to_graph(b)
        assert left.edge_index.equal(right.edge_index)
        assert (left.x - right.x).abs().max() < 1e-5 * left.x.abs().max()


def test_numbered_columns_equal_lists_and_their_padding_is_counted() -> None:
    table = jets(6)
    slots = 100
    padded = {}
    for name, quantity in (("PT", "pt"), ("ETA", "eta"), ("PHI", "phi"), ("CHARGE", "charge")):
        for slot in range(slots):
            padded[f"{name}_{slot}"] = [cell[slot] if slot < len(cell) else 0.0 for cell in table[quantity]]
    for plain, numbered in zip(payloads(table), payloads(pd.DataFrame(padded)), strict=True):
        a, b = FORM.to_graph(plain), FORM.to_graph(numbered)
        assert a.x.equal(b.x)
        assert a.edge_index.equal(b.edge_index)
        assert b.notes["padding_dropped"] == slots - a.num_nodes


def test_an_absent_slot_of_a_numbered_table_is_no_particle() -> None:
    table = pd.DataFrame({"pt1": [30.0, 20.0], "eta1": [0.1, 0.2], "phi1": [1.0, 2.0],
                          "pt2": [25.0, np.nan], "eta2": [0.3, np.nan], "phi2": [3.0, np.nan]})
    first, second = payloads(table)
    assert first.payload.pt.tolist() == [30.0, 25.0]
    assert second.payload.pt.tolist() == [20.0]
    assert second.notes == {"masked_dropped": 1}


def test_a_row_of_unequal_lists_is_left_out_with_the_lengths_and_the_others_stay() -> None:
    table = pd.DataFrame({"pt": [[1.0, 2.0], [1.0, 2.0], [3.0], None], "eta": [[0.0, 0.1], [0.0], [0.5], [1.0]],
                          "phi": [[0.0, 0.1], [0.0, 0.1], [0.5], [1.0]]})
    records = list(FORM.records(table, 10, "events"))
    assert [type(record) for record in records] == [Record, BadRecord, Record, BadRecord]
    assert [record.key for record in records] == ["10", "11", "12", "13"]
    unequal, missing = records[1], records[3]
    assert isinstance(unequal, BadRecord)
    assert isinstance(missing, BadRecord)
    with pytest.raises(ValueRangeError, match=r"row 11: found \{'pt': 2, 'eta': 1, 'phi': 2\}; expected lists of equal length"):
        raise unequal.error
    with pytest.raises(ValueRangeError, match="'pt': 'no list of numbers'"):
        raise missing.error


@pytest.mark.parametrize("cell", [["a", "b"], [[1.0, 2.0], [3.0, 4.0]], "not a list", 3.0, {"x": 1}])
def test_a_cell_that_is_no_list_of_numbers_costs_its_row_only(cell: object) -> None:
    table = pd.DataFrame({"pt": [[1.0, 2.0], cell], "eta": [[0.0, 0.1]] * 2, "phi": [[0.0, 0.1]] * 2})
    good, bad = FORM.records(table, 0, "events")
    assert isinstance(good, Record)
    assert isinstance(bad, BadRecord)


def test_a_list_written_as_text_is_read() -> None:
    table = pd.DataFrame({"pt": ["[1.5, 2.5]"], "eta": ["[0.0, -1.0]"], "phi": ["[0.0, 3.0]"]})
    (record,) = payloads(table)
    assert record.payload.pt.tolist() == [1.5, 2.5]
    assert record.payload.eta.tolist() == [0.0, -1.0]


def test_one_particle_a_row_without_an_event_is_refused_with_what_to_do() -> None:
    table = pd.DataFrame({"pt": [1.0, 2.0], "eta": [0.0, 0.1], "phi": [0.0, 0.1]})
    with pytest.raises(MissingColumnError, match="Name the column that groups the rows 'event'"):
        list(FORM.records(table, 0, "events"))


@pytest.mark.parametrize(("value", "reason"), [(-1.0, "≥ 0"), (math.nan, "finite"), (math.inf, "finite")])
def test_a_pt_that_cannot_be_is_refused_when_the_graph_is_built(value: float, reason: str) -> None:
    (record,) = payloads(pd.DataFrame({"pt": [[1.0, value]], "eta": [[0.0, 0.1]], "phi": [[0.0, 0.1]]}))
    with pytest.raises(ValueRangeError, match=reason):
        FORM.to_graph(record)


def test_text_among_numbered_columns_spoils_its_row_only() -> None:
    table = pd.DataFrame({"pt_0": [1.0, "x"], "eta_0": [0.0, 0.1], "phi_0": [0.0, 0.1]})
    first, second = payloads(table)
    assert FORM.to_graph(first).num_nodes == 1
    with pytest.raises(ValueRangeError, match="finite"):
        FORM.to_graph(second)


def test_flags_of_kinds_are_the_classes_of_their_particles() -> None:
    flags = {"part_isChargedHadron": [[1, 0, 0, 0, 0]], "part_isNeutralHadron": [[0, 1, 0, 0, 0]], "part_isPhoton": [[0, 0, 1, 0, 0]],
             "part_isElectron": [[0, 0, 0, 1, 0]], "part_isMuon": [[0, 0, 0, 0, 1]]}
    momenta = {f"part_{name}": [[1.0, 2.0, 3.0, 4.0, 5.0]] for name in ("px", "py", "pz")}
    (record,) = payloads(pd.DataFrame({**momenta, **flags, "part_charge": [[1, 0, 0, -1, 1]]}))
    assert record.payload.particle_id.tolist() == [6, 9, 5, 1, 2]
    assert record.payload.charge.tolist() == [1, 0, 0, -1, 1]


def test_momenta_relative_to_the_jet_become_those_of_its_particles() -> None:
    table = pd.DataFrame({"ptrel": [[0.5, 0.25]], "etarel": [[0.1, -0.2]], "phirel": [[0.0, 0.3]], "mask": [[1, 1]],
                          "jet_pt": [800.0], "jet_eta": [1.5]})
    (record,) = payloads(table)
    assert record.payload.pt.tolist() == [400.0, 200.0]
    assert record.payload.eta.tolist() == pytest.approx([1.6, 1.3])
    assert record.payload.phi.tolist() == [0.0, 0.3]  # JetNet gives no phi of the jet: the axis is put at 0
    assert record.payload.modality == "jet"
    (turned,) = payloads(table.assign(jet_phi=2.0))
    assert turned.payload.phi.tolist() == [2.0, 2.3]


@pytest.mark.parametrize(("extra", "name", "modality"), [
    ({}, "events", "event"), ({}, "jets_top_qcd", "jet"), ({"jet_pt": 500.0}, "x", "jet"), ({"is_signal_new": 1}, "x", "jet"),
    ({"jet_pt": [[500.0, 20.0]]}, "x", "event"),
])
def test_a_row_is_a_jet_where_a_number_describes_one(extra: dict[str, object], name: str, modality: str) -> None:
    table = jets(1).assign(**extra)
    assert payloads(table, name)[0].payload.modality == modality


def test_an_empty_table_gives_no_record() -> None:
    assert payloads(jets(3).iloc[:0]) == []


def test_five_thousand_jets_a_second_become_payloads() -> None:
    table = jets(4000)
    start = time.process_time()
    assert len(payloads(table)) == 4000
    assert time.process_time() - start < 4000 / 5000


LONG = ParticleRows()


def test_rows_of_an_event_are_one_cloud_wherever_they_stand() -> None:
    table = jets(5)
    long = table.assign(event=[40, 10, 30, 20, 50]).explode(["pt", "eta", "phi", "charge"]).astype(float)
    shuffled = long.sample(frac=1, random_state=0)
    for frame in (long, shuffled):
        found = {record.key: record for record in LONG.records(frame.reset_index(drop=True), 0, "x") if isinstance(record, Record)}
        assert sorted(found) == ["10", "20", "30", "40", "50"]
        for key, row in zip(("40", "10", "30", "20", "50"), range(5), strict=True):
            assert sorted(found[key].payload.pt) == sorted(table.pt[row])


def test_one_event_number_in_two_runs_is_two_events() -> None:
    table = pd.DataFrame({"run": [1, 2, 1], "event": [7, 7, 7], "pt": [1.0, 2.0, 3.0], "eta": 0.0, "phi": 0.0})
    records = [record for record in LONG.records(table, 0, "x") if isinstance(record, Record)]
    assert [(record.key, record.payload.pt.tolist()) for record in records] == [("1:7", [1.0, 3.0]), ("2:7", [2.0])]


def test_rows_without_an_event_are_one_bad_record() -> None:
    table = pd.DataFrame({"event": [7, None, 7], "pt": [1.0, 2.0, 3.0], "eta": 0.0, "phi": 0.0})
    good, bad = LONG.records(table, 0, "x")
    assert good.key == "7"
    assert isinstance(bad, BadRecord)
    with pytest.raises(ValueRangeError, match=r"found 1 rows without a number; expected one a row\. Fill in"):
        raise bad.error


def test_a_table_of_lists_beside_an_event_number_keeps_its_rows() -> None:
    table = jets(3).assign(event=[5, 5, 5])
    records = [record for record in LONG.records(table, 0, "x") if isinstance(record, Record)]
    assert [len(record.payload.pt) for record in records] == [len(cell) for cell in table.pt]
