"""Cells of tables: numbers, marks of missing values, and texts that are neither."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from geoembed.errors import ValueRangeError
from geoembed.io.forms.cells import MISSING, numbers, texts

ALL = np.arange(4, dtype=np.int64)


@pytest.mark.parametrize("mark", [*sorted(MISSING), "NaN", " - ", "NULL"])
def test_a_mark_of_a_missing_value_is_no_number_and_no_error(mark: str) -> None:
    column = numbers(pd.Series(["1", mark, "3", "4"], name="mag"))
    column.check(ALL, "star")
    assert np.isnan(column.values).tolist() == [False, True, False, False]


@pytest.mark.parametrize("kind", ["float32", "float64", "object", "category", "str"])
def test_a_sentinel_is_missing_in_every_type_of_a_column(kind: str) -> None:
    column = numbers(pd.Series([1.5, 99.99, -999.0, 2.5]).astype(kind), missing=(99.99, -999.0))
    assert np.isnan(column.values).tolist() == [False, True, True, False]


def test_numbers_are_a_copy() -> None:
    series = pd.Series([1.0, 2.0])
    numbers(series).values[0] = 7.0
    assert series[0] == 1.0


@pytest.mark.parametrize("cell", ["12x", "1,5", "0x10", "inf", "-Infinity", "1e999"])
def test_a_cell_that_is_no_finite_number_is_named(cell: str) -> None:
    column = numbers(pd.Series(["1", "2", cell, "4"], name="mag"))
    column.check(ALL[:2], "star")
    with pytest.raises(ValueRangeError, match=r"star: mag: found '.*' in row 2; .*Correct the cell"):
        column.check(ALL, "star")


def test_infinities_pass_where_a_mask_may_cover_them() -> None:
    column = numbers(pd.Series(["1", "inf"], name="flux"))
    column.check_texts(ALL[:2], "star")
    assert column.values.tolist() == [1.0, math.inf]


def test_texts_are_stripped_decoded_and_whole_numbers_have_no_point() -> None:
    assert texts(pd.Series([b" a ", "b", None, 7])).tolist() == ["a", "b", "", "7"]
    assert texts(pd.Series([1.0, np.nan, 3.0])).tolist() == ["1", "", "3"]
    assert texts(pd.Series([1.0, 2.5])).tolist() == ["1.0", "2.5"]
