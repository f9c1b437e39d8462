"""One data block of a CIF, parsed by gemmi, to the sites of its cell: which tags are read, and what their values may be."""

from __future__ import annotations

import numpy as np

from geoembed.errors import UnreadableFileError
from geoembed.io import cif_checks as checks
from geoembed.io.cif_items import BlockItems, numbers
from geoembed.io.cif_rows import CARTESIAN, FRACTIONAL, rows_of
from geoembed.io.cif_sites import cell_matrix, sites_of
from geoembed.io.cif_symmetry import operations_of
from geoembed.io.sites import Array, Sites
from geoembed.schema import Scalar

_LENGTHS = ("_cell_length_a", "_cell_length_b", "_cell_length_c")
_ANGLES = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")
_CELL = (*_LENGTHS, *_ANGLES)
_MODULATION = ("_cell_modulation_dimension", "_cell_wave_vector_x", "_space_group_ssg_name", "_space_group_symop_ssg_id")


def crystal_of(items: BlockItems, where: str) -> tuple[Sites, dict[str, Scalar]]:
    """Sites of the cell that the items of a block describe, and the notes of reading it; typed errors name tag and value."""
    _refuse_other_dictionaries(items, where)
    formula = checks.formula_counts(items.value("_chemical_formula_sum")) or {}
    if not items.value(*_LENGTHS) and items.column(*CARTESIAN):
        rows = rows_of(items, CARTESIAN, formula, where)
        return Sites(rows.numbers, rows.coordinates, cartesian=True), rows.notes
    notes: dict[str, Scalar] = {}
    cell = _cell(items, notes, where)
    rows = rows_of(items, FRACTIONAL, formula, where)
    operations = operations_of(items, where)
    rows.notes.update(notes | operations.notes)
    sites = sites_of(rows, operations, cell, where)
    if formula:
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
    if plain := items.singles(_CELL):
        return cell_matrix(plain[:3], plain[3:], where)
    values = {tag: items.column(tag) for tag in _CELL}
    for tag, found in values.items():
        if not found and tag in _ANGLES:
            values[tag] = ["90"]  # the default of the core dictionary
            notes["angles_assumed_90"] = 1 + int(notes.get("angles_assumed_90") or 0)
        elif len(found) != 1:
            raise UnreadableFileError(where=where, found=f"{len(found)} values of {tag}", expected="one",
                                      remedy="Give the cell: three lengths and three angles.")
    six = numbers([value[0] for value in values.values()], list(values), where)
    return cell_matrix(six[:3], six[3:], where)


def _compare_with_formula(sites: Sites, items: BlockItems, formula: dict[str, float], notes: dict[str, Scalar]) -> None:
    if _is_multiple(formula, sites):
        return
    cell = {checks.SYMBOLS[z - 1]: amount for z, amount in sites.composition().items()}
    if wrong := checks.composition_mismatch(formula, cell):
        given = items.value("_chemical_formula_sum")
        held = " ".join(f"{symbol}{amount:g}" for symbol, amount in cell.items())
        notes["composition_mismatch"] = f"{' '.join(sorted(wrong))}: formula {given[:200]}, cell {held[:200]}"


def _is_multiple(formula: dict[str, float], sites: Sites) -> bool:
    """Whether an ordered cell holds a whole number of formula units, exactly: the usual case, and quickly seen."""
    if sites.occupancy is not None:
        return False
    held = sites.numbers.astype(np.uint8).tobytes()
    amounts = [(held.count(checks.NUMBERS[symbol]), amount) for symbol, amount in formula.items()]
    units = {count / amount for count, amount in amounts if amount}
    return len(units) == 1 and units.pop() >= 1 and sum(count for count, _ in amounts) == len(held)


def truncated(notes: dict[str, Scalar]) -> bool:
    """Whether atoms other than hydrogen, which is often not listed, are missing from the cell."""
    wrong = str(notes.get("composition_mismatch", ": ")).partition(":")[0].split()
    return bool(set(wrong) - {"H"})

