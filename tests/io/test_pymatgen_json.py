"""Structures as JSON: what pymatgen and ASE wrote is what the graph holds; nothing a file names is imported."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pandas as pd
import pytest
import torch
from geoembed.errors import EmptyGraphError, UnknownNameError, UnreadableFileError, ValueRangeError
from geoembed.graphs.crystal import crystal_graph
from geoembed.io.pymatgen_json import PymatgenJson, structure_record
from geoembed.io.reader import read
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Graph
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Molecule, Structure
from pymatgen.io.ase import AseAtomsAdaptor

NACL = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def graphs(path: Path, content: object) -> list[Graph]:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return list(read(path, on_error="raise"))


def assert_same(graph: Graph, expected: Graph) -> None:
    for field in ("token", "token_node", "token_weight", "pos", "edge_index", "edge_attr", "cell", "pbc"):
        assert torch.equal(graph[field], expected[field]), field


@given(st.integers(0, 10**6), st.booleans())
def test_a_structure_is_read_as_pymatgen_decodes_it(seed: int, disordered: bool) -> None:
    rng = np.random.default_rng(seed)
    points = np.stack(np.unravel_index(rng.permutation(8)[:4], (2, 2, 2)), axis=1) / 2 + rng.uniform(0, 0.2, (4, 3))
    species: list[Any] = ["Fe3+", "O2-", "O", {"Na": 0.3, "K": 0.5} if disordered else "K"]
    structure = Structure(Lattice(rng.normal(size=(3, 3)) + 7 * np.eye(3)), species, points, site_properties={"magmom": [1, 2, 3, 4]})
    record = structure_record("x", json.dumps(structure.as_dict()), "x")
    assert isinstance(record, Record)
    graph, expected = record.payload.graph(), crystal_graph(structure)
    assert sorted(zip(graph.token_node.tolist(), graph.token.flatten().tolist(), graph.token_weight.tolist(), strict=True)) == sorted(
        zip(expected.token_node.tolist(), expected.token.flatten().tolist(), expected.token_weight.tolist(), strict=True))
    torch.testing.assert_close(graph.pos, expected.pos)
    assert torch.equal(graph.edge_index, expected.edge_index)


def test_a_molecule_has_no_cell(tmp_path: Path) -> None:
    water = Molecule(["O", "H", "H"], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    (graph,) = graphs(tmp_path / "w.json", water.as_dict())
    assert_same(graph, crystal_graph(water))
    assert not graph.pbc.any()


def test_a_slab_keeps_the_axes_that_are_periodic(tmp_path: Path) -> None:
    slab = Structure(Lattice(np.eye(3) * 4, pbc=(True, True, False)), ["Na"], [[0, 0, 0.9]])
    (graph,) = graphs(tmp_path / "s.json", slab.as_dict())
    assert graph.pbc.tolist() == [[True, True, False]]


def test_lists_mappings_and_data_frames_of_structures_keep_their_names(tmp_path: Path) -> None:
    one = NACL.as_dict()
    frame = pd.DataFrame({"structure": [one, one], "e_form": [1.0, 2.0]}, index=["mb-1", "mb-2"])
    cases = {
        "list": ([{"material_id": "mp-1", "structure": one}, one], ["mp-1", "1"]), "map": ({"a": one, "b": one}, ["a", "b"]),
        "frame": (json.loads(frame.to_json(orient="split")), ["mb-1", "mb-2"]), "one": (one, ["structure"]),
    }
    for name, (content, keys) in cases.items():
        assert [graph.record for graph in graphs(tmp_path / f"{name}.json", content)] == keys


def test_compression_changes_nothing(tmp_path: Path) -> None:
    (plain,) = graphs(tmp_path / "x.json", NACL.as_dict())
    with gzip.open(tmp_path / "y.json.gz", "wt") as file:
        json.dump(NACL.as_dict(), file)
    (packed,) = read(tmp_path / "y.json.gz", on_error="raise")
    assert_same(packed, plain)
    assert packed.record == plain.record


def test_rows_of_an_ase_database_are_read_in_both_spellings_of_an_array(tmp_path: Path) -> None:
    plain = {"cell": [[4, 0, 0], [0, 4, 0], [0, 0, 4]], "numbers": [11, 17], "positions": [[0, 0, 0], [2, 2, 2]], "pbc": [True] * 3}
    coded = {key: {"__ndarray__": [list(np.shape(value)), "float64", np.ravel(value).tolist()]} for key, value in plain.items()}
    first, second = graphs(tmp_path / "ase.json", {"1": plain, "2": coded, "ids": [1, 2], "nextid": 3})
    assert_same(first, second)
    torch.testing.assert_close(first.pos, crystal_graph(NACL).pos)
    assert torch.equal(first.edge_index, crystal_graph(NACL).edge_index)


def test_a_database_that_ase_wrote_holds_the_atoms_that_it_was_given(tmp_path: Path) -> None:
    """ASE writes a cell as an object around its array."""
    expected = AseAtomsAdaptor.get_atoms(NACL)
    ase.io.write(tmp_path / "a.json", expected)
    (graph,) = read(tmp_path / "a.json", on_error="raise")
    assert_same(graph, crystal_graph(expected))


def test_a_class_that_a_file_names_is_never_imported(tmp_path: Path) -> None:
    (tmp_path / "innocent_module.py").write_text("raise SystemExit('imported')")
    sys.path.insert(0, str(tmp_path))
    try:
        trap = {"@module": "innocent_module", "@class": "Anything", "value": 1}
        item = NACL.as_dict()
        item["sites"][0]["properties"] = {"trap": trap}
        item["properties"] = {"trap": trap}
        assert len(graphs(tmp_path / "a.json", item)) == 1
        with pytest.raises(UnreadableFileError, match=r"class Anything.*structure\.to"):
            graphs(tmp_path / "b.json", trap)
    finally:
        sys.path.remove(str(tmp_path))
    assert "innocent_module" not in sys.modules


def test_a_list_of_something_else_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps([{"@class": "Topology", "sites": []}] * 500))
    reading = read(tmp_path / "t.json")
    assert list(reading) == []
    assert len(reading.quarantined) == 1
    assert "class Topology" in reading.quarantined[0].reason


def change(**changes: Any) -> dict[str, Any]:
    item = json.loads(json.dumps(NACL.as_dict()))
    item["sites"][0].update(changes)
    return item


@pytest.mark.parametrize(("item", "kind", "match"), [
    (change(species=[{"element": "Xx", "occu": 1}]), UnknownNameError, "'Xx'"),
    (change(species=[{"element": "Na", "occu": 0.9}, {"element": "K", "occu": 0.9}]), ValueRangeError, r"site 0: found .* sum to 1.8"),
    (change(species=[]), EmptyGraphError, "without species"),
    (change(species=[{"element": "Na"}]), UnreadableFileError, "Write the structure again"),
    ({"lattice": {"matrix": 3}, "sites": NACL.as_dict()["sites"]}, UnreadableFileError, "Write the structure again"),
    ({"sites": []}, EmptyGraphError, "no sites"), ({"energy": 1.0}, UnreadableFileError, r"the keys \['energy'\]"),
    (3, UnreadableFileError, "class int"), ("not json", UnreadableFileError, "JSONDecodeError"),
])
def test_what_is_no_structure_is_named(item: object, kind: type[Exception], match: str) -> None:
    record = structure_record("x", item, "x.json")
    assert isinstance(record, BadRecord)
    with pytest.raises(kind, match=match):
        raise record.error


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueRangeError, match="finite"):
        graphs(tmp_path / "n.json", json.dumps(change(abc=[float("nan"), 0, 0])))


def test_a_broken_document_and_an_empty_list_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="Write the file again"):
        graphs(tmp_path / "cut.json", json.dumps(NACL.as_dict())[:-9])
    with pytest.raises(UnreadableFileError, match="RecursionError"):
        graphs(tmp_path / "deep.json", "[" * 100_000 + "]" * 100_000)
    with pytest.raises(EmptyGraphError, match="an empty list"):
        graphs(tmp_path / "none.json", [])


def test_deuterium_is_hydrogen_and_noted() -> None:
    record = structure_record("x", change(species=[{"element": "D", "occu": 1}]), "x")
    assert isinstance(record, Record)
    assert record.notes == {"isotopes_as_hydrogen": 1}
    assert record.payload.numbers.tolist() == [1, 17]


def test_only_json_objects_and_lists_are_opened() -> None:
    assert PymatgenJson().can_open(b"\xef\xbb\xbf {", "a.json")
    assert not PymatgenJson().can_open(b"{", "a.jsonl")
    assert not PymatgenJson().can_open(b"3", "a.json")
