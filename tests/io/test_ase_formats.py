"""XYZ, ASE trajectories, LAMMPS and .res through ASE: the atoms that ASE wrote, and no elements that nobody wrote."""

from __future__ import annotations

import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write
from geoembed.errors import EmptyGraphError, TruncatedFileError, UnknownNameError, UnreadableFileError
from geoembed.graphs.crystal import crystal_graph
from geoembed.io.ase_formats import AseFormats
from geoembed.io.reader import read
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Graph
from hypothesis import given
from hypothesis import strategies as st

WATER = "3\nwater\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n"


def salt(shift: float = 0.0) -> Atoms:
    return Atoms("NaCl", positions=[[0, 0, 0], [2 + shift, 2, 2]], cell=[4, 4, 4], pbc=True)


def text_records(tmp_path: Path, name: str, text: str) -> list[Record | BadRecord]:
    path = tmp_path / name
    path.write_text(text)
    return list(AseFormats().records(path))


def assert_same(graph: Graph, atoms: Atoms) -> None:
    expected = crystal_graph(atoms)
    assert torch.equal(graph.token, expected.token)
    torch.testing.assert_close(graph.pos, expected.pos, atol=1e-7, rtol=0)
    torch.testing.assert_close(graph.cell, expected.cell, atol=1e-7, rtol=0)
    assert torch.equal(graph.pbc, expected.pbc)


def error_of(record: Record | BadRecord) -> Exception:
    assert isinstance(record, BadRecord)
    return record.error


@given(st.integers(0, 10**6), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_frames_of_extended_xyz_are_the_atoms_that_were_written(seed: int, pbc: tuple[bool, bool, bool]) -> None:
    rng = np.random.default_rng(seed)
    places = [rng.uniform(0, 1, (3, 3)) + np.arange(3)[:, None] * 2 for _ in range(3)]
    frames = [Atoms("OFeO", positions=place, cell=np.eye(3) * 6, pbc=pbc, info={"energy": 1.5}) for place in places]
    reader = AseFormats()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run.extxyz"
        write(path, frames, format="extxyz")
        records = list(reader.records(path))
    assert [record.key for record in records] == ["frame-1", "frame-2", "frame-3"]
    for record, atoms in zip(records, frames, strict=True):
        assert isinstance(record, Record)
        assert_same(reader.to_graph(record), atoms)


def test_plain_xyz_is_a_molecule(tmp_path: Path) -> None:
    (tmp_path / "w.xyz").write_text(WATER)
    (graph,) = read(tmp_path / "w.xyz", on_error="raise")
    assert not graph.pbc.any()
    assert graph.token.flatten().tolist() == [8, 1, 1]
    assert graph.edge_attr[:, 0].max().item() == pytest.approx(np.hypot(1.2, 0.93))


def test_blank_lines_between_frames_and_at_the_end_are_no_frames(tmp_path: Path) -> None:
    assert len(text_records(tmp_path, "w.xyz", WATER + "\n" + WATER + "\n\n")) == 2


@pytest.mark.parametrize(("old", "new", "kind", "match"), [
    ("H 0.96 0 0", "X 0.96 0 0", UnknownNameError, "atom 2: found the symbol 'X'.*dummy"),
    ("H 0.96 0 0", "Qq 0.96 0 0", UnreadableFileError, "Qq"), ("H 0.96 0 0", "H 0.96 zero 0", UnreadableFileError, "zero"),
    ("H 0.96 0 0", "H 0.96", UnreadableFileError, "Correct the file"),
])
def test_a_broken_frame_costs_itself_only(tmp_path: Path, old: str, new: str, kind: type[Exception], match: str) -> None:
    records = text_records(tmp_path, "w.xyz", WATER + WATER.replace(old, new) + WATER)
    assert [type(record).__name__ for record in records] == ["Record", "BadRecord", "Record"]
    with pytest.raises(kind, match=match):
        raise error_of(records[1])


def test_empty_cut_and_miscounted_frames_are_errors(tmp_path: Path) -> None:
    with pytest.raises(EmptyGraphError, match="Leave the frame out"):
        raise error_of(text_records(tmp_path, "a.xyz", "0\nnothing\n")[0])
    with pytest.raises(TruncatedFileError, match="2 lines of atoms; expected 3"):
        raise error_of(text_records(tmp_path, "b.xyz", WATER[: WATER.rindex("H")])[0])
    with pytest.raises(UnreadableFileError, match=r"line 5: found 'H -0\.24 0.93 0'; expected the number of atoms of frame 2"):
        text_records(tmp_path, "c.xyz", WATER.replace("3\n", "2\n", 1))
    with pytest.raises(TruncatedFileError, match="expected 999999999"):
        raise error_of(text_records(tmp_path, "d.xyz", WATER.replace("3\n", "999999999\n", 1))[0])


def test_a_trajectory_gives_a_record_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "run.traj"
    write(path, [salt(0.1 * i) for i in range(3)])
    graphs = list(read(path, on_error="raise"))
    for i, graph in enumerate(graphs):
        assert_same(graph, salt(0.1 * i))
    assert [graph.record for graph in graphs] == ["frame-1", "frame-2", "frame-3"]


def test_a_trajectory_whose_index_is_cut_or_lies_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "run.traj"
    write(path, [salt(), salt()])
    content = path.read_bytes()
    path.write_bytes(content[:40])
    with pytest.raises(TruncatedFileError, match="Fetch the file again"):
        list(AseFormats().records(path))
    path.write_bytes(content[:32] + struct.pack("<q", 10**12) + content[40:])
    with pytest.raises(TruncatedFileError, match="1000000000000 frames"):
        list(AseFormats().records(path))
    path.write_bytes(content[:60] + b"\xff" * 40 + content[100:])
    assert all(isinstance(record, BadRecord) for record in AseFormats().records(path))


LAMMPS = ("written by hand\n\n2 atoms\n2 atom types\n\n0 4 xlo xhi\n0 4 ylo yhi\n0 4 zlo zhi\n\nMasses\n\n1 22.99\n2 35.45\n\n"
          "Atoms # atomic\n\n1 1 0 0 0\n2 2 2 2 2\n")


def test_masses_say_what_lammps_types_are_and_without_them_nothing_is_guessed(tmp_path: Path) -> None:
    (record,) = text_records(tmp_path, "salt.data", LAMMPS)
    assert isinstance(record, Record)
    assert record.notes == {"elements_from_masses": True}
    assert_same(AseFormats().to_graph(record), salt())
    with pytest.raises(UnknownNameError, match="types alone do not say"):
        raise error_of(text_records(tmp_path, "anonymous.data", LAMMPS.replace("Masses\n\n1 22.99\n2 35.45\n\n", ""))[0])
    with pytest.raises(UnknownNameError, match=r"23\.6 u.*Leave models without atoms out"):
        raise error_of(text_records(tmp_path, "beads.data", LAMMPS.replace("22.99", "24.6").replace("35.45", "23.6"))[0])
    with pytest.raises(UnreadableFileError, match="Correct the file"):
        raise error_of(text_records(tmp_path, "cut.data", LAMMPS[:-12])[0])


DUMP = ("ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 4\n0 4\n0 4\n"
        "ITEM: ATOMS id type element x y z\n2 2 Cl 2 2 2\n1 1 Na 0 0 0\n")


def test_a_dump_needs_elements(tmp_path: Path) -> None:
    records = text_records(tmp_path, "run.dump", DUMP + DUMP.replace("\n0\n", "\n1\n", 1))
    assert [record.key for record in records] == ["frame-1", "frame-2"]
    for record in records:
        assert isinstance(record, Record)
        assert_same(AseFormats().to_graph(record), salt())
    anonymous = DUMP.replace(" element", "").replace(" Cl", "").replace(" Na", "")
    with pytest.raises(UnknownNameError, match="dump_modify"):
        raise error_of(text_records(tmp_path, "types.dump", anonymous)[0])


RES = "TITL salt 0 64 -1 0 0 2 (P1) n - 1\nCELL 1.0 4 4 4 90 90 90\nLATT -1\nSFAC Na Cl\nNa 1 0 0 0 1\nCl 2 0.5 0.5 0.5 1\nEND\n"


def test_a_res_file_whose_sites_fill_the_cell_is_read_and_one_with_symmetry_refused(tmp_path: Path) -> None:
    (record,) = text_records(tmp_path, "salt.res", RES)
    assert isinstance(record, Record)
    assert_same(AseFormats().to_graph(record), salt())
    for symmetry in ("LATT 1\n", "LATT -1\nSYMM -X, Y, -Z\n"):
        with pytest.raises(UnreadableFileError, match="Convert the file to CIF"):
            raise error_of(text_records(tmp_path, "organic.res", RES.replace("LATT -1\n", symmetry))[0])


def test_warnings_of_the_parser_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    from ase.io.res import Res
    original = Res.from_string

    def loud(text: str) -> object:
        warnings.warn("first remark", stacklevel=1)
        warnings.warn("second", stacklevel=1)
        return original(text)

    monkeypatch.setattr(Res, "from_string", loud)
    (record,) = text_records(tmp_path, "salt.res", RES)
    assert isinstance(record, Record)
    assert record.notes == {"parser_warnings": 2, "parser_warning": "first remark"}


def test_formats_are_known_by_content() -> None:
    reader = AseFormats()
    assert reader.can_open(WATER.encode(), "molecule")
    assert reader.can_open(DUMP.encode(), "whatever.txt")
    assert reader.can_open(LAMMPS.encode(), "input")
    assert reader.can_open(b"- of UlmASE-Trajectory  ", "run")
    assert not reader.can_open(b"3\n4\n5 6\n", "numbers.txt")
    assert not reader.can_open(b"x,y\n1,2\n", "table.data")
