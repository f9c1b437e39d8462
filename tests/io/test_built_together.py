"""Records that are built together: the same graphs in the same order, and one that is refused harms no other."""

from __future__ import annotations

import json

import pytest
import torch
from geoembed.io.reader import Parsed, built_together, read, stream, stream_blocks
from geoembed.schema import Graph

CIF = """data_{name}
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
A1 Na 0 0 0
B1 Cl {x} 0.5 0.5
"""


def items_of(path, together: bool):
    if not together:
        return list(stream(path))
    parsed = list(stream_blocks(path))
    assert all(isinstance(one, Parsed) for one in parsed)
    return built_together(parsed)


@pytest.fixture
def cifs(tmp_path):
    """Five blocks; the fourth has its atoms on one place."""
    path = tmp_path / "five.cif"
    path.write_text("\n".join(CIF.format(name=f"c{i}", a=4 + i / 10, x=0.5) for i in range(3))
                    + CIF.format(name="twice", a=4.0, x=0.5).replace("0.5 0.5 0.5", "0.001 0 0") + CIF.format(name="last", a=5.0, x=0.4))
    return path


def test_records_built_together_are_those_built_one_by_one(cifs):
    alone, together = items_of(cifs, False), items_of(cifs, True)
    assert len(alone) == len(together) == 5
    for one, other in zip(alone, together, strict=True):
        if isinstance(one, Graph):
            assert isinstance(other, Graph)
            assert one.provenance == other.provenance
            for name, value in one.items():
                if isinstance(value, torch.Tensor):
                    assert torch.equal(value, other[name]), name
        else:
            assert one[0] == other[0]


def test_one_that_is_refused_is_named_and_the_others_are_built(cifs):
    kinds = [isinstance(item, Graph) for item in items_of(cifs, True)]
    assert kinds == [True, True, True, False, True]
    reading = read(cifs)
    assert len(list(reading)) == 4
    assert "five.cif [twice]" in reading.quarantined[0].reason or reading.quarantined[0].record == "twice"


def test_rows_of_a_table_of_crystals_are_built_together(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"id": f"m{i}", "cif": CIF.format(name=f"m{i}", a=4 + i, x=0.5)}) + "\n" for i in range(4)))
    alone, together = items_of(path, False), items_of(path, True)
    assert [graph.record for graph in together] == [graph.record for graph in alone]
    assert all(torch.equal(a.edge_index, b.edge_index) for a, b in zip(alone, together, strict=True))


def test_nothing_is_built_of_nothing():
    assert built_together([]) == []
