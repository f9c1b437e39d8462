"""POSCAR, CONTCAR, XDATCAR: the same cells and sites as pymatgen, and what pymatgen would invent is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from geoembed.errors import BudgetError, EmptyGraphError, TruncatedFileError, UnknownNameError, UnreadableFileError, ValueRangeError
from geoembed.io.poscar import Poscar, poscar_records
from geoembed.io.record import BadRecord, Record
from geoembed.io.sites import Sites
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Poscar as Reference

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
here = pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")

CELL = "4 0 0\n0 4 0\n0 0 4\n"
ROCK = f"rock salt\n1.0\n{CELL}Na Cl\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n"


def read(text: str) -> list[Record | BadRecord]:
    return list(poscar_records(iter(text.splitlines(keepends=True)), "POSCAR", "structure"))


def only(text: str) -> Record:
    (record,) = read(text)
    assert isinstance(record, Record), record
    return record


def fail(text: str) -> None:
    (record,) = read(text)
    assert isinstance(record, BadRecord)
    raise record.error


def cartesian(sites: Sites) -> np.ndarray:
    assert sites.cell is not None
    return sites.coordinates if sites.cartesian else sites.coordinates @ sites.cell


def assert_equal(sites: Sites, expected: Structure) -> None:
    np.testing.assert_allclose(sites.cell, expected.lattice.matrix, atol=1e-9)
    np.testing.assert_allclose(cartesian(sites), expected.cart_coords, atol=1e-7)
    assert sites.numbers.tolist() == [species.Z for species in expected.species]


@pytest.mark.filterwarnings("ignore:Selective dynamics toggled with Fluorine")  # of the oracle
@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_a_generated_cell_is_read_as_pymatgen_reads_it(seed: int, direct: bool, selective: bool) -> None:
    rng = np.random.default_rng(seed)
    lattice = Lattice(rng.normal(size=(3, 3)) * 2 + 6 * np.eye(3))
    flags = [[bool(flag) for flag in row] for row in rng.integers(0, 2, (6, 3))]
    flags[0][0] = False
    crystal = Structure(lattice, ["O", "Fe", "F", "Fe", "O", "F"], rng.uniform(size=(6, 3)))
    text = Reference(crystal, selective_dynamics=flags if selective else None).get_str(direct=direct, significant_figures=12)
    assert_equal(only(text).payload, Reference.from_str(text).structure)


@here
def test_perovskites_are_read_as_pymatgen_reads_them() -> None:
    table = pd.read_parquet(SHARED / "materials" / "set_b_perovskites" / "perovskites_11857.parquet", columns=["poscar"])
    for text in table["poscar"].iloc[::120]:
        assert_equal(only(text).payload, Reference.from_str(text).structure)


def test_a_negative_scaling_factor_is_the_volume_of_the_cell() -> None:
    sites = only(ROCK.replace("1.0\n", "-125\n", 1).replace("Direct", "Cartesian").replace("0.5 0.5 0.5", "2 2 2")).payload
    np.testing.assert_allclose(sites.cell, np.eye(3) * 5)
    np.testing.assert_allclose(cartesian(sites)[1], [2.5, 2.5, 2.5])  # Cartesian coordinates scale with the vectors


def test_three_scaling_factors_scale_the_components() -> None:
    sites = only(ROCK.replace("1.0\n", "1.0 0.5 2.0\n", 1)).payload
    np.testing.assert_allclose(sites.cell, np.diag([4.0, 2.0, 8.0]))


def test_symbols_on_several_lines_and_with_potential_names_are_read() -> None:
    text = f"x\n1\n{CELL}Fe_pv/f474 Cr\nFe\n1 1\n1\nDirect\n0 0 0\n0.5 0 0\n0 0.5 0\n"
    assert only(text).payload.numbers.tolist() == [26, 24, 26]


def test_counts_without_symbols_are_named_by_the_lines_the_comment_or_not_at_all() -> None:
    anonymous = ROCK.replace("Na Cl\n", "")
    with pytest.raises(UnknownNameError, match="Add that line"):
        fail(anonymous)
    ends = only(anonymous.replace("0 0 0\n0.5 0.5 0.5", "0 0 0 # Na1\n0.5 0.5 0.5 # Cl1").replace("0 0 4\n1 1", "0 0 4\n1 1"))
    assert (ends.payload.numbers.tolist(), ends.notes) == ([11, 17], {"symbols_from_line_ends": True})
    comment = only(anonymous.replace("rock salt", "Na Cl"))
    assert (comment.payload.numbers.tolist(), comment.notes) == ([11, 17], {"symbols_from_comment": True})


def test_a_flag_of_selective_dynamics_is_no_fluorine() -> None:
    text = f"x\n1\n{CELL}1\nSelective\nDirect\n0 0 0 T T F\n"
    with pytest.raises(UnknownNameError, match="symbols"):
        fail(text)


def test_an_unknown_symbol_is_named_and_deuterium_is_noted() -> None:
    with pytest.raises(UnknownNameError, match="'Xx'"):
        fail(ROCK.replace("Na Cl", "Na Xx"))
    record = only(ROCK.replace("Na Cl", "D Cl"))
    assert (record.payload.numbers.tolist(), record.notes) == ([1, 17], {"isotopes_as_hydrogen": 1})


def test_fewer_lines_than_counts_are_a_truncated_file() -> None:
    with pytest.raises(TruncatedFileError, match="1 coordinate lines; expected 2"):
        fail(ROCK.replace("0.5 0.5 0.5\n", ""))
    with pytest.raises(TruncatedFileError, match="line 5: found the end of the file; expected a lattice vector"):
        read("x\n1.0\n4 0 0\n0 4 0\n")


def test_counts_beyond_memory_are_refused_before_anything_is_allocated() -> None:
    with pytest.raises(BudgetError, match="Split the record"):
        read(ROCK.replace("1 1\n", "1 999999999\n"))


@pytest.mark.parametrize(("old", "new", "match"), [
    ("0.5 0.5 0.5", "0.5 nan 0.5", "finite coordinates"), ("0.5 0.5 0.5", "0.5 0.5 1e400", "finite coordinates"),
    ("0.5 0.5 0.5", "0.5 0.5", "three coordinates"), ("0.5 0.5 0.5", "0.5 x 0.5", "numbers"),
    ("0 4 0", "0 inf 0", "three components"), ("1.0\n", "nan\n", "scaling factors"), ("0 4 0", "0 four 0", "three components"),
    ("1 1\n", "1 -1\n", "numbers of atoms"), ("1 1\n", "1\n", "numbers of atoms"),
])
def test_numbers_that_are_none_are_named_with_their_line(old: str, new: str, match: str) -> None:
    with pytest.raises((ValueRangeError, UnreadableFileError), match=match):
        fail(ROCK.replace(old, new, 1))


def test_no_atoms_is_an_error() -> None:
    with pytest.raises(EmptyGraphError, match="no atoms"):
        fail(f"x\n1\n{CELL}Na\n0\nDirect\n")


FRAME = "Direct configuration= {}\n0 0 0\n{} 0.5 0.5\n"
HEADER = ROCK.partition("Direct")[0]


def positions(records: list[Record | BadRecord]) -> list[float]:
    return [float(record.payload.coordinates[1, 0]) for record in records if isinstance(record, Record)]


def test_an_xdatcar_gives_a_record_a_configuration() -> None:
    records = read(HEADER + FRAME.format(1, 0.5) + FRAME.format(2, 0.6) + "\n")
    assert [record.key for record in records] == ["configuration-1", "configuration-2"]
    assert positions(records) == [0.5, 0.6]


def test_an_xdatcar_of_a_variable_cell_writes_its_header_again() -> None:
    records = read(HEADER + FRAME.format(1, 0.5) + HEADER.replace("4 0 0", "5 0 0") + FRAME.format(2, 0.6))
    assert [float(record.payload.cell[0, 0]) for record in records if isinstance(record, Record)] == [4.0, 5.0]
    assert positions(records) == [0.5, 0.6]


def test_an_xdatcar_of_vasp_4_is_parted_by_blank_lines() -> None:
    assert positions(read(HEADER + "\n0 0 0\n0.5 0 0\n\n0 0 0\n0.6 0 0\n")) == [0.5, 0.6]


def test_a_broken_configuration_costs_itself_only() -> None:
    records = read(HEADER + FRAME.format(1, 0.5) + FRAME.format(2, "x") + FRAME.format(3, 0.7))
    assert [type(record).__name__ for record in records] == ["Record", "BadRecord", "Record"]
    assert positions(records) == [0.5, 0.7]


def test_numbers_that_run_together_are_split_and_noted() -> None:
    record = only(ROCK.replace("0.5 0.5 0.5", "-0.25-0.5 0.125"))
    np.testing.assert_array_equal(record.payload.coordinates[1], [-0.25, -0.5, 0.125])
    assert record.notes == {"glued_numbers_split": 1}


def test_velocities_after_the_coordinates_are_not_sites() -> None:
    assert len(only(ROCK + "\n0.1 0.2 0.3\n0.1 0.2 0.3\n").payload.coordinates) == 2


def test_the_name_or_the_first_lines_open_it() -> None:
    reader = Poscar()
    assert reader.can_open(b"anything", "poscar-225")
    assert reader.can_open(b"anything", "run.contcar")
    assert reader.can_open(ROCK.encode(), "notes.txt")
    assert not reader.can_open(b"time,mag\n1.0,2\n3 4 5\n", "star.txt")
    assert not reader.can_open(b'{"a": 1}', "poscar.json")


def test_the_graph_of_a_file_is_rock_salt(tmp_path: Path) -> None:
    path = tmp_path / "POSCAR"
    path.write_text(ROCK)
    reader = Poscar()
    (graph,) = [reader.to_graph(record) for record in reader.records(path) if isinstance(record, Record)]
    assert graph.token.flatten().tolist() == [11, 17]
    assert graph.edge_attr.min().item() == pytest.approx(4 * 0.75**0.5)  # body diagonal: this cell is CsCl-like


def test_vasp_4_takes_its_elements_from_the_potcar_beside_it(tmp_path: Path) -> None:
    (tmp_path / "POSCAR").write_text(ROCK.replace("Na Cl\n", ""))
    (tmp_path / "POTCAR").write_text("  PAW_PBE Na_pv 19Sep2006\n   TITEL  = PAW_PBE Na_pv 19Sep2006\n   TITEL  = PAW_PBE Cl 06Sep2000\n")
    (record,) = Poscar().records(tmp_path / "POSCAR")
    assert isinstance(record, Record)
    assert (record.payload.numbers.tolist(), record.notes) == ([11, 17], {"symbols_from_potcar": True})
    (tmp_path / "POTCAR").write_text("   TITEL  = PAW_PBE Na_pv 19Sep2006\n")
    (bad,) = Poscar().records(tmp_path / "POSCAR")
    assert isinstance(bad, BadRecord)  # one element for two counts


def test_a_formula_in_the_comment_names_elements_whose_counts_differ() -> None:
    text = f"Na2Cl1 (made)\n1\n{CELL}1 2\nDirect\n0 0 0\n0.5 0 0\n0 0.5 0\n"
    record = only(text)
    assert (record.payload.numbers.tolist(), record.notes) == ([17, 11, 11], {"symbols_from_formula": True})
    for comment in ("NaCl (made)", "Na2Cl2 (made)", "Na3Cl1", "Na2Cl1O1", "(Na2,Na4)Cl1"):
        with pytest.raises(UnknownNameError, match="Add that line"):
            fail(text.replace("Na2Cl1 (made)", comment))
    with pytest.raises(UnknownNameError, match="Add that line"):  # which of the two comes first is not said
        fail(ROCK.replace("Na Cl\n", "").replace("rock salt", "NaCl"))
