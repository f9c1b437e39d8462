"""CIF: the same cell, sites and species as pymatgen, one record a block, and every liberty noted."""

from __future__ import annotations

import io
import itertools
import json
import lzma
import tarfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from geoembed.errors import EmptyGraphError, UnknownNameError, UnreadableFileError
from geoembed.io.cif import Cif, cif_records
from geoembed.io.cif_checks import SYMBOLS
from geoembed.io.record import BadRecord, Record
from geoembed.io.sites import Sites
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifParser, CifWriter

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.filterwarnings("ignore:No Pauling electronegativity:UserWarning")  # of the oracle, for noble gases
here = pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")

HEAD = "data_x\n_cell_length_a 4\n_cell_length_b 4\n_cell_length_c 4\n_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n"
SITES = "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"


def read(text: str) -> list[Record | BadRecord]:
    return list(cif_records(text, "x.cif"))


def only(text: str) -> Record:
    (record,) = read(text)
    assert isinstance(record, Record), record
    return record


def error(text: str) -> Exception:
    (record,) = read(text)
    assert isinstance(record, BadRecord)
    return record.error


def pymatgen_of(text: str) -> Structure:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CifParser.from_str(text, occupancy_tolerance=1.05).parse_structures(primitive=False)[0]


def assert_equal(sites: Sites, expected: Structure) -> None:
    """Equal cells, and a one-to-one map of sites with equal species that moves none by more than 2e-4 of an axis."""
    assert sites.cell is not None
    np.testing.assert_allclose(sites.cell, expected.lattice.matrix, atol=1e-10)
    step = sites.coordinates[:, None] - expected.frac_coords[None]
    step = np.abs(step - np.round(step)).max(axis=-1)
    partner = step.argmin(axis=1)
    assert len(sites.coordinates) == len(expected)
    assert sorted(partner) == list(range(len(expected)))
    assert step.min(axis=1).max() < 2e-4
    node = np.arange(len(partner)) if sites.node is None else sites.node
    share = np.ones(len(node)) if sites.occupancy is None else sites.occupancy
    ours = {(int(partner[i]), int(z)): round(float(amount), 6) for i, z, amount in zip(node, sites.numbers, share, strict=True)}
    theirs: dict[tuple[int, int], float] = {}
    for i, site in enumerate(expected):
        for species, amount in site.species.items():
            theirs[i, species.Z] = theirs.get((i, species.Z), 0.0) + amount
    assert ours == {key: round(amount, 6) for key, amount in theirs.items()}


@given(st.integers(0, 10**6), st.integers(1, 12), st.booleans())
def test_a_generated_p1_cell_is_read_as_pymatgen_reads_it(seed: int, count: int, disordered: bool) -> None:
    rng = np.random.default_rng(seed)
    lattice = Lattice.from_parameters(*rng.uniform(6, 12, 3), *rng.uniform(70, 110, 3))
    species: list[object] = [SYMBOLS[z] for z in rng.integers(0, 90, count)]
    if disordered:
        species[0] = {"Fe": 0.5, "Co": 0.3}
    points = rng.permutation(27)[:count]
    grid = np.stack(np.unravel_index(points, (3, 3, 3)), axis=1) / 3 + rng.uniform(0, 0.2, (count, 3))
    text = str(CifWriter(Structure(lattice, species, grid), significant_figures=10))
    assert_equal(only(text).payload, pymatgen_of(text))


GROUPS = [("Fm-3m", 5.64, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]), ("P6_3/mmc", 3.2, ["Mg"], [[1 / 3, 2 / 3, 0.25]]),
          ("P4_2/mnm", 4.6, ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]),
          ("P2_1/c", 5.0, ["Zr", "O"], [[0.27, 0.04, 0.2], [0.07, 0.33, 0.34]])]


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")  # of the oracle's symmetry search
@pytest.mark.parametrize(("group", "a", "species", "sites"), GROUPS)
def test_symmetry_fills_the_cell_as_pymatgen_fills_it(group: str, a: float, species: list[str], sites: list[list[float]]) -> None:
    lattice = {"F": Lattice.cubic(a), "P6_3/mmc": Lattice.hexagonal(a, 5.2), "P4_2/mnm": Lattice.tetragonal(a, 2.96),
               "P2_1/c": Lattice.monoclinic(a, 5.2, 5.3, 99)}
    crystal = Structure.from_spacegroup(group, lattice.get(group, lattice["F"]), species, sites)
    text = str(CifWriter(crystal, symprec=0.01))
    assert "'x, y, z'" in text
    assert_equal(only(text).payload, pymatgen_of(text))


@here
def test_crystals_of_the_materials_project_are_read_as_pymatgen_reads_them() -> None:
    with lzma.open(SHARED / "materials" / "set_a_mp36k" / "mp_cifs.jsonl.xz", "rt") as lines:
        for line in itertools.islice(lines, 0, 2000, 50):
            text = json.loads(line)["cif"]
            record = only(text)
            assert not record.notes
            assert_equal(record.payload, pymatgen_of(text))


@here
def test_disordered_electrolytes_are_read_as_pymatgen_reads_them() -> None:
    disordered = 0
    with tarfile.open(SHARED / "materials" / "archives" / "obelix_321.tar.xz") as archive:
        for member in itertools.islice((m for m in archive if "randomized" in m.name and m.name.endswith(".cif")), 0, 60, 8):
            text = archive.extractfile(member).read().decode()  # type: ignore[union-attr]
            record = only(text)
            disordered += record.payload.node is not None
            assert_equal(record.payload, pymatgen_of(text))
    assert disordered >= 4


def test_a_thousand_p1_cells_are_read_in_a_second() -> None:
    rng = np.random.default_rng(0)
    grid = np.stack(np.unravel_index(np.arange(26), (3, 3, 3)), axis=1) / 3 + rng.uniform(0, 0.2, (26, 3))
    text = str(CifWriter(Structure(Lattice.cubic(9.0), ["Si"] * 13 + ["O"] * 13, grid)))
    read(text)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        for _ in range(50):
            read(text)
        seconds.append((time.process_time() - start) / 50)
    assert min(seconds) < 1 / 1000


def test_low_digits_do_not_double_an_atom_on_a_special_position() -> None:
    # Mg of hcp (2c, 1/3 2/3 1/4) written with three digits: its twelve images per site are two atoms, not more.
    text = HEAD.replace("_cell_angle_gamma 90", "_cell_angle_gamma 120") + "_space_group_name_H-M_alt 'P 63/m m c'\n" + SITES
    record = only(text + "Mg1 Mg 0.333 0.667 0.25\n")
    assert len(record.payload.coordinates) == 2
    assert record.notes["merged_on_special_positions"] == 1
    assert record.notes["symmetry"] == "operations not listed, taken from the name P 63/m m c"


def test_four_digit_thirds_are_meant_as_thirds_only_where_symmetry_acts() -> None:
    row = "C1 C 0.3333 0.6667 0\n"
    plain = only(HEAD + SITES + row).payload.coordinates
    np.testing.assert_array_equal(plain[0], [0.3333, 0.6667, 0])
    record = only(HEAD + "_symmetry_space_group_name_Hall '-P 1'\n" + SITES + row)
    np.testing.assert_allclose(record.payload.coordinates[0], [1 / 3, 2 / 3, 0], atol=1e-15)
    assert record.notes["rounded_to_thirds"] == 2


def test_magnetic_operations_and_centerings_multiply() -> None:
    loops = ("loop_\n_space_group_symop_magn_operation.xyz\n x,y,z,+1\n -x,-y,-z,-1\n"
             "loop_\n_space_group_symop_magn_centering.xyz\n x,y,z,+1\n x+1/2,y+1/2,z+1/2,-1\n")
    sites = only(HEAD + loops + SITES + "Mn1 Mn 0.1 0.2 0.3\n").payload
    expected = {(0.1, 0.2, 0.3), (0.6, 0.7, 0.8), (0.9, 0.8, 0.7), (0.4, 0.3, 0.2)}
    assert {tuple(np.round(row, 9)) for row in sites.coordinates} == expected


def test_a_group_is_taken_from_hall_symbol_then_name_then_number() -> None:
    for item in ("_space_group_name_Hall '-F 4 2 3'", "_symmetry_space_group_name_H-M 'F m -3 m'", "_space_group_IT_number 225"):
        assert len(only(HEAD + item + "\n" + SITES + "Na1 Na 0 0 0\n").payload.coordinates) == 4
    with pytest.raises(UnknownNameError, match="List its symmetry operations"):
        raise error(HEAD + "_symmetry_space_group_name_H-M 'X c'\n" + SITES + "Na1 Na 0 0 0\n")


def test_no_symmetry_at_all_is_said() -> None:
    assert only(HEAD + SITES + "Na1 Na 0 0 0\n").notes == {"symmetry": "not given, read as P 1"}


def test_values_that_cif_allows_are_read_and_noted() -> None:
    text = HEAD.replace("_cell_length_a 4", "_cell_length_a 4.00(2)").replace("_cell_angle_beta 90\n", "")
    record = only(text + "_space_group_IT_number 1\n" + SITES + "F1 F1- 1/4 . .5\n")
    np.testing.assert_allclose(record.payload.coordinates[0], [0.25, 0, 0.5])
    np.testing.assert_allclose(record.payload.cell, np.eye(3) * 4, atol=1e-15)
    assert record.notes == {"angles_assumed_90": 1, "dots_read_as_zero": 1}


def test_atoms_without_a_cell_are_a_molecule() -> None:
    loop = "loop_\n_atom_site_label\n_atom_site_Cartn_x\n_atom_site_Cartn_y\n_atom_site_Cartn_z\n"
    (graph,) = [Cif().to_graph(record) for record in read("data_m\n" + loop + "O1 0 0 0\nH1 0.96 0 0\n") if isinstance(record, Record)]
    assert not graph.pbc.any()
    assert graph.edge_attr[:, 0].tolist() == pytest.approx([0.96, 0.96])


def test_blocks_without_sites_are_not_records_and_a_file_without_any_is_an_error() -> None:
    text = "data_global\n_journal_year 1994\n" + HEAD + SITES + "Na1 Na 0 0 0\n"
    assert [record.key for record in read(text)] == ["x"]
    with pytest.raises(EmptyGraphError, match="1 blocks without atom sites"):
        read(HEAD)
    with pytest.raises(UnreadableFileError, match="data_crystal before the first item"):
        read(HEAD.replace("data_x\n", ""))


def test_a_heading_inside_a_text_field_opens_no_block() -> None:
    text = HEAD + "_publ_section_title\n;\ndata_inside\n;\n" + SITES + "Na1 Na 0 0 0\n"
    assert [record.key for record in read(text + text.replace("data_x", "data_y"))] == ["x", "y"]


def test_an_open_quote_in_a_comment_item_costs_a_note_and_in_the_cell_the_record() -> None:
    beside = HEAD + "_cgraph_comments 'two\nlines'\n" + SITES + "Na1 Na 0 0 0\n"
    assert only(beside).notes["syntax_error_elsewhere"] == "line 8: unterminated 'string'"
    with pytest.raises(UnreadableFileError, match=r"line 2: .*Correct that line"):
        raise error(HEAD.replace("_cell_length_a 4", "_cell_length_a '4") + SITES + "Na1 Na 0 0 0\n")


def test_macromolecular_and_component_files_are_named_as_such() -> None:
    with pytest.raises(UnreadableFileError, match=r"macromolecular file \(mmCIF\).*Convert it"):
        raise error("data_1abc\n_cell.length_a 10\nloop_\n_atom_site.group_PDB\n_atom_site.Cartn_x\nATOM 1.0\n")
    with pytest.raises(UnreadableFileError, match="chemical component definition"):
        raise error("data_HEM\nloop_\n_chem_comp_atom.atom_id\n_chem_comp_atom.comp_id\nFE HEM\n")


def test_content_opens_a_cif_of_another_name() -> None:
    reader = Cif()
    assert reader.can_open((HEAD + SITES).encode(), "crystal.txt")
    assert reader.can_open(b"", "crystal.cif")
    assert not reader.can_open(b"data_set,value\n1,2\n", "table.csv")
    assert not reader.can_open(io.BytesIO(b"\0\1").read(), "crystal.cif")
