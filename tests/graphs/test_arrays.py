"""What a field hands over becomes tensors of its own memory."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from geoembed.errors import ValueRangeError
from geoembed.graphs.arrays import as_tensor, require_finite, require_length

VALUES = [1.0, -2.5, 3.0]


@pytest.mark.parametrize("given", [
    VALUES, tuple(VALUES), np.array(VALUES), np.array(VALUES, dtype=">f4"), np.array(VALUES, dtype="<f2"), np.array(VALUES, dtype=object),
    pd.Series(VALUES), torch.tensor(VALUES), torch.tensor(VALUES, requires_grad=True), np.array([9.0, *VALUES, 9.0])[1:4],
    np.array([1.0, 0, -2.5, 0, 3.0])[::2], np.ma.array(VALUES, mask=False),
], ids=lambda value: type(value).__name__)
def test_any_container_of_numbers_becomes_the_same_tensor(given):
    tensor = as_tensor(given)
    assert tensor.tolist() == VALUES
    assert tensor.dtype == torch.float64
    assert not tensor.requires_grad


def test_the_tensor_of_an_array_has_its_own_memory():
    array = np.array(VALUES)
    as_tensor(array)[0] = 7.0
    assert array[0] == 1.0


def test_masked_entries_are_not_numbers():
    tensor = as_tensor(np.ma.array([1, 2, 3], mask=[False, True, False]))
    assert tensor.isnan().tolist() == [False, True, False]
    assert as_tensor(np.array([True, False]), torch.bool).tolist() == [True, False]


def test_the_first_number_that_is_not_finite_is_named_with_its_row():
    with pytest.raises(ValueRangeError, match=r"jet: eta: found -inf in row 2; expected finite numbers\. Leave the row out"):
        require_finite("jet", pt=torch.zeros(3), eta=torch.tensor([0.0, 1.0, -torch.inf]))


def test_a_column_of_another_length_is_named():
    require_length("jet", 2, pt=torch.zeros(2), charge=None)
    with pytest.raises(ValueRangeError, match=r"jet: eta: found 3 values; expected 2, one a row\. Give columns of equal length"):
        require_length("jet", 2, pt=torch.zeros(2), eta=torch.zeros(3))
