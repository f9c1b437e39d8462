"""Formats of atomistic simulation: XYZ (:mod:`geoembed.io.extxyz`); through ASE its trajectories, LAMMPS and SHELX/AIRSS .res.

Formats are named, never guessed, and only those are read whose reader evaluates no text and unpickles nothing. What ASE would
fill in silently is refused: elements of LAMMPS types without masses, symmetry of a .res file.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import IO, Any

from geoembed.errors import EmptyGraphError, GeoembedError, TruncatedFileError, UnknownNameError, UnreadableFileError
from geoembed.graphs.crystal import crystal_graph
from geoembed.io.budget import check_budget
from geoembed.io.extras import require
from geoembed.io.extxyz import xyz_records
from geoembed.io.record import BadRecord, Record
from geoembed.io.sites import Sites
from geoembed.schema import Graph, Scalar

_TRAJECTORY = b"- of UlmASE-Trajectory"
_LAMMPS = re.compile(rb"^\s*\d+\s+atoms\b", re.MULTILINE)
_XYZ = re.compile(rb"\s*\d+[ \t]*\r?\n[^\n]*\n[ \t]*(?:[A-Z][a-z]?|\d{1,3})\w*(?:[ \t]+[+-]?\.?\d\S*){3}")
_PARSER_ERRORS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, NameError, OSError, EOFError,
                  StopIteration, RuntimeError)
_MASS_TOLERANCE = 0.5  # u; rounding of masses stays below, a bead or another unit rarely does
_SINGLE = "structure"  # key of the record of a file that holds one; a temporary copy has no name worth keeping


class AseFormats:
    """Atoms, one record a frame. Without a cell they are a molecule."""

    kind, suffixes = "crystal", (".xyz", ".extxyz", ".traj", ".data", ".lmp", ".lammps", ".dump", ".lammpstrj", ".res")
    lines = (".xyz", ".extxyz")

    def can_open(self, head: bytes, name: str) -> bool:
        """By content: each format has a first line, a keyword or a magic number of its own."""
        if head.startswith(_TRAJECTORY):
            return True
        if b"\0" in head:
            return False
        return (
            name.endswith((".xyz", ".extxyz")) or bool(_XYZ.match(head)) or head.startswith(b"ITEM: TIMESTEP")
            or (bool(_LAMMPS.search(head)) and b"xlo xhi" in head) or (name.endswith(".res") and b"CELL" in head)
        )

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """One record a frame, in file order; its key is ``frame-1`` …, or ``structure`` where the format holds one."""
        with open(path, "rb") as file:
            head = file.read(4096)
        if head.startswith(_TRAJECTORY):
            yield from _trajectory(path)
            return
        check_budget(path, (path.stat().st_size,), 1)
        with open(path, encoding="utf-8", errors="replace") as file:
            if head.startswith(b"ITEM: TIMESTEP"):
                yield from _dump(file, path)
            elif _LAMMPS.search(head) and b"xlo xhi" in head:
                yield _lammps_data(file.read(), path)
            elif path.suffix.lower() == ".res" and b"CELL" in head:
                yield _res(file.read(), path)
            else:
                yield from xyz_records(file, str(path))

    def to_graph(self, record: Record) -> Graph:
        """The crystal graph of the atoms."""
        return record.payload.graph() if isinstance(record.payload, Sites) else crystal_graph(record.payload)


def _record(key: str, where: str, parse: Callable[[], Any], notes: dict[str, Scalar] | None = None) -> Record | BadRecord:
    """What ``parse`` returns (ASE Atoms), its warnings noted; whatever a parser raises becomes a typed error."""
    notes = {} if notes is None else notes
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            atoms = parse()
        if caught:
            notes["parser_warnings"], notes["parser_warning"] = len(caught), str(caught[0].message)[:200]
        return Record(key, _checked(atoms, where), notes)
    except GeoembedError as error:
        return BadRecord(key, error)
    except _PARSER_ERRORS as error:
        typed = UnreadableFileError(where=where, found=f"{type(error).__name__}: {error}"[:200], expected="atoms of this format",
                                    remedy="Correct the file; if ASE reads it, report it with the file.")
        typed.__cause__ = error
        return BadRecord(key, typed)


def _checked(atoms: Any, where: str) -> Any:
    """Atoms with at least one atom, each an element; energies, forces and constraints are not read."""
    if not len(atoms):
        raise EmptyGraphError(where=where, found="no atoms", expected="at least one", remedy="Leave the frame out.")
    if (atoms.numbers < 1).any():
        i = int((atoms.numbers < 1).argmax())
        raise UnknownNameError(where=f"{where}: atom {i + 1}", found=f"the symbol {atoms.symbols[i]!r}", expected="an element",
                               remedy="Leave dummy atoms out.")
    return atoms


def _trajectory(path: Path) -> Iterator[Record | BadRecord]:
    """Frames of an ASE trajectory (ULM: numbers as arrays, the rest as JSON)."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        header = file.read(48)
    _, frames, start = struct.unpack("<qqq", header[24:48]) if len(header) == 48 else (0, -1, 0)
    if not 0 <= frames <= size // 8 or not 0 <= start <= size:
        raise TruncatedFileError(where=path, found=f"{size} bytes", expected=f"an index of {frames} frames at byte {start}",
                                 remedy="Fetch the file again.")
    if not frames:
        raise EmptyGraphError(where=path, found="no frames", expected="at least one", remedy="Leave the file out.")
    trajectory = _opened(path)
    with trajectory:
        for i in range(frames):
            yield _record(f"frame-{i + 1}", f"{path} [frame-{i + 1}]", lambda i=i: trajectory[i])  # type: ignore[misc]


def _opened(path: Path) -> Any:
    try:
        return require("ase.io.trajectory", "materials").TrajectoryReader(str(path))
    except _PARSER_ERRORS as error:
        raise UnreadableFileError(where=path, found=f"{type(error).__name__}: {error}"[:200], expected="an ASE trajectory",
                                  remedy="Write the trajectory again.") from error


def _lammps_data(text: str, path: Path) -> Record | BadRecord:
    """A LAMMPS data file, units of ångström assumed (metal, real); elements by the masses of the types."""
    if not re.search(r"^\s*Masses\b", text, re.MULTILINE):
        return BadRecord(_SINGLE, UnknownNameError(
            where=f"{path}: elements", found="atom types without masses", expected="a section Masses",
            remedy="Write the data file with its masses: types alone do not say what the atoms are.",
        ))
    return _record(_SINGLE, str(path), lambda: _by_mass(text, path), {"elements_from_masses": True})


def _by_mass(text: str, path: Path) -> Any:
    """Atoms of a LAMMPS data file whose masses are those of elements; beads of a coarse-grained model are not."""
    atoms = require("ase.io.lammpsdata", "materials").read_lammps_data(StringIO(text))
    off = abs(atoms.get_masses() - require("ase.data", "materials").atomic_masses[atoms.numbers])
    if off.max(initial=0.0) > _MASS_TOLERANCE and not (atoms.numbers[off > _MASS_TOLERANCE] == 1).all():  # deuterium, tritium
        mass = float(atoms.get_masses()[off.argmax()])
        raise UnknownNameError(where=f"{path}: Masses", found=f"{mass:g} u", expected=f"the mass of an element (to {_MASS_TOLERANCE} u)",
                               remedy="Leave models without atoms out, or correct the masses.")
    return atoms


def _dump(lines: IO[str], path: Path) -> Iterator[Record | BadRecord]:
    """Frames of a LAMMPS text dump that names elements or masses."""
    read = require("ase.io.lammpsrun", "materials").read_lammps_dump_text
    frame, rows = 0, [lines.readline()]
    while rows[0]:
        frame += 1
        key, where = f"frame-{frame}", f"{path} [frame-{frame}]"
        rows = rows[:1]
        last = ""
        for last in lines:
            if last.startswith("ITEM: TIMESTEP"):
                break
            rows.append(last)
            last = ""
        columns = next((row.split()[2:] for row in rows if row.startswith("ITEM: ATOMS")), [])
        if {"element", "mass"} & set(columns):
            yield _record(key, where, lambda rows=rows: read(StringIO("".join(rows)), index=0))  # type: ignore[misc]
        else:
            yield BadRecord(key, UnknownNameError(
                where=f"{where}: elements", found=f"the columns {columns[:12]}", expected="a column element or mass",
                remedy="Write the dump with 'dump_modify ID element …': types alone do not say what the atoms are.",
            ))
        rows = [last]


def _res(text: str, path: Path) -> Record | BadRecord:
    """A .res file whose sites fill the cell (AIRSS: LATT -1, no SYMM)."""
    symmetry = [line.split() for line in text.splitlines() if line[:4].upper() in ("LATT", "SYMM")]
    if any(words[0].upper() == "SYMM" or words[1:2] != ["-1"] for words in symmetry):
        return BadRecord(_SINGLE, UnreadableFileError(
            where=path, found="symmetry operations (LATT, SYMM)", expected="all sites of the cell, LATT -1",
            remedy="Convert the file to CIF, with its symmetry.",
        ))
    read = require("ase.io.res", "materials").Res.from_string
    return _record(_SINGLE, str(path), lambda: read(text).atoms)
