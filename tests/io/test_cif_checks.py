"""The grammar of a CIF's values: operations, symbols, labels, formulas."""

from __future__ import annotations

from fractions import Fraction

import gemmi
import numpy as np
import pytest
from geoembed.errors import UnsafeFileError
from geoembed.io.cif_checks import (
    NUMBERS,
    SYMBOLS,
    composition_mismatch,
    formula_counts,
    species_of,
    species_of_label,
    symmetry_operation,
)
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition, Element

GROUPS = [1, 2, 14, 15, 62, 146, 166, 194, 225, 227, 230]


@pytest.mark.parametrize("number", GROUPS)
def test_every_operation_of_the_tables_is_read_as_gemmi_reads_it(number: int) -> None:
    for operation in gemmi.find_spacegroup_by_number(number).operations():
        rotation, translation, snapped = symmetry_operation(operation.triplet())
        np.testing.assert_array_equal(rotation * gemmi.Op.DEN, operation.rot)
        np.testing.assert_allclose(translation * gemmi.Op.DEN, operation.tran, atol=1e-12)
        assert not snapped


def test_decimals_near_a_twenty_fourth_are_meant_as_it() -> None:
    _, translation, snapped = symmetry_operation("0.6667+x, y+.3333, z+0.1234")
    np.testing.assert_array_equal(translation, [float(Fraction(2, 3)), float(Fraction(1, 3)), 0.1234])
    assert snapped


HOSTILE = ["hello,y,z", "x,y", "x,y,z,q", "x,x,z", "x**2,y,z", "2x,y,z", "x+1/0,y,z", "x,y,", "x y,,z", "__import__('os').system('id'),y,z",
           "x,y,z;" * 50, "x--1,y,z", "xy,y,z", "x,y,z+1e5", "lambda:x,y,z", ""]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_sum_of_axes_and_fractions_is_refused(text: str) -> None:
    with pytest.raises(UnsafeFileError, match="Correct the operation"):
        symmetry_operation(text)


@given(st.text(alphabet="xyzXYZ+-/0123456789., ()*_", max_size=30))
def test_any_text_is_an_isometry_of_the_lattice_or_an_error(text: str) -> None:
    try:
        rotation, translation, _ = symmetry_operation(text)
    except UnsafeFileError:
        return
    assert abs(np.linalg.det(rotation)) == pytest.approx(1)
    assert np.isfinite(translation).all()


def test_symbols_are_those_of_the_periodic_table() -> None:
    assert [NUMBERS[symbol] for symbol in SYMBOLS] == [Element(symbol).Z for symbol in SYMBOLS] == list(range(1, 119))


def test_a_type_symbol_is_an_element_with_or_without_a_charge_or_a_mixture() -> None:
    for text in ("Fe", "Fe3+", "Fe+3", "Fe0+", "Fe2.5+", "Fe1"):
        assert [one.number for one in species_of(text)] == [26], text
    assert [(one.number, one.share) for one in species_of("0.56(4)Mg + 0.29(3)Ta + 0.15Zr")] == [(12, 0.56), (73, 0.29), (40, 0.15)]
    for text in ("Xx", "NH3", "Wat", "OH", "H2O", "A", "Fe3+Ni2+", "", "0.5Xx + 0.5Fe"):
        assert species_of(text) == (), text


def test_upper_case_is_an_element_only_where_it_can_be_no_group() -> None:
    assert species_of("AL")[0] == (13, 1.0, False, True)
    assert species_of("CO") == ()
    assert species_of("CO", frozenset({"Co", "O"}))[0].number == 27
    assert species_of("CO", frozenset({"C", "O"})) == ()


def test_a_label_begins_with_an_element_and_the_formula_decides_between_two() -> None:
    def number(label: str, formula: str = "") -> int:
        found = species_of_label(label, frozenset(formula.split()))
        return found[0].number if found else 0

    assert [number(label) for label in ("Si1", "FeA", "OW", "O", "SiT2", "D1")] == [14, 26, 8, 8, 14, 1]
    assert (number("CA1", "C H O"), number("CA1", "Ca C O"), number("CA1")) == (6, 20, 20)
    assert (number("Ob1", "Si O"), number("Ob1", "Si")) == (8, 0)
    assert [number(label, "W O C") for label in ("Wat1", "Cg1", "Du", "Xx", "123", "?")] == [0] * 6


@given(st.dictionaries(st.sampled_from(SYMBOLS[:94]), st.integers(1, 40), min_size=1, max_size=5))
def test_a_formula_is_counted_as_pymatgen_counts_it(counts: dict[str, int]) -> None:
    text = " ".join(f"{symbol}{amount}" for symbol, amount in counts.items())
    assert formula_counts(text) == pytest.approx(dict(Composition(text).get_el_amt_dict()))


def test_a_formula_that_is_no_plain_sum_is_not_guessed() -> None:
    assert formula_counts("(Sr0.7 Y0.3) Co O2.62") is None
    assert formula_counts("?") is None
    assert formula_counts("C6 D6") == {"C": 6.0, "H": 6.0}


def test_a_cell_that_misses_atoms_of_the_formula_is_found() -> None:
    formula = {"Na": 1.0, "Cl": 1.0}
    assert composition_mismatch(formula, {"Na": 4.0, "Cl": 4.0}) == frozenset()
    assert composition_mismatch({"Fe": 2.0, "O": 3.0, "H": 1.0}, {"Fe": 8.0, "O": 12.0}) == {"H"}
    assert composition_mismatch({"P": 4.0}, {"P": 2.0}) == {"*"}
    assert composition_mismatch(formula, {"K": 4.0}) == {"Na", "Cl", "K"}
