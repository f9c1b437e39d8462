"""Crystal graphs: the same from every object, true to published neighbor counts, and typed errors for what is no crystal."""

from __future__ import annotations

import csv
import math
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from geoembed.errors import EmptyGraphError, GeoembedError, ValueRangeError
from geoembed.graphs.crystal import crystal_graph
from geoembed.schema import Graph
from pymatgen.core import DummySpecies, Lattice, Molecule, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from generators import crystal

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "materials"
needs_data = pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")

QUARTZ = crystal("quartz")
CUBE = np.eye(3) * 4.0


@cache
def structure(name: str) -> Structure:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a POSCAR without symbols; its distances are the same
        return Structure.from_file(str(SHARED / name))


def published(table: str) -> list[dict[str, str]]:
    path = SHARED / "ground_truth" / table
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def assert_same(a: Graph, b: Graph) -> None:
    """Equal graphs up to the rounding of coordinates and the order of edges of equal length."""
    for name in ("token", "token_node", "token_weight", "weight", "pbc"):
        assert torch.equal(a[name], b[name]), name
    torch.testing.assert_close(a.pos, b.pos, atol=1e-9, rtol=0)
    torch.testing.assert_close(a.cell, b.cell, atol=1e-9, rtol=0)
    torch.testing.assert_close(a.edge_attr, b.edge_attr, atol=1e-6, rtol=0)
    edges = [sorted(zip(*g.edge_index.tolist(), g.edge_shift.tolist(), strict=True)) for g in (a, b)]
    assert edges[0] == edges[1]


def test_pymatgen_ase_and_raw_arrays_give_one_graph():
    atoms = AseAtomsAdaptor.get_atoms(QUARTZ)
    z = [site.specie.Z for site in QUARTZ]
    reference = crystal_graph(QUARTZ, cutoff=5.0)
    assert_same(reference, crystal_graph(atoms, cutoff=5.0))
    assert_same(reference, crystal_graph((z, QUARTZ.frac_coords, QUARTZ.lattice.matrix), cutoff=5.0))
    assert_same(reference, crystal_graph(z, QUARTZ.frac_coords, QUARTZ.lattice.matrix, cutoff=5.0))
    assert_same(reference, crystal_graph(
        numbers=torch.tensor(z), positions=torch.tensor(QUARTZ.cart_coords), cell=torch.tensor(QUARTZ.lattice.matrix), cutoff=5.0))


def test_a_molecule_is_one_graph_from_pymatgen_ase_and_arrays():
    places = [[0.0, 0, 0.1173], [0, 0.7572, -0.4692], [0, -0.7572, -0.4692]]
    water = crystal_graph(Molecule(["O", "H", "H"], places))
    assert_same(water, crystal_graph(Atoms("OH2", positions=places)))
    assert_same(water, crystal_graph(numbers=[8, 1, 1], positions=places))
    assert water.edge_index.tolist() == [[1, 2, 0, 2, 0, 1], [0, 0, 1, 1, 2, 2]]
    bond = math.hypot(0.7572, 0.5865)
    assert water.edge_attr.flatten().tolist() == pytest.approx([bond, bond, bond, 1.5144, bond, 1.5144], abs=1e-6)
    assert not water.pbc.any()
    assert not water.edge_shift.any()


def test_the_distance_of_an_edge_follows_from_positions_shift_and_cell():
    graph = crystal_graph(QUARTZ, cutoff=6.0)
    source, target = graph.edge_index
    vector = graph.pos[source] + graph.edge_shift.double() @ graph.cell[0] - graph.pos[target]
    torch.testing.assert_close(vector.norm(dim=1), graph.edge_attr[:, 0].double(), atol=1e-6, rtol=0)


def test_neighbors_are_the_k_nearest_and_all_that_are_as_near_as_the_kth():
    for k in (1, 4, 7, 12):
        graph = crystal_graph(QUARTZ, cutoff=8.0, neighbors=k)
        everything = crystal_graph(QUARTZ, cutoff=8.0, neighbors=None)
        for node in range(9):
            near = everything.edge_attr[everything.edge_index[1] == node, 0].sort().values
            kept = graph.edge_attr[graph.edge_index[1] == node, 0].sort().values
            assert len(kept) >= k
            assert torch.equal(kept, near[: len(kept)])
            assert float(kept[-1] - kept[k - 1]) <= 1e-4 < float(near[len(kept)] - near[k - 1])


@needs_data
@pytest.mark.parametrize("row", [row for row in published("neighbor_counts.csv")
                                 if row["item"].split("/")[0] == "files" and row["item"].split("/")[1] in ("json", "poscar")
                                 and not row["error"] and float(row["n_atoms"]) < 40], ids=lambda row: row["item"])
def test_directed_pairs_within_3_and_5_angstrom_are_those_counted_before(row):
    """Counted by ASE, an independent program, where the crystal is ordered and no pair lies at the cutoff itself."""
    program = "pymatgen" if row["item"].endswith(("_bcc", "_fcc", "_hcp")) or row["ordered"] != "True" else "ase"
    solid = structure(row["item"])
    for radius in (3, 5):
        graph = crystal_graph(solid, cutoff=float(radius), neighbors=None)
        degree = torch.bincount(graph.edge_index[1], minlength=graph.num_nodes)
        assert graph.num_edges == int(float(row[f"edges_{radius}A_{program}"]))
        assert int((degree == 0).sum()) == int(float(row[f"isolated_nodes_{radius}A"]))


@needs_data
@pytest.mark.parametrize("row", [row for row in published("coordination.csv") if row["agree"] == "True" and int(row["n_atoms"]) < 60
                                 and "nasty" not in row["file"] and "/cif/" not in row["file"]],
                         ids=lambda row: f"{row['file'].split('/')[-1]}-{row['centre']}")
def test_coordination_numbers_are_those_of_the_textbook(row):
    solid = structure(row["file"])
    symbols = np.array([site.specie.symbol for site in solid])
    near = crystal_graph(solid, cutoff=float(row["shortest_A"]) * float(row["factors_that_agree"].split()[0]), neighbors=None)
    source, target = near.edge_index.numpy()
    right = (symbols[source] == row["neighbour"]) & (symbols[target] == row["centre"])
    degree = np.bincount(target[right], minlength=len(symbols))[symbols == row["centre"]]
    assert set(degree.tolist()) == {int(row["textbook_cn"])}


def test_made_quartz_has_the_bonds_of_quartz():
    near = crystal_graph(QUARTZ, cutoff=1.9, neighbors=None)
    assert torch.bincount(near.edge_index[1]).tolist() == [4] * 3 + [2] * 6
    assert near.edge_attr.flatten().tolist() == pytest.approx([1.61] * 24, abs=0.01)


def test_a_mixed_site_is_one_node_with_a_row_a_species():
    alloy = crystal_graph(Structure(Lattice.cubic(2.86), [{"Fe": 0.5, "Co": 0.5}], [[0, 0, 0]]))
    assert alloy.num_nodes == 1
    assert sorted(zip(alloy.token.flatten().tolist(), alloy.token_weight.tolist(), strict=True)) == [(26, 0.5), (27, 0.5)]
    assert alloy.weight.tolist() == [1.0]


def test_a_vacancy_leaves_the_weight_of_its_site_below_one():
    graph = crystal_graph(Structure(Lattice.cubic(4), [{"Na": 0.3}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    assert graph.token.flatten().tolist() == [11, 17]
    assert graph.token_node.tolist() == [0, 1]
    assert graph.weight.tolist() == pytest.approx([0.3, 1.0])


def test_species_rows_in_any_order_are_sorted_by_their_site():
    mixed = {"cell": CUBE, "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5]], "cutoff": 4.0}
    a = crystal_graph(numbers=[8, 26, 27], token_node=[1, 0, 0], occupancy=[1.0, 0.75, 0.25], **mixed)
    assert a.token.flatten().tolist() == [26, 27, 8]
    assert a.token_node.tolist() == [0, 0, 1]
    assert a.token_weight.tolist() == [0.75, 0.25, 1.0]
    assert a.weight.tolist() == [1.0, 1.0]


def test_oxidation_states_do_not_change_a_crystal():
    decorated = QUARTZ.copy()
    decorated.add_oxidation_state_by_element({"Si": 4, "O": -2})
    assert_same(crystal_graph(QUARTZ), crystal_graph(decorated))


def test_the_settings_are_enough_to_build_the_graph_again():
    graph = crystal_graph(QUARTZ, cutoff=4.0, neighbors=None)
    assert graph.provenance.settings == {"cutoff": 4.0, "neighbors": None}
    assert (graph.kind, graph.provenance.modality) == ("crystal", "crystal")


def test_partial_sites_may_overlap_as_alternatives_and_are_counted():
    split = crystal_graph(numbers=[3, 3], occupancy=[0.5, 0.5], positions=[[0, 0, 0], [0, 0, 0.05]], cell=CUBE)
    assert split.notes == {"overlapping_partial_sites": 1}


CASES = {
    "no sites": ({"numbers": [], "frac_coords": np.zeros((0, 3)), "cell": CUBE}, EmptyGraphError, "no sites.*Leave the record out"),
    "atomic number 0": ({"numbers": [0]}, ValueRangeError, r"atomic number: found 0; expected 1…118\. Correct the species"),
    "atomic number 119": ({"numbers": [119]}, ValueRangeError, r"found 119; expected 1…118"),
    "atomic number −1": ({"numbers": [-1]}, ValueRangeError, r"found -1; expected 1…118"),
    "NaN coordinate": ({"frac_coords": [[0, np.nan, 0]]}, ValueRangeError, "coordinates: found nan in row 0"),
    "infinite cell": ({"cell": np.diag([1, 1, np.inf])}, ValueRangeError, "cell: found inf in row 2"),
    "flat cell": ({"cell": np.diag([4.0, 4, 0])}, ValueRangeError, r"a volume of 0 Å\^3 for 1 sites.*Correct the cell"),
    "parallel vectors": ({"cell": [[4.0, 0, 0], [4.0, 0, 1e-5], [0, 4, 0]]}, ValueRangeError, "a volume of"),
    "zero vector of a periodic axis": ({"cell": np.diag([4.0, 0, 0]), "pbc": [True, True, False]}, ValueRangeError, r"a volume of 0 Å\^2"),
    "one atom twice": ({"numbers": [1, 1], "frac_coords": [[0, 0, 0], [0, 0, 0.0125]]}, ValueRangeError,
                       r"sites 1 and 0: found 0\.0500 Å apart.*Remove the duplicate site"),
    "atom on the image of another": ({"numbers": [1, 1], "frac_coords": [[0, 0, 0], [0, 0, 1]]}, ValueRangeError, r"0\.0000 Å apart"),
    "zero occupancy": ({"occupancy": [0.0], "token_node": [0]}, ValueRangeError, "occupancy: found 0.0; expected > 0"),
    "NaN occupancy": ({"occupancy": [np.nan], "token_node": [0]}, ValueRangeError, "occupancy: found nan"),
    "overfull site": ({"numbers": [26, 27], "occupancy": [1.0, 1.0], "token_node": [0, 0]}, ValueRangeError,
                      r"crystal: site 0: found occupancies that sum to 2; expected a sum over 0 and at most 1\.05"),
    "species of no site": ({"token_node": [1]}, ValueRangeError, "token_node: found 1; expected 0…0"),
    "a site without a species": ({"frac_coords": [[0, 0, 0], [0.5, 0, 0]], "token_node": [0]}, ValueRangeError,
                                 "crystal: site 1: found no species"),
    "too few numbers": ({"frac_coords": [[0, 0, 0], [0.5, 0, 0]]}, ValueRangeError, "found 1 values; expected 2"),
    "too few occupancies": ({"occupancy": [1.0, 1.0]}, ValueRangeError, "occupancy: found 2 values; expected 1"),
    "two kinds of coordinates": ({"positions": [[0, 0, 0]]}, GeoembedError, "not exactly one of frac_coords and positions"),
    "no coordinates": ({"frac_coords": None}, GeoembedError, "not exactly one of frac_coords and positions"),
    "no radius": ({"cutoff": 0.0}, ValueRangeError, r"cutoff 0\.0 Å.*a finite radius over 0.*Correct the settings"),
    "infinite radius": ({"cutoff": math.inf}, ValueRangeError, "cutoff inf Å"),
    "radius that is no number": ({"cutoff": math.nan}, ValueRangeError, "cutoff nan Å"),
    "no neighbors": ({"neighbors": 0}, ValueRangeError, "neighbors 0; expected .* at least 1 neighbor or None"),
    "a cutoff of too many cells": ({"cell": np.diag([0.1, 30, 30]), "cutoff": 15.0, "neighbors": None}, ValueRangeError,
                                   r"a cutoff of 15\.0 Å over 150 cells.*Use a smaller cutoff"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_crystal_is_refused_with_its_reason(case):
    given, error, match = CASES[case]
    with pytest.raises(error, match=match):
        crystal_graph(**{"numbers": [11], "frac_coords": [[0, 0, 0]], "cell": CUBE, **given})


def test_a_dummy_species_is_no_element():
    with pytest.raises(ValueRangeError, match=r"species: found Xa.*expected a chemical element"):
        crystal_graph(Structure(Lattice.cubic(4), [DummySpecies("Xa")], [[0, 0, 0]]))


def test_nothing_at_all_asks_for_a_structure():
    with pytest.raises(GeoembedError, match=r"expected a Structure, Atoms, or numbers with one kind of coordinates.*See help"):
        crystal_graph()


def test_a_number_of_neighbors_may_be_numpys_and_nonsense_is_refused():
    a, b = (crystal_graph(QUARTZ, neighbors=k) for k in (np.int64(12), 12))
    assert torch.equal(a.edge_index, b.edge_index)
    with pytest.raises(ValueRangeError, match="a whole number, None or an edge rule"):
        crystal_graph(QUARTZ, neighbors="12")


@pytest.mark.parametrize("cell", [[3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 90, 90, 90]])
def test_lengths_and_angles_are_no_cell(cell):
    with pytest.raises(ValueRangeError, match="three lattice vectors as rows"):
        crystal_graph(numbers=[29], frac_coords=[[0, 0, 0]], cell=cell)
    with pytest.raises(ValueRangeError, match="three numbers a site"):
        crystal_graph(numbers=[29], frac_coords=[0.0, 0.0], cell=np.eye(3) * 3)
