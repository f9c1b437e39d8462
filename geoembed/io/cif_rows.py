"""The atom-site loop of a CIF: which rows stand for atoms, of which species, with which occupancy, and where."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from geoembed.errors import EmptyGraphError, UnknownNameError, ValueRangeError
from geoembed.io import cif_checks as checks
from geoembed.io.cif_items import NULL, BlockItems, finite_columns, number_columns, numbers, numbers_or_nan
from geoembed.io.cif_sites import Rows
from geoembed.io.sites import Array, Ints

FRACTIONAL = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
CARTESIAN = ("_atom_site_Cartn_x", "_atom_site_Cartn_y", "_atom_site_Cartn_z")
_LABEL, _TYPE, _OCCUPANCY = "_atom_site_label", "_atom_site_type_symbol", "_atom_site_occupancy"
_FLAG, _HYDROGENS = "_atom_site_calc_flag", "_atom_site_attached_hydrogens"
_OTHERS = (_LABEL, _TYPE, _OCCUPANCY, _FLAG, _HYDROGENS)
_ELEMENT = {symbol: number for symbol, number in checks.NUMBERS.items() if symbol not in "DT"}.__getitem__


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


def has_sites(items: BlockItems) -> bool:
    """Whether an atom-site loop has a row with something known in it (a row of ``?`` is a placeholder)."""
    tags = (FRACTIONAL[0], CARTESIAN[0], _LABEL, "_chem_comp_atom_atom_id")
    return any(column.count("?") < len(column) for column in map(items.raw, tags))


def rows_of(items: BlockItems, tags: tuple[str, ...], formula: dict[str, float], where: str) -> Rows:
    """Atom-site rows that stand for atoms: dummies and placeholders left out, species and coordinates checked."""
    loop = _loop(items, tags, where)
    elements = frozenset(formula)
    plain = _plain_elements(loop, elements)
    if plain is not None:
        if not loop.hydrogens and _all_one(loop.occupancy) and (finite := finite_columns(loop.coordinates)):
            coordinates, inside = finite  # nearly every file that a program wrote
            return Rows(loop.names, plain, coordinates, np.ones(len(plain)), ordered=True, inside=inside)
        if not any("?" in column for column in loop.coordinates):
            return _checked(loop, None, plain, 1.0, Counter(), where)
    notes: Counter[str] = Counter()
    chosen: list[int] = []
    species: list[checks.Species] = []
    for i, name in enumerate(loop.names):
        kind = loop.types[i] if loop.types else ""
        found = _species(kind, loop.labels[i] if loop.labels else "?", elements, notes)
        if (loop.flags and loop.flags[i] == "dum") or (not found and name in NULL):
            notes["dummy_sites_left_out"] += 1
        elif not found:
            raise checks.unknown_symbol(f"{where}: site {name}", kind if kind and kind not in NULL else name)
        elif all(one.number == 1 for one in found) and any(column[i] == "?" for column in loop.coordinates):
            notes["hydrogens_without_coordinates"] += 1  # as good as not listed, which is common for hydrogen
        else:
            chosen += [i] * len(found)
            species += found
    atomic = np.array([one.number for one in species], dtype=np.int64)
    return _checked(loop, chosen, atomic, np.array([one.share for one in species]), notes, where)


def _loop(items: BlockItems, tags: tuple[str, ...], where: str) -> _Loop:
    columns = items.columns((*tags, *_OTHERS))
    coordinates, others = columns[:3], columns[3:]
    count = len(coordinates[0])
    if not count or set(map(len, columns)) - {0} != {count} or not all(coordinates):
        raise EmptyGraphError(where=where, found=f"{[len(column) for column in coordinates]} values of {', '.join(tags)}",
                              expected="the coordinates of every site", remedy="Give them, or leave the block out.")
    if not others[0] and not others[1]:
        raise UnknownNameError(where=where, found="neither _atom_site_label nor _atom_site_type_symbol",
                               expected="element symbols", remedy="Add a column with the element of each site.")
    return _Loop(tags, coordinates, *others)


def _plain_elements(loop: _Loop, elements: frozenset[str]) -> Ints | None:
    """Atomic numbers of a loop whose every row is one element, named by its type symbol; else None."""
    if not loop.types or "dum" in loop.flags:
        return None
    try:
        return np.array(list(map(_ELEMENT, loop.types)), dtype=np.int64)
    except KeyError:
        pass  # charges, isotopes, upper case
    atomic: dict[str, int] = {}
    for kind in set(loop.types):
        found = checks.species_of(kind, elements) if kind not in NULL else ()
        if len(found) != 1 or found[0].isotope or found[0].recased or found[0].share != 1.0:
            return None
        atomic[kind] = found[0].number
    return np.array([atomic[kind] for kind in loop.types], dtype=np.int64)


def _all_one(texts: list[str]) -> bool:
    given = set(texts)
    return not given or (len(given) == 1 and numbers_or_nan(given)[0] == 1.0)


def _species(kind: str, label: str, formula: frozenset[str], notes: Counter[str]) -> tuple[checks.Species, ...]:
    if kind and kind not in NULL:
        found = checks.species_of(kind, formula)
    else:
        found = checks.species_of_label(label, formula) if label not in NULL else ()
        if kind and found:
            notes["symbols_from_labels"] += 1
    for one in found:
        notes["isotopes_as_hydrogen"] += one.isotope
        notes["symbols_recased"] += one.recased
    return found


def _checked(loop: _Loop, chosen: list[int] | None, atomic: Ints, share: Array | float, notes: Counter[str], where: str) -> Rows:
    """Numbers of the chosen rows (None = all); null occupancy is 1, a dot as a coordinate is 0 (as ICSD writes it), both noted."""
    if loop.hydrogens:
        notes["implicit_hydrogens"] = sum(text not in NULL and text.strip("0.") != "" for text in loop.hydrogens)

    def of(column: list[str]) -> list[str]:
        return column if chosen is None or not column else [column[i] for i in chosen]

    names, occupancy = of(loop.names), _occupancy(of(loop.occupancy), len(atomic), notes, where) * share
    least = float(occupancy.min()) if len(occupancy) else 0.0
    if least < 0:
        worst = int(occupancy.argmin())
        raise ValueRangeError(where=f"{where}: site {names[worst]}", found=f"an occupancy of {occupancy[worst]:.4g}",
                              expected="0…1", remedy="Correct the occupancy.")
    columns = [of(column) for column in loop.coordinates]
    if dots := sum(column.count(".") for column in columns):
        notes["dots_read_as_zero"] = dots
        columns = [["0" if text == "." else text for text in column] for column in columns]
    coordinates = number_columns(columns, loop.tags, where)
    if least <= 0:
        kept = occupancy > 0
        if not kept.any():
            raise EmptyGraphError(where=where, found="no occupied site", expected="at least one", remedy="Leave the block out.")
        notes["empty_sites_left_out"] = int((~kept).sum())
        names = [name for name, keep in zip(names, kept.tolist(), strict=True) if keep]
        atomic, coordinates, occupancy = atomic[kept], coordinates[kept], occupancy[kept]
    return Rows(names, atomic, coordinates, occupancy, {name: count for name, count in notes.items() if count})


def _occupancy(texts: list[str], count: int, notes: Counter[str], where: str) -> Array:
    """Occupancies [count]; 1 where none is given."""
    if not texts:
        return np.ones(count)
    if len(set(texts)) == 1 and texts[0] not in NULL:
        return np.full(count, numbers(texts[:1], _OCCUPANCY, where)[0])
    if nulls := sum(texts.count(null) for null in NULL):
        notes["occupancy_assumed_1"] = nulls
        texts = ["1" if text in NULL else text for text in texts]
    return np.array(numbers(texts, _OCCUPANCY, where))
