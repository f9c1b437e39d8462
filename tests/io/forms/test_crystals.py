"""Tables of crystals: CIF, POSCAR and pymatgen columns give one and the same graph."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from geoembed.errors import EmptyGraphError, UnreadableFileError
from geoembed.graphs.crystal import crystal_graph
from geoembed.io.forms.crystals import CrystalTable
from geoembed.io.reader import read
from geoembed.io.record import BadRecord, Record
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
NACL = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
TEXTS = {"cif": str(CifWriter(NACL)), "poscar": Poscar(NACL).get_str(), "structure": json.dumps(NACL.as_dict())}


def records(table: pd.DataFrame, start: int = 0) -> list[Record | BadRecord]:
    return list(CrystalTable().records(table, start, "table"))


@pytest.mark.parametrize("column", TEXTS)
def test_every_column_gives_the_graph_of_the_structure(column: str) -> None:
    (record,) = records(pd.DataFrame({"mp_id": ["mp-1"], column: [TEXTS[column]], "e_form": [0.1]}))
    assert isinstance(record, Record)
    graph, expected = CrystalTable().to_graph(record), crystal_graph(NACL)
    assert record.key == "mp-1"
    assert torch.equal(graph.token, expected.token)
    torch.testing.assert_close(graph.pos, expected.pos)
    assert torch.equal(graph.edge_index, expected.edge_index)


def test_without_an_identifier_the_key_is_the_row() -> None:
    found = records(pd.DataFrame({"CIF": [TEXTS["cif"]] * 2}), start=1024)
    assert [record.key for record in found] == ["1024", "1025"]


def test_a_missing_or_broken_structure_costs_its_row() -> None:
    found = records(pd.DataFrame({"id": list("abcde"), "poscar": [TEXTS["poscar"], None, " ", TEXTS["poscar"][:60], TEXTS["poscar"]]}))
    assert [type(record).__name__ for record in found] == ["Record", "BadRecord", "BadRecord", "BadRecord", "Record"]
    assert [record.key for record in found] == list("abcde")
    for index, kind, match in ((1, EmptyGraphError, r"row 1 \(b\): found no poscar"), (3, Exception, r"table, row 3 \(d\)")):
        bad = found[index]
        assert isinstance(bad, BadRecord)
        with pytest.raises(kind, match=match):
            raise bad.error


def test_a_dictionary_is_as_good_as_its_text_and_another_class_is_refused() -> None:
    good, bad = records(pd.DataFrame({"structure": [NACL.as_dict(), {"@class": "Topology"}]}))
    assert isinstance(good, Record)
    assert isinstance(bad, BadRecord)
    with pytest.raises(UnreadableFileError, match="class Topology"):
        raise bad.error


def test_targets_alone_are_no_table_of_crystals() -> None:
    form = CrystalTable()
    assert form.matches(["mp_id", "cif"])
    assert form.matches(["Structure"])
    assert not form.matches(["mp_id", "e_form", "band_gap"])


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
def test_every_crystal_of_the_phonon_set_becomes_a_graph_of_its_own_size() -> None:
    path = SHARED / "materials" / "set_c_phonons" / "phonons_1265.parquet"
    table = pd.read_parquet(path, columns=["mbid", "natoms", "cif"]).iloc[::16]
    found = records(table)
    assert [record.key for record in found] == table["mbid"].tolist()
    assert [len(record.payload.coordinates) for record in found if isinstance(record, Record)] == table["natoms"].tolist()


def test_json_lines_of_crystals_are_read(tmp_path: Path) -> None:
    path = tmp_path / "crystals.jsonl"
    path.write_text("".join(json.dumps({"material_id": f"mp-{i}", "cif": TEXTS["cif"]}) + "\n" for i in range(3)))
    graphs = list(read(path, on_error="raise"))
    assert [graph.record for graph in graphs] == ["mp-0", "mp-1", "mp-2"]
    assert all(graph.kind == "crystal" for graph in graphs)
