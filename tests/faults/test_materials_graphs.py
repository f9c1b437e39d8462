"""Faults 20-29 from the file on: what a crystal file says about neighbors survives its format, its setting and its origin."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from geoembed.graphs.crystal import crystal_graph, crystal_graphs
from geoembed.graphs.crystal_edges import MutualShells
from geoembed.io.reader import read
from geoembed.ops import components
from geoembed.schema import Graph
from pymatgen.core import Lattice, Molecule, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter

PEROVSKITE = Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]])
pytestmark = pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")  # of the writer's symmetry search
FORMATS = ["cif", "sym.cif", "vasp", "json", "extxyz"]


def graph_of(structure: Structure, folder: Path, suffix: str) -> Graph:
    """The structure, through a file."""
    path = folder / f"x.{suffix}"
    if suffix in ("extxyz", "vasp"):  # pymatgen's POSCAR writer would turn a left-handed cell round
        write(path, AseAtomsAdaptor.get_atoms(structure), format=suffix)
    else:
        text = {"cif": lambda: str(CifWriter(structure, significant_figures=12)), "json": lambda: structure.to_json(),
                "sym.cif": lambda: str(CifWriter(structure, symprec=0.01, significant_figures=12))}[suffix]()
        path.write_text(text)
    (graph,) = read(path, on_error="raise")
    return graph


def surroundings(graph: Graph) -> Counter[tuple[int, tuple[tuple[int, float], ...]]]:
    """Per site of one formula unit: its element and the elements and distances [Å] of its neighbors."""
    source, target = graph.edge_index.tolist()
    z = graph.token.flatten().tolist()
    around: list[list[tuple[int, float]]] = [[] for _ in z]
    for a, b, d in zip(source, target, graph.edge_attr[:, 0].tolist(), strict=True):
        around[b].append((z[a], round(d, 3)))
    counts = Counter((z[i], tuple(sorted(near))) for i, near in enumerate(around))
    units = counts.total() // 5
    return Counter({key: count / units for key, count in counts.items()})  # type: ignore[arg-type]


# --- 20, 27: supercells and other settings ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("suffix", FORMATS)
def test_a_supercell_in_a_file_has_the_shells_of_its_cell(tmp_path: Path, suffix: str) -> None:
    whole = surroundings(graph_of(PEROVSKITE, tmp_path, "cif"))
    assert len(whole) == 3
    assert surroundings(graph_of(PEROVSKITE * (2, 1, 1), tmp_path, suffix)) == whole


@pytest.mark.parametrize("suffix", ["vasp", "json", "extxyz"])
def test_a_left_handed_cell_in_a_file_has_the_edges_of_the_right_handed_one(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(1)
    right = Structure(Lattice(rng.normal(size=(3, 3)) + 6 * np.eye(3)), ["Na", "Cl", "O", "O", "Ti"], rng.uniform(size=(5, 3)) + 0.01)
    swapped = [1, 0, 2]
    left = Structure(Lattice(right.lattice.matrix[swapped]), right.species, right.frac_coords[:, swapped])
    a, b = graph_of(right, tmp_path, suffix), graph_of(left, tmp_path, suffix)
    assert np.linalg.det(b.cell[0].numpy()) < 0 < np.linalg.det(a.cell[0].numpy())
    assert surroundings(a) == surroundings(b)


# --- 21, 29: no neighbor is no edge ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("suffix", FORMATS)
def test_a_lone_atom_in_a_large_cell_has_no_edge(tmp_path: Path, suffix: str) -> None:
    graph = graph_of(Structure(Lattice.cubic(30), ["H"], [[0.2, 0.2, 0.2]]), tmp_path, suffix)
    assert (graph.num_nodes, graph.num_edges) == (1, 0)


# --- 26: images --------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("suffix", ["vasp", "json", "extxyz"])
def test_coordinates_many_cells_away_are_the_same_crystal(tmp_path: Path, suffix: str) -> None:
    cells = np.array([[50, 0, 0], [0, -50, 3], [7, 0, 0], [0, 0, 0], [-1, 1, 9]])
    far = Structure(PEROVSKITE.lattice, PEROVSKITE.species, PEROVSKITE.frac_coords + cells)
    assert surroundings(graph_of(far, tmp_path, suffix)) == surroundings(graph_of(PEROVSKITE, tmp_path, suffix))


def test_a_cif_wraps_what_lies_outside_its_cell(tmp_path: Path) -> None:
    text = str(CifWriter(PEROVSKITE, significant_figures=8)).replace("  0.50000000  0.50000000  0.50000000", "  -49.5  50.5  3.5")
    assert "-49.5" in text
    (tmp_path / "far.cif").write_text(text)
    (graph,) = read(tmp_path / "far.cif", on_error="raise")
    assert surroundings(graph) == surroundings(graph_of(PEROVSKITE, tmp_path, "cif"))


# --- 28: partly periodic -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("pbc", list(itertools.product([False, True], repeat=3)))
def test_every_periodicity_that_a_file_states_is_kept(tmp_path: Path, pbc: tuple[bool, bool, bool]) -> None:
    write(tmp_path / "x.extxyz", Atoms("Po", positions=[[5, -1, 9]], cell=[3, 3, 3], pbc=pbc), format="extxyz")
    (graph,) = read(tmp_path / "x.extxyz", on_error="raise")
    assert graph.pbc.flatten().tolist() == list(pbc)
    nearest = graph.edge_attr[:, 0] < 3.01
    assert int(nearest.sum()) == 2 * sum(pbc)  # a simple cubic lattice of one, two or three dimensions


# 24


def clusters(gap: float) -> dict[str, object]:
    """Two blocks of 4 × 4 × 4 atoms, 2 Å apart within, ``gap`` Å from each other."""
    block = np.stack(np.meshgrid(*[np.arange(4.0) * 2] * 3, indexing="ij"), -1).reshape(-1, 3)
    return {"numbers": [29] * 128, "positions": np.concatenate([block, block + np.array([6.0 + gap, 0, 0])]), "cell": None}


def test_fault_24_neighbors_that_leave_two_clusters_apart_are_flagged():
    for neighbors in (6, MutualShells(6)):
        graph = crystal_graph(**clusters(3.9), cutoff=5.0, neighbors=neighbors)
        assert components(graph.edge_index, 128) == 2
        assert (graph.notes["components_before"], graph.notes["components_after"]) == (1, 2)
    assert dict(crystal_graph(**clusters(5.1), cutoff=5.0, neighbors=6).notes) == {}  # nothing within the cutoff joins them
    assert dict(crystal_graph(**clusters(3.9), cutoff=5.0, neighbors=None).notes) == {}
    together = crystal_graphs([structure(clusters(3.9)), structure(clusters(5.1)), structure(clusters(3.9))], cutoff=5.0, neighbors=6)
    assert [graph.notes.get("components_after") for graph in together] == [2, None, 2]


def structure(parts: dict[str, object]) -> Molecule:
    return Molecule(["Cu"] * 128, parts["positions"])
