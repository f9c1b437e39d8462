"""Extended XYZ: the atoms that ASE reads, and typed errors where it would guess."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from ase.io.extxyz import read_xyz
from geoembed.errors import EmptyGraphError, TruncatedFileError, UnknownNameError, UnreadableFileError, ValueRangeError
from geoembed.io.extxyz import xyz_records
from geoembed.io.record import BadRecord, Record
from geoembed.io.sites import Sites
from hypothesis import given
from hypothesis import strategies as st

LATTICE = 'Lattice="4 0 0 1 5 0 0 0 6" Properties=species:S:1:pos:R:3'
ROWS = "Na 0 0 0\nCl 2 2 2\n"


def read(text: str) -> list[Record | BadRecord]:
    return list(xyz_records(io.StringIO(text), "run.xyz"))


def only(text: str) -> Record:
    (record,) = read(text)
    assert isinstance(record, Record), record
    return record


def fail(text: str) -> None:
    (record,) = read(text)
    assert isinstance(record, BadRecord)
    raise record.error


def assert_same(sites: Sites, atoms: Atoms) -> None:
    np.testing.assert_array_equal(sites.numbers, atoms.numbers)
    np.testing.assert_array_equal(sites.coordinates, atoms.positions)
    np.testing.assert_array_equal(np.zeros((3, 3)) if sites.cell is None else sites.cell, atoms.cell.array)
    assert sites.pbc == tuple(atoms.pbc.tolist())


@given(st.integers(0, 10**6), st.integers(1, 20), st.tuples(st.booleans(), st.booleans(), st.booleans()), st.booleans())
def test_what_ase_writes_is_read_as_ase_reads_it(seed: int, count: int, pbc: tuple[bool, bool, bool], plain: bool) -> None:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(3):
        atoms = Atoms(rng.integers(1, 100, count), positions=rng.normal(size=(count, 3)) * 5, cell=rng.normal(size=(3, 3)) + 6 * np.eye(3),
                      pbc=pbc, info={"energy": float(rng.normal()), "note": 'a "Lattice" in = words', "virial": rng.normal(size=(3, 3))})
        atoms.new_array("forces", rng.normal(size=(count, 3)))
        atoms.new_array("tag", rng.integers(0, 9, count))
        frames.append(atoms)
    text = io.StringIO()
    write(text, frames, format="xyz" if plain else "extxyz")
    records = read(text.getvalue())
    expected = list(read_xyz(io.StringIO(text.getvalue()), index=slice(None)))
    assert len(records) == len(expected) == 3
    for record, atoms in zip(records, expected, strict=True):
        assert isinstance(record, Record)
        assert record.notes == {}
        assert_same(record.payload, atoms)


COMMENTS = [LATTICE, LATTICE + ' pbc="T F T"', LATTICE + " pbc=F", LATTICE + " pbc={T T F}", LATTICE.replace('"', "'"), "water", "",
            'Lattice="4 0 0 1 5 0 0 0 6"', LATTICE + ' text="pbc=F"', "Lattice={4,0,0,1,5,0,0,0,6}", 'energy=-1.5 pbc="F F F"',
            'Lattice="4 0 0 1 5 0 0 0 6" pbc="1 1 0" a = 3']


@pytest.mark.parametrize("comment", COMMENTS)
def test_comment_lines_mean_what_they_mean_to_ase(comment: str) -> None:
    text = f"2\n{comment}\n{ROWS}"
    (atoms,) = read_xyz(io.StringIO(text), index=slice(None))
    assert_same(only(text).payload, atoms)


def test_columns_stand_where_properties_says() -> None:
    text = "2\nProperties=id:I:1:pos:R:3:species:S:1:Z:I:1\n7 0 0 0 Na 11\n8 2 2 2 Cl 17\n"
    assert only(text).payload.numbers.tolist() == [11, 17]
    np.testing.assert_array_equal(only(text).payload.coordinates[1], [2, 2, 2])
    numbers = "2\nProperties=pos:R:3:Z:I:1\n0 0 0 11\n2 2 2 17\n"
    assert only(numbers).payload.numbers.tolist() == [11, 17]
    with pytest.raises(UnreadableFileError, match="species and Z that disagree"):
        fail(text.replace("Cl 17", "Cl 18"))


def test_liberties_are_noted() -> None:
    record = only("3\nx\nNA 0 0 0\ncl 2 2 2\nD 4 4 4\n")
    assert (record.payload.numbers.tolist(), record.notes) == ([11, 17, 1], {"symbols_recased": 2, "isotopes_as_hydrogen": 1})
    assert only(f"2\n{LATTICE}\nNa 0 0 0 9\nCl 2 2 2 9\n").notes == {"undeclared_columns": True}
    assert only(f"2\n{LATTICE}\n{ROWS}".rstrip("\n")).notes == {"no_line_end_at_the_end": True}


@pytest.mark.parametrize(("comment", "match"), [
    ('Lattice="4 0 0 0 4 0 0 0 4', "Lattice with a value that does not end"), ('Lattice="4 0 0 0 4 0"', "Lattice of 6 numbers"),
    ('Lattice="4 0 0 0 four 0 0 0 4"', "nine numbers"), (LATTICE + ' pbc="T T"', "three of T and F"), (LATTICE + " pbc=maybe", "maybe"),
    (LATTICE + ' Lattice="5 0 0 0 5 0 0 0 5"', "Lattice twice"), ("Properties=species:S:1", "with species"),
    ("Properties=species:S:1:pos:R:2", "name:type:count"), ("Properties=species:S:1:pos:R", "name:type:count"),
    ("Properties=species:S:1:pos:R:99999999", "name:type:count"),
])
def test_a_comment_that_says_half_of_it_is_an_error_and_not_a_molecule(comment: str, match: str) -> None:
    with pytest.raises(UnreadableFileError, match=rf"run.xyz: line 2: .*{match}.*Correct the file"):
        fail(f"2\n{comment}\n{ROWS}")


@pytest.mark.parametrize(("row", "kind", "match"), [
    ("Cl 2 2", UnreadableFileError, "line 4: .*at least 4 columns"), ("Cl 2 2_0 2", UnreadableFileError, "line 4: .*2_0.*three coordinates"),
    ("Cl 2 ٣ 2", UnreadableFileError, "line 4"), ("Cl 2 nan 2", ValueRangeError, "line 4: pos: .*finite numbers"),
    ("Cl 2 1e400 2", ValueRangeError, "line 4: pos"), ("Qq 2 2 2", UnreadableFileError, "line 4: found the symbol 'Qq'"),
    ("119 2 2 2", UnreadableFileError, "'119'"), ("Du 2 2 2", UnknownNameError, "atom 2.*Leave dummy atoms out"),
])
def test_a_broken_row_is_named_by_its_line(row: str, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        fail(f"2\nx\nNa 0 0 0\n{row}\n")


def test_frames_without_atoms_and_cut_frames_are_errors() -> None:
    with pytest.raises(EmptyGraphError, match="Leave the frame out"):
        fail("0\nx\n")
    with pytest.raises(TruncatedFileError, match="1 lines of atoms; expected 2"):
        fail("2\nx\nNa 0 0 0\n")


def test_frames_are_read_as_they_are_asked_for() -> None:
    given_out = 0

    class Lines:
        """An endless run."""

        def __iter__(self) -> Iterator[str]:
            return self

        def __next__(self) -> str:
            return self.readline()

        def readline(self) -> str:
            nonlocal given_out
            given_out += 1
            return ("2\n", "x\n", "Na 0 0 0\n", "Cl 2 2 2\n")[(given_out - 1) % 4]

    records = xyz_records(Lines(), "pipe")  # type: ignore[arg-type]
    assert [next(records).key for _ in range(3)] == ["frame-1", "frame-2", "frame-3"]
    assert given_out == 12
