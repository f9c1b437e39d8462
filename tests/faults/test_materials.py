"""Faults 1-9 and 64-66 for crystals: what breaks comparable packages costs one record here, and is said."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from geoembed import errors
from geoembed.errors import GeoembedError, TruncatedFileError, UnknownNameError, UnsafeFileError, ValueRangeError
from geoembed.io.cif import Cif
from geoembed.io.reader import Reading, read
from geoembed.schema import Graph
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar

NACL = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CELL = "_cell_length_a 4\n_cell_length_b 4\n_cell_length_c 4\n_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n"
LOOP = "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_occupancy\n"
P1 = "_space_group_IT_number 1\n"


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "geoembed")


def extxyz(tmp_path: Path) -> str:
    write(tmp_path / "made.extxyz", Atoms("NaCl", positions=[[0, 0, 0], [2, 2, 2]], cell=[4, 4, 4], pbc=True), format="extxyz")
    return (tmp_path / "made.extxyz").read_text()


def sample(tmp_path: Path, suffix: str) -> str:
    texts = {"cif": lambda: str(CifWriter(NACL)), "vasp": lambda: Poscar(NACL).get_str(), "json": lambda: json.dumps(NACL.as_dict()),
             "extxyz": lambda: extxyz(tmp_path)}
    return texts[suffix]()


def load(tmp_path: Path, text: str | bytes, name: str = "x.cif") -> tuple[list[Graph], Reading]:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    reading = read(path)
    graphs = list(reading)
    assert reading.records_in == len(graphs) + len(reading.quarantined)
    return graphs, reading


def cif(tmp_path: Path, rows: str, items: str = P1) -> Graph:
    path = tmp_path / "x.cif"
    path.write_text("data_x\n" + CELL + items + LOOP + rows)
    (graph,) = read(path, on_error="raise")
    return graph


# --- 1: one bad file ends the run ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("suffix", ["cif", "vasp", "json", "extxyz"])
def test_four_broken_files_of_two_hundred_cost_four_records(tmp_path: Path, suffix: str) -> None:
    good = sample(tmp_path, suffix)
    broken = {0: "", 1: good[: len(good) // 8], 100: good[: len(good) // 2], 199: good.replace("Na", "Qq")}
    embedded, left_out = 0, []
    for i in range(200):
        graphs, reading = load(tmp_path, broken.get(i, good), f"x{i}.{suffix}")
        embedded += len(graphs)
        left_out += [(i, quarantined.reason) for quarantined in reading.quarantined]
    assert embedded == 196
    assert [i for i, _ in left_out] == [0, 1, 100, 199]
    assert all(f"x{i}.{suffix}" in reason for i, reason in left_out)


def test_a_crystal_under_a_wrong_suffix_is_known_by_its_content(tmp_path: Path) -> None:
    for suffix in ("cif", "vasp", "extxyz"):
        graphs, _ = load(tmp_path, sample(tmp_path, suffix), f"{suffix}-file.txt")
        assert [graph.kind for graph in graphs] == ["crystal"]


# --- 3: a truncated file reads as a short good one -------------------------------------------------------------------------------

@pytest.mark.parametrize("suffix", ["cif", "vasp", "json", "extxyz"])
def test_a_file_cut_anywhere_is_whole_or_left_out_or_flagged(tmp_path: Path, suffix: str) -> None:
    text = sample(tmp_path, suffix).rstrip("\n") + "\n"
    ((whole,), _) = load(tmp_path, text, f"x.{suffix}")
    flagged = 0
    for cut in sorted({len(text) // 3, len(text) // 2, *range(len(text) - 120, len(text))}):
        graphs, reading = load(tmp_path, text[:cut], f"x.{suffix}")
        for graph in graphs:
            same = graph.num_nodes == whole.num_nodes and bool((graph.pos == whole.pos).all())
            assert same or {"composition_mismatch", "no_line_end_at_the_end"} & set(graph.notes), cut
            flagged += not same
        assert len(graphs) + len(reading.quarantined) == 1
    assert flagged < 20  # a last number that lost digits; everything else is left out


def test_a_cif_without_line_end_that_misses_atoms_of_its_formula_is_truncated(tmp_path: Path) -> None:
    text = str(CifWriter(NACL)).rstrip("\n")
    _, reading = load(tmp_path, text[: text.rindex("\n")])
    with pytest.raises(TruncatedFileError, match=r"no line end, and Cl: formula.*Fetch the file again"):
        list(read(tmp_path / "x.cif", on_error="raise"))
    assert reading.quarantined[0].record == "NaCl"


# --- 4: parsers raise whatever they hit ------------------------------------------------------------------------------------------

OURS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, GeoembedError)} | {"NoStructureError"}


@pytest.mark.parametrize("suffix", ["cif", "vasp", "json", "extxyz"])
def test_mutated_bytes_never_raise_anything_but_a_typed_error(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(4)
    text = bytearray(sample(tmp_path, suffix).encode())
    for _ in range(100):
        mutated = bytearray(text)
        for place in rng.integers(0, len(text), rng.integers(1, 4)):
            mutated[place] = rng.integers(0, 256)
        start = time.monotonic()
        _, reading = load(tmp_path, bytes(mutated), f"x.{suffix}")
        assert {quarantined.error for quarantined in reading.quarantined} <= OURS, reading.quarantined
        assert time.monotonic() - start < 5


# --- 5: NaN and infinity ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", "1e400"])
@pytest.mark.parametrize("tag", ["_cell_length_b", "_cell_angle_gamma", "_atom_site_fract_y", "_atom_site_occupancy"])
def test_a_number_of_a_cif_that_is_not_finite_is_named_by_its_tag(tmp_path: Path, bad: str, tag: str) -> None:
    row = {"_atom_site_fract_y": f"Na1 Na 0 {bad} 0 1\n", "_atom_site_occupancy": f"Na1 Na 0 0 0 {bad}\n"}.get(tag, "Na1 Na 0 0 0 1\n")
    text = "data_x\n" + CELL.replace(f"{tag} 4", f"{tag} {bad}").replace(f"{tag} 90", f"{tag} {bad}") + P1 + LOOP + row
    (tmp_path / "x.cif").write_text(text)
    with pytest.raises(ValueRangeError, match=f"{tag}: found '{bad}'.*Correct the value"):
        list(read(tmp_path / "x.cif", on_error="raise"))


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", "1e400"])
@pytest.mark.parametrize("field", ["Lattice", "pos"])
def test_a_number_of_an_xyz_that_is_not_finite_is_refused(tmp_path: Path, bad: str, field: str) -> None:
    text = extxyz(tmp_path)
    text = text.replace("4.0 ", f"{bad} ", 1) if field == "Lattice" else text.rstrip("\n").rsplit(maxsplit=1)[0] + f" {bad}\n"
    _, reading = load(tmp_path, text, "x.extxyz")
    assert reading.quarantined[0].error == "ValueRangeError"
    assert "expected finite numbers" in reading.quarantined[0].reason


def test_a_cell_without_volume_and_coinciding_atoms_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.cif").write_text("data_x\n" + CELL.replace("gamma 90", "gamma 0.0001") + P1 + LOOP + "Na1 Na 0 0 0 1\n")
    with pytest.raises(ValueRangeError, match="enclose a volume"):
        list(read(tmp_path / "x.cif", on_error="raise"))
    with pytest.raises(ValueRangeError, match=r"0.0400 Å apart.*Remove the duplicate site"):
        cif(tmp_path, "Na1 Na 0 0 0 1\nK1 K 0.01 0 0 1\n")


# --- 6: a file takes for ever ----------------------------------------------------------------------------------------------------

def test_five_thousand_atoms_in_p1_are_read_within_a_second(tmp_path: Path) -> None:
    grid = np.stack(np.meshgrid(*[np.arange(17) / 17] * 3), axis=-1).reshape(-1, 3)
    rows = "".join(f"Si{i} Si {x:.6f} {y:.6f} {z:.6f} 1\n" for i, (x, y, z) in enumerate(grid))
    path = tmp_path / "large.cif"
    path.write_text("data_x\n" + CELL.replace("length_a 4", "length_a 51") + P1 + LOOP + rows)
    start = time.process_time()
    (record,) = Cif().records(path)
    assert time.process_time() - start < 1
    assert len(record.payload.coordinates) == 4913  # type: ignore[union-attr]


# --- 7: records of one name ------------------------------------------------------------------------------------------------------

def test_three_blocks_of_one_name_are_three_records(tmp_path: Path) -> None:
    blocks = [f"data_x\n{CELL}{P1}{LOOP}{symbol}1 {symbol} 0 0 0 1\n" for symbol in ("Na", "K", "Rb")]
    graphs, _ = load(tmp_path, "".join(blocks))
    assert [(graph.record, graph.token.item()) for graph in graphs] == [("x", 11), ("x#2", 19), ("x#3", 37)]


def test_a_bad_block_leaves_the_others(tmp_path: Path) -> None:
    good, bad = f"data_a\n{CELL}{P1}{LOOP}Na1 Na 0 0 0 1\n", f"data_b\n{CELL}{P1}{LOOP}Na1 Na 0 0\n"
    graphs, reading = load(tmp_path, good + bad + good.replace("data_a", "data_c"))
    assert [graph.record for graph in graphs] == ["a", "c"]
    assert "Wrong number of values in loop _atom_site" in reading.quarantined[0].reason


# --- 8: the parser changes the substance -----------------------------------------------------------------------------------------

def test_deuterium_and_unknown_occupancy_are_noted(tmp_path: Path) -> None:
    graph = cif(tmp_path, "D1 D 0 0 0 1\nO1 O 0.5 0.5 0.5 ?\n")
    assert graph.notes == {"isotopes_as_hydrogen": 1, "occupancy_assumed_1": 1}
    assert graph.token.flatten().tolist() == [1, 8]


@pytest.mark.parametrize("symbol", ["Xx", "Wat", "NH3", "OH", "Cg", "A", "M1"])
def test_a_symbol_that_is_no_element_leaves_the_record_out_and_is_named(tmp_path: Path, symbol: str) -> None:
    with pytest.raises(UnknownNameError, match=f"the symbol '{symbol}'.*List the atoms of a group"):
        cif(tmp_path, f"Na1 Na 0 0 0 1\nX1 {symbol} 0.5 0.5 0.5 1\n")


def test_a_third_of_four_digits_stays_what_it_is_in_p1(tmp_path: Path) -> None:
    assert cif(tmp_path, "Na1 Na 0.3333 0 0 1\n").pos[0, 0].item() == pytest.approx(0.3333 * 4, abs=1e-12)


def test_a_formula_that_the_sites_do_not_have_is_flagged(tmp_path: Path) -> None:
    formula = "_chemical_formula_sum 'Na2 O'\n"
    assert "composition_mismatch" not in cif(tmp_path, "Na1 Na 0 0 0 1\nNa2 Na 0.5 0 0 1\nO1 O 0.5 0.5 0 1\n", P1 + formula).notes
    assert cif(tmp_path, "Na1 Na 0 0 0 1\nO1 O 0.5 0.5 0 1\n", P1 + formula).notes["composition_mismatch"] == (
        "Na: formula Na2 O, cell O1 Na1")


def test_a_dummy_site_that_is_marked_as_such_is_left_out_and_noted(tmp_path: Path) -> None:
    loop = LOOP + "_atom_site_calc_flag\n"
    (tmp_path / "x.cif").write_text("data_x\n" + CELL + P1 + loop + "Na1 Na 0 0 0 1 d\nCg1 C 0.5 0.5 0.5 1 dum\n")
    (graph,) = read(tmp_path / "x.cif", on_error="raise")
    assert (graph.num_nodes, graph.notes) == (1, {"dummy_sites_left_out": 1})


# --- 9: disorder -----------------------------------------------------------------------------------------------------------------

def test_mixed_sites_and_vacancies_keep_their_occupancies(tmp_path: Path) -> None:
    graph = cif(tmp_path, "Fe1 Fe 0 0 0 0.5\nCo1 Co 0 0 0 0.5\nNa1 Na 0.5 0.5 0.5 0.3\n")
    rows = zip(graph.token_node.tolist(), graph.token.flatten().tolist(), graph.token_weight.tolist(), strict=True)
    assert sorted(rows) == [(0, 26, 0.5), (0, 27, 0.5), (1, 11, pytest.approx(0.3))]
    assert graph.weight.tolist() == pytest.approx([1.0, 0.3])


def test_a_sum_of_1_02_is_scaled_and_noted_and_a_sum_of_2_refused(tmp_path: Path) -> None:
    graph = cif(tmp_path, "Fe1 Fe 0 0 0 0.51\nCo1 Co 0 0 0 0.51\n")
    assert (graph.token_weight.tolist(), graph.notes) == (pytest.approx([0.5, 0.5]), {"occupancies_scaled": 1})
    with pytest.raises(ValueRangeError, match=r"site Fe1, Co1: found occupancies that sum to 2; expected at most 1.05"):
        cif(tmp_path, "Fe1 Fe 0 0 0 1\nCo1 Co 0 0 0 1\n")


def test_an_empty_site_is_left_out_and_noted(tmp_path: Path) -> None:
    graph = cif(tmp_path, "Fe1 Fe 0 0 0 1\nCo1 Co 0.5 0 0 0\n")
    assert (graph.num_nodes, graph.notes) == (1, {"empty_sites_left_out": 1})


# --- 64, 66: text that would run, names that would be paths ----------------------------------------------------------------------

PAYLOADS = ["hello,y,z", "__import__('pathlib').Path('marker').touch(),y,z", "x,y,z if open('marker','w') else 0", "x,y,z\\nx",
            "[d for d in ().__class__.__mro__][1].__subclasses__(),y,z"]


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("tag", ["_symmetry_equiv_pos_as_xyz", "_space_group_symop_magn_operation.xyz"])
def test_a_symmetry_operation_is_matched_and_never_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, payload: str, tag: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsafeFileError, match=r"symmetry operation: found.*Correct the operation"):
        cif(tmp_path, "Na1 Na 0 0 0 1\n", f"{tag} \"{payload}\"\n")
    assert {path.name for path in tmp_path.iterdir()} == {"x.cif"}


def test_a_block_name_never_becomes_a_path(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    graphs, _ = load(inside, f"data_../../escape\n{CELL}{P1}{LOOP}Na1 Na 0 0 0 1\n")
    assert graphs[0].record == "../../escape"
    assert {path.name for path in tmp_path.rglob("*")} == {"inside", "x.cif"}
