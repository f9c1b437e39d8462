"""One data block of a CIF, parsed by gemmi, to the sites of its cell: which tags are read, and what their values may be."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from geoembed.errors import EmptyGraphError, UnknownNameError, UnreadableFileError, UnsafeFileError, ValueRangeError
from geoembed.io import cif_checks as checks
from geoembed.io.cif_sites import Rows, cell_matrix, sites_of
from geoembed.io.extras import require
from geoembed.io.sites import Array, Sites
from geoembed.schema import Scalar

_LENGTHS = ("_cell_length_a", "_cell_length_b", "_cell_length_c")
_ANGLES = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")
_FRACTIONAL = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
_CARTESIAN = ("_atom_site_Cartn_x", "_atom_site_Cartn_y", "_atom_site_Cartn_z")
_OPERATIONS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz_")
_MAGNETIC = ("_space_group_symop_magn_operation_xyz", "_space_group_symop_magn_operation_mxmymz_xyz")
_CENTERING = ("_space_group_symop_magn_centering_xyz",)
_HALL = ("_space_group_name_Hall", "_symmetry_space_group_name_Hall")
_HERMANN_MAUGUIN = ("_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M", "_symmetry_space_group_name_H_M")
_NUMBER = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
_MODULATION = ("_cell_modulation_dimension", "_cell_wave_vector_x", "_space_group_ssg_name", "_space_group_symop_ssg_id")
_NULL = frozenset("?.")


class BlockItems:
    """Values of a gemmi block by tag, quotes removed; ``_cell.length_a`` and ``_Cell_length_a`` are ``_cell_length_a``."""

    def __init__(self, block: Any) -> None:
        self._text = require("gemmi", "materials").cif.as_string
        self._columns: dict[str, list[str]] = {}
        for item in block:
            if item.loop is not None:
                tags, values = item.loop.tags, item.loop.values
                for i, tag in enumerate(tags):
                    self._columns.setdefault(_plain(tag), values[i :: len(tags)])
            elif item.pair is not None:
                self._columns.setdefault(_plain(item.pair[0]), [item.pair[1]])

    def column(self, *tags: str) -> list[str]:
        """Values of the first tag that has any; null values stay ``?`` and ``.``."""
        for tag in tags:
            if values := self._columns.get(_plain(tag)):
                return [value if value[0] not in "'\";" else str(self._text(value)) for value in values]
        return []

    def value(self, *tags: str) -> str:
        """The one value of the first tag that has a known one; empty where none has."""
        return next((value[0] for tag in tags if (value := self.column(tag)) and value[0] not in _NULL), "")

    def has_sites(self) -> bool:
        """Whether an atom-site loop has a row with something known in it (a row of ``?`` is a placeholder)."""
        columns = [self.column(tag) for tag in (_FRACTIONAL[0], _CARTESIAN[0], "_atom_site_label", "_chem_comp_atom_atom_id")]
        return any(value != "?" for column in columns for value in column)


def _plain(tag: str) -> str:
    return tag.lower().replace(".", "_")


def crystal_of(block: Any, where: str) -> tuple[Sites, dict[str, Scalar]]:
    """Sites of the cell that a gemmi block describes, and the notes of reading it; typed errors name tag and value."""
    items = BlockItems(block)
    _refuse_other_dictionaries(items, where)
    formula = checks.formula_counts(items.value("_chemical_formula_sum")) or {}
    if not items.value(*_LENGTHS) and items.column(*_CARTESIAN):
        rows = _rows(items, _CARTESIAN, formula, where)
        return Sites(rows.numbers, rows.coordinates, cartesian=True), rows.notes
    notes: dict[str, Scalar] = {}
    cell = _cell(items, notes, where)
    rows = _rows(items, _FRACTIONAL, formula, where)
    rows.notes.update(notes)
    rotation, translation = _operations(items, rows.notes, where)
    sites = sites_of(rows, rotation, translation, cell, where)
    _compare_with_formula(sites, items, formula, rows.notes)
    if any(items.value(tag) for tag in _MODULATION):
        rows.notes["modulation_ignored"] = True
    return sites, rows.notes


def _refuse_other_dictionaries(items: BlockItems, where: str) -> None:
    """Files that share the suffix and the syntax: macromolecules, monomer dictionaries."""
    if items.column("_atom_site_group_PDB", "_atom_site_label_comp_id", "_atom_site_label_asym_id"):
        found = "a macromolecular file (mmCIF)"
    elif items.column("_chem_comp_atom_atom_id", "_chem_comp_atom_comp_id"):
        found = "a chemical component definition"
    else:
        return
    raise UnreadableFileError(where=where, found=found, expected="a crystal structure of the core CIF dictionary",
                              remedy="Convert it to XYZ or PDB coordinates of the atoms that you want.")


def _cell(items: BlockItems, notes: dict[str, Scalar], where: str) -> Array:
    values = {tag: items.column(tag) for tag in (*_LENGTHS, *_ANGLES)}
    for tag, found in values.items():
        if not found and tag in _ANGLES:
            values[tag] = ["90"]  # the default of the core dictionary
            notes["angles_assumed_90"] = 1 + int(notes.get("angles_assumed_90") or 0)
        elif len(found) != 1:
            raise UnreadableFileError(where=where, found=f"{len(found)} values of {tag}", expected="one",
                                      remedy="Give the cell: three lengths and three angles.")
    numbers = _numbers([value[0] for value in values.values()], list(values), where)
    return cell_matrix(numbers[:3], numbers[3:], where)


def _numbers(texts: list[str], tags: list[str] | str, where: str) -> Array:
    """Finite numbers of CIF texts, standard uncertainties dropped, fractions such as 1/3 divided; names the tag otherwise."""
    as_number = require("gemmi", "materials").cif.as_number
    numbers = np.array([as_number(text) for text in texts], dtype=np.float64)
    for i in np.flatnonzero(~np.isfinite(numbers)):
        top, _, bottom = texts[i].partition("/")
        value = as_number(top) / as_number(bottom) if bottom and as_number(bottom) else np.nan
        if not np.isfinite(value):
            raise checks.number_error(where, tags if isinstance(tags, str) else tags[i], texts[i])
        numbers[i] = value
    return numbers


class _Loop(NamedTuple):
    """The atom-site loop as text, each column of one length or empty."""

    tags: tuple[str, ...]
    coordinates: list[list[str]]
    labels: list[str]
    types: list[str]
    occupancy: list[str]
    flags: list[str]
    hydrogens: list[str]

    @property
    def names(self) -> list[str]:
        """What a person calls the rows."""
        return self.labels or self.types


def _loop(items: BlockItems, tags: tuple[str, ...], where: str) -> _Loop:
    named = ("_atom_site_label", "_atom_site_type_symbol", "_atom_site_occupancy", "_atom_site_calc_flag",
             "_atom_site_attached_hydrogens")
    coordinates, others = [items.column(tag) for tag in tags], [items.column(tag) for tag in named]
    count = len(coordinates[0])
    lengths = {len(column) for column in coordinates} | {len(column) for column in others if column}
    if not count or lengths != {count}:
        raise EmptyGraphError(where=where, found=f"{[len(column) for column in coordinates]} values of {', '.join(tags)}",
                              expected="the coordinates of every site", remedy="Give them, or leave the block out.")
    if not others[0] and not others[1]:
        raise UnknownNameError(where=where, found="neither _atom_site_label nor _atom_site_type_symbol",
                               expected="element symbols", remedy="Add a column with the element of each site.")
    return _Loop(tags, coordinates, *others)


def _rows(items: BlockItems, tags: tuple[str, ...], formula: dict[str, float], where: str) -> Rows:
    """Atom-site rows that stand for atoms: dummies and placeholders left out, species and coordinates checked."""
    loop = _loop(items, tags, where)
    notes: Counter[str] = Counter()
    chosen: list[int] = []
    species: list[checks.Species] = []
    elements = frozenset(formula)
    for i, name in enumerate(loop.names):
        kind = loop.types[i] if loop.types else ""
        found = _species(kind, loop.labels[i] if loop.labels else "?", elements, notes)
        if (loop.flags and loop.flags[i] == "dum") or (not found and name in _NULL):
            notes["dummy_sites_left_out"] += 1
        elif not found:
            raise checks.unknown_symbol(f"{where}: site {name}", kind if kind and kind not in _NULL else name)
        elif all(one.number == 1 for one in found) and any(column[i] == "?" for column in loop.coordinates):
            notes["hydrogens_without_coordinates"] += 1  # as good as not listed, which is common for hydrogen
        else:
            chosen += [i] * len(found)
            species += found
    notes["implicit_hydrogens"] = sum(text not in _NULL and text.strip("0.") != "" for text in loop.hydrogens)
    return _checked(loop, chosen, species, notes, where)


def _species(kind: str, label: str, formula: frozenset[str], notes: Counter[str]) -> tuple[checks.Species, ...]:
    if kind and kind not in _NULL:
        found = checks.species_of(kind, formula)
    else:
        found = checks.species_of_label(label, formula) if label not in _NULL else ()
        if kind and found:
            notes["symbols_from_labels"] += 1
    for one in found:
        notes["isotopes_as_hydrogen"] += one.isotope
        notes["symbols_recased"] += one.recased
    return found


def _checked(loop: _Loop, chosen: list[int], species: list[checks.Species], notes: Counter[str], where: str) -> Rows:
    """Numbers of the chosen rows; null occupancy is 1 and a dot as a coordinate is 0 (as ICSD writes it), both noted."""
    texts = [loop.occupancy[i] for i in chosen] if loop.occupancy else ["1"] * len(chosen)
    notes["occupancy_assumed_1"] = sum(text in _NULL for text in texts)
    occupancy = _numbers(["1" if text in _NULL else text for text in texts], "_atom_site_occupancy", where)
    occupancy = occupancy * np.array([one.share for one in species])
    if (occupancy < 0).any():
        worst = int(occupancy.argmin())
        raise ValueRangeError(where=f"{where}: site {loop.names[chosen[worst]]}", found=f"an occupancy of {occupancy[worst]:.4g}",
                              expected="0…1", remedy="Correct the occupancy.")
    coordinates = np.empty((len(chosen), 3))
    for axis, (column, tag) in enumerate(zip(loop.coordinates, loop.tags, strict=True)):
        values = [column[i] for i in chosen]
        notes["dots_read_as_zero"] += values.count(".")
        coordinates[:, axis] = _numbers(["0" if text == "." else text for text in values], tag, where)
    kept = occupancy > 0
    notes["empty_sites_left_out"] = int((~kept).sum())
    if not kept.any():
        raise EmptyGraphError(where=where, found="no occupied site", expected="at least one", remedy="Leave the block out.")
    numbers = np.array([one.number for one in species], dtype=np.int64)
    return Rows([loop.names[i] for i, keep in zip(chosen, kept, strict=True) if keep], numbers[kept], coordinates[kept],
                occupancy[kept], {name: count for name, count in notes.items() if count})


def _operations(items: BlockItems, notes: dict[str, Scalar], where: str) -> tuple[Array, Array]:
    """Symmetry operations [M, 3, 3], [M, 3]: as listed, else of the group that is named, else (noted) the identity alone."""
    listed = [text for text in items.column(*_MAGNETIC) or items.column(*_OPERATIONS) if text not in _NULL]
    if not listed:
        return _group(items, notes, where)
    centering = [text for text in items.column(*_CENTERING) if text not in _NULL]
    try:
        rotation, translation, liberties = _listed(tuple(listed), tuple(centering))
    except UnsafeFileError as error:
        raise UnsafeFileError(where=f"{where}: {error.where}", found=error.found, expected=error.expected,
                              remedy=error.remedy) from error
    notes.update(liberties)
    return rotation, translation


@lru_cache(maxsize=512)
def _listed(texts: tuple[str, ...], centering: tuple[str, ...]) -> tuple[Array, Array, dict[str, Scalar]]:
    """Operations as written, times the centering translations; the identity is added where it was left out."""
    if len(texts) * max(len(centering), 1) > 2000:
        raise UnsafeFileError(where="symmetry operations", found=len(texts), expected="at most 192 × centerings",
                              remedy="List each operation once.")
    parsed = [checks.symmetry_operation(text) for text in texts]
    rotation, translation = np.array([one[0] for one in parsed]), np.array([one[1] for one in parsed])
    notes: dict[str, Scalar] = {}
    if snapped := sum(one[2] for one in parsed):
        notes["translations_snapped"] = snapped
    if centering:
        shift = np.array([checks.symmetry_operation(text)[1] for text in centering])
        translation = (translation[:, None] + shift).reshape(-1, 3)
        rotation = np.repeat(rotation, len(shift), axis=0)
    if not ((rotation == np.eye(3)).all(axis=(1, 2)) & (translation % 1 == 0).all(axis=1)).any():
        notes["identity_added"] = True
        rotation, translation = np.concatenate([np.eye(3)[None], rotation]), np.concatenate([np.zeros((1, 3)), translation])
    return rotation, translation, notes


def _group(items: BlockItems, notes: dict[str, Scalar], where: str) -> tuple[Array, Array]:
    """Operations of the space group that the block names by Hall symbol, Hermann–Mauguin symbol or number."""
    gemmi = require("gemmi", "materials")
    hall, name, number = items.value(*_HALL), items.value(*_HERMANN_MAUGUIN), items.value(*_NUMBER)
    group, source = None, ""
    if hall:
        try:
            group, source = gemmi.symops_from_hall(hall), f"Hall symbol {hall}"
        except RuntimeError:  # not a Hall symbol; the other names decide
            group = None
    if group is None and name and (found := gemmi.find_spacegroup_by_name(name)):
        group, source = found.operations(), f"name {name}"
    if group is None and number.isdigit() and (found := gemmi.find_spacegroup_by_number(int(number))):
        group, source = found.operations(), f"number {number}"
    if group is None and (hall or name or number):
        raise UnknownNameError(where=f"{where}: space group", found=hall or name or number,
                               expected="a space group of the tables", remedy="List its symmetry operations.")
    if group is None:
        notes["symmetry"] = "not given, read as P 1"
        return np.eye(3)[None], np.zeros((1, 3))
    operations = list(group)
    if len(operations) > 1:
        notes["symmetry"] = f"operations not listed, taken from the {source}"
    rotation = np.array([op.rot for op in operations], dtype=np.float64) / gemmi.Op.DEN
    return rotation, np.array([op.tran for op in operations], dtype=np.float64) / gemmi.Op.DEN


def _compare_with_formula(sites: Sites, items: BlockItems, formula: dict[str, float], notes: dict[str, Scalar]) -> None:
    if not formula:
        return
    cell = {checks.SYMBOLS[z - 1]: amount for z, amount in sites.composition().items()}
    if wrong := checks.composition_mismatch(formula, cell):
        given = items.value("_chemical_formula_sum")
        held = " ".join(f"{symbol}{amount:g}" for symbol, amount in cell.items())
        notes["composition_mismatch"] = f"{' '.join(sorted(wrong))}: formula {given[:200]}, cell {held[:200]}"


def truncated(notes: dict[str, Scalar]) -> bool:
    """Whether atoms other than hydrogen, which is often not listed, are missing from the cell."""
    wrong = str(notes.get("composition_mismatch", ": ")).partition(":")[0].split()
    return bool(set(wrong) - {"H"})

