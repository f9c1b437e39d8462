"""The elements of a POSCAR without a line of symbols (VASP 4): only from where somebody wrote them down, never invented."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from geoembed.io.cif_checks import NUMBERS, formula_counts

_LABEL = re.compile(r"[#!]?([A-Z][a-z]?)\d*")
_TITLE = re.compile(r"^\s*TITEL\s*=\s*\S+\s+([A-Z][a-z]?)", re.MULTILINE)
_LONGEST = 64 << 20  # bytes of a POTCAR


def symbols_of_atoms(counts: Sequence[int], after: Sequence[Sequence[str]], potcar: list[str], comment: str) -> tuple[list[str], str]:
    """(symbol of each atom, the note that says where it is from); empty where nobody says.

    In this order: the labels ``after`` the coordinates; ``potcar``, from which VASP itself takes them; a comment
    that lists one symbol a count; a comment that begins with the sum formula, if no two counts are equal.
    """
    ends = [match.group(1) if (match := _LABEL.fullmatch("".join(row))) else "" for row in after]  # Na, or "# Na1"
    if all(end in NUMBERS for end in ends):
        return ends, "symbols_from_line_ends"
    for symbols, note in ((potcar, "symbols_from_potcar"), (comment.split(), "symbols_from_comment"),
                          (_of_formula(comment, counts), "symbols_from_formula")):
        if len(symbols) == len(counts) and all(symbol in NUMBERS for symbol in symbols):
            return [symbol for symbol, count in zip(symbols, counts, strict=True) for _ in range(count)], note
    return [], ""


def of_potcar(path: Path | None) -> list[str]:
    """Elements of a POTCAR in its order; empty where there is none."""
    if path is None or not path.is_file() or path.stat().st_size > _LONGEST:
        return []
    return _TITLE.findall(path.read_text(encoding="utf-8", errors="replace"))


def _of_formula(comment: str, counts: Sequence[int]) -> list[str]:
    """Symbols in the order of the counts, of a comment such as ``Li4Mn2O6 (C2/m)``.

    A formula need not be written in the order of the file, so every element is known by its number of atoms.

    >>> _of_formula("Li4Mn2O6 (C2/m)", [2, 4, 6]), _of_formula("Li4Fe4O8", [4, 4, 8])
    (['Mn', 'Li', 'O'], [])
    """
    formula = formula_counts((comment.split() or [""])[0]) or {}
    by_count = {int(amount): symbol for symbol, amount in formula.items() if amount == int(amount)}
    if len(by_count) < len(formula) or sorted(by_count) != sorted(counts):
        return []
    return [by_count[count] for count in counts]
