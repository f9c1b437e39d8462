"""Strict grammar of what a CIF says: numbers, symmetry operations, element symbols and the sum formula.

Text from a file is only ever matched, never evaluated (a symmetry operation is three sums of x, y, z and fractions; anything
else is an error). Tags and value rules after Hall, Allen & Brown (1991), Acta Cryst. A47, 655, and the CIF core dictionary.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoembed.errors import UnknownNameError, UnsafeFileError, ValueRangeError

SYMBOLS = (  # noqa: SIM905 — one text reads as the periodic table, 118 strings do not
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh "
    "Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr "
    "Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
).split()
"""Element symbols; Z of ``SYMBOLS[i]`` is i + 1."""

NUMBERS: Mapping[str, int] = {**{symbol: i + 1 for i, symbol in enumerate(SYMBOLS)}, "D": 1, "T": 1}
"""Atomic number of a symbol; deuterium and tritium are hydrogen."""

_SYMBOL = re.compile(r"([A-Za-z]{1,2})(?:\d*\.?\d*[+-]|[+-]\d+\.?\d*|\d+)?")  # Fe, Fe3+, Fe+3, O2-, Fe1
_PART = re.compile(r"\s*(\d*\.?\d+)(?:\(\d+\))?\s*([A-Z][a-z]?)(?:\d*[+-])?\s*")  # of "0.75Si + 0.25Al"
_LETTERS = re.compile(r"[A-Za-z]+")
_TERM = re.compile(r"([+-]?)(?:([xyz])|(\d{1,8}(?:\.\d{0,12})?|\.\d{1,12})(?:/(\d{1,4}))?)")
_FORMULA = re.compile(r"([A-Z][a-z]?)(\d*\.?\d*)")
_PLAIN_FORMULA = re.compile(r"(?:[A-Z][a-z]?[0-9]* ?)+")  # of nearly every file
_PLAIN_PART = re.compile(r"([A-Z][a-z]?)([0-9]*)")
_GROUPS = frozenset({"CN", "CO", "HO", "HS", "NH", "NO", "PO"})
_NO_ATOM = frozenset({"Wat", "Cg", "Ct", "Du", "Dum", "Xx"})  # water, ring centroids, dummies: labels that only look like atoms


class Species(NamedTuple):
    """One chemical species of a site row: atomic number, share of the row's occupancy, and whether the text was read freely."""

    number: int
    share: float
    isotope: bool = False
    recased: bool = False


@lru_cache(maxsize=4096)
def species_of(symbol: str, formula: frozenset[str] = frozenset()) -> tuple[Species, ...]:
    """Species that an ``_atom_site_type_symbol`` names; empty where it names none.

    Upper case (``FE``) is read as the element where the sum formula has it or, without a formula, where it is no group: ``NH3``
    is not nihonium, nor ``CO`` cobalt.

    >>> species_of("Fe3+")[0].number, [one.share for one in species_of("0.75Si + 0.25Al")], species_of("NH3")
    (26, [0.75, 0.25], ())
    """
    if match := _SYMBOL.fullmatch(symbol):
        written = match.group(1)
        if written in NUMBERS:
            return (Species(NUMBERS[written], 1.0, written in "DT"),)
        proper = written.title()
        meant = proper in formula if formula else written == symbol and written.upper() not in _GROUPS
        return (Species(NUMBERS[proper], 1.0, proper in "DT", recased=True),) if proper in NUMBERS and meant else ()
    parts = [_PART.fullmatch(part) for part in symbol.split("+")] if len(symbol) < 200 and "+" in symbol else []
    if not parts or any(part is None or part[2] not in NUMBERS for part in parts):
        return ()
    return tuple(Species(NUMBERS[part[2]], float(part[1]), part[2] in "DT") for part in parts if part is not None)


@lru_cache(maxsize=4096)
def species_of_label(label: str, formula: frozenset[str]) -> tuple[Species, ...]:
    """Species that an ``_atom_site_label`` begins with; ``formula`` (elements of the sum formula) decides where two would fit.

    A label is an element symbol and a running text: ``Si1``, ``FeA``, ``OW``. Upper case leaves ``CA1`` open (Ca or C), and
    minerals have ``Ob`` for an oxygen: both are settled by the formula.
    """
    letters = _LETTERS.match(label)
    word = letters.group() if letters else ""
    if not word or word.title() in _NO_ATOM or word[:3].title() == "Wat":
        return ()
    two, one = word[:2].title(), word[0].upper()
    fits = [symbol for symbol in ([two] if len(word) > 1 else []) + [one] if symbol in NUMBERS]
    if word[1:2].islower() and two in NUMBERS:
        chosen = two
    elif word[1:2].islower() and one not in formula:
        return ()
    else:
        named = [symbol for symbol in fits if symbol in formula]
        chosen = (named or fits or [""])[0]
    if not chosen:
        return ()
    return (Species(NUMBERS[chosen], 1.0, chosen in "DT", not word.startswith(chosen)),)


def unknown_symbol(where: str, symbol: str) -> UnknownNameError:
    """The error of a site whose symbol names no element."""
    return UnknownNameError(
        where=where, found=f"the symbol {symbol!r}", expected="an element symbol, alone or with a charge",
        remedy="List the atoms of a group (water, NH3) as sites of their own, and leave dummy sites out.",
    )


@lru_cache(maxsize=65536)
def symmetry_operation(text: str) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """(rotation [3, 3], translation [3], snapped) of an operation such as ``-y+1/2, x-y, z``; raises :class:`UnsafeFileError`.

    Decimal translations close to a multiple of 1/24 are meant as that (``snapped``): 0.6667 would miss special positions.
    A fourth part (time reversal of a magnetic operation, +1 or -1) is read past.

    >>> symmetry_operation("x, 1/2-y, z")[1].tolist()
    [0.0, 0.5, 0.0]
    """
    parts = "".join(text.lower().split()).split(",")
    if len(parts) == 4 and parts[3] in {"+1", "-1", "1"}:
        parts = parts[:3]
    if len(parts) != 3 or len(text) > 120:
        raise _no_operation(text)
    rotation, translation, snapped = np.zeros((3, 3)), np.zeros(3), False
    for row, part in enumerate(parts):
        place = 0
        while place < len(part):
            term = _TERM.match(part, place)
            if term is None or (place and not term.group(1)):
                raise _no_operation(text)
            sign, axis, number, divisor = term.groups()
            size = -1.0 if sign == "-" else 1.0
            if axis:
                rotation[row, "xyz".index(axis)] += size
            else:
                if divisor and int(divisor) == 0:
                    raise _no_operation(text)
                exact = float(number) / (int(divisor) if divisor else 1)
                whole = round(exact * 24) / 24
                translation[row] += size * (whole if abs(exact - whole) < 5e-4 else exact)
                snapped |= 0 < abs(exact - whole) < 5e-4 and not divisor
            place = term.end()
    if abs(abs(np.linalg.det(rotation)) - 1) > 1e-6:
        raise _no_operation(text)
    rotation.setflags(write=False)
    translation.setflags(write=False)
    return rotation, translation, bool(snapped)


def _no_operation(text: str) -> UnsafeFileError:
    return UnsafeFileError(
        where="symmetry operation", found=repr(text[:80]), expected="three sums of x, y, z and fractions such as 'x+1/2, -y, z'",
        remedy="Correct the operation, or give the space group by name only.",
    )


def formula_counts(text: str) -> dict[str, float] | None:
    """Atoms of a sum formula (``'C10 H14 O2'``), deuterium as hydrogen; None where it is not a plain sum.

    >>> formula_counts("Fe2 O3")
    {'Fe': 2.0, 'O': 3.0}
    """
    counts: defaultdict[str, float] = defaultdict(float)
    if len(text) > 2000:
        return None
    if _PLAIN_FORMULA.fullmatch(text):
        for symbol, amount in _PLAIN_PART.findall(text):
            if symbol not in NUMBERS:
                return None
            counts["H" if symbol in "DT" else symbol] += float(amount or 1)
        return dict(counts) if sum(counts.values()) > 0 else None
    for word in text.replace(",", " ").split():
        place = 0
        while place < len(word):
            match = _FORMULA.match(word, place)
            if match is None or match.group(1) not in NUMBERS or match.group(2) == ".":
                return None
            symbol = "H" if match.group(1) in "DT" else match.group(1)
            counts[symbol] += float(match.group(2) or 1)
            place = match.end()
    return dict(counts) if counts and sum(counts.values()) > 0 else None


def composition_mismatch(formula: Mapping[str, float], sites: Mapping[str, float]) -> frozenset[str]:
    """Elements of which the cell does not hold as many atoms (within 1 %) as its number of formula units asks for.

    ``"*"`` stands for a cell that holds less than one formula unit: sites are missing, whatever their element.

    >>> sorted(composition_mismatch({"Fe": 2, "O": 3, "H": 1}, {"Fe": 8, "O": 12})), composition_mismatch({"P": 4}, {"P": 2})
    (['H'], frozenset({'*'}))
    """
    common = [symbol for symbol in formula if sites.get(symbol)]
    if not common:
        return frozenset(formula) | frozenset(sites)
    # The median of the ratios is the number of formula units as long as most elements agree.
    ratios = sorted(sites[symbol] / formula[symbol] for symbol in common if formula[symbol] > 0)
    units = ratios[len(ratios) // 2] if ratios else 1.0
    wrong = {"*"} if units < 0.99 else set()
    wrong |= {
        symbol for symbol in {*formula, *sites}
        if abs(sites.get(symbol, 0.0) - units * formula.get(symbol, 0.0)) > 0.01 * max(sites.get(symbol, 0.0), 1.0)
    }
    return frozenset(wrong)


def number_error(where: str, tag: str, text: str) -> ValueRangeError:
    """The error of a value that should be a finite number."""
    return ValueRangeError(where=f"{where}: {tag}", found=repr(text[:60]), expected="a finite number such as 5.431(2)",
                           remedy="Correct the value.")
