"""Units: conversions in closed form, ranges that catch mistakes, sentinels that are believed only where they are impossible."""

import numpy as np
import pytest
from geoembed.errors import ValueRangeError
from geoembed.io.units import QUANTITIES, UNITS, conversion
from hypothesis import given
from hypothesis import strategies as st


def applied(name, unit, values, *aliases):
    values = np.asarray(values, np.float64)
    measured = np.ones(values.shape, bool)
    converted, sentinels = conversion(name, unit, *aliases).apply(values, measured, "test")
    return converted, measured, sentinels


@pytest.mark.parametrize(("name", "unit", "value", "expected"), [
    ("t2m", "degC", 20.0, 293.15), ("t2m", "Celsius", 20.0, 293.15), ("t2m", "°C", 20.0, 293.15), ("t2m", "degF", 68.0, 293.15),
    ("msl", "hPa", 1013.25, 101325.0), ("msl", "millibars", 1013.25, 101325.0), ("msl", "kPa", 101.325, 101325.0),
    ("u", "knots", 1.0, 0.514444), ("u", "m s**-1", 3.0, 3.0), ("u", "km/h", 36.0, 10.0), ("q", "g kg-1", 8.0, 0.008),
    ("z", "m**2 s**-2", 54_000.0, 54_000.0), ("something", "furlong", 5.0, 5.0),
])
def test_values_become_si(name, unit, value, expected):
    assert applied(name, unit, [value])[0][0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("name", "aliases"), [("t_anomaly", ()), ("x", ("air_temperature difference",)), ("t", ("Standard deviation of t",))])
def test_difference_of_temperatures_has_no_offset_and_no_range(name, aliases):
    assert applied(name, "degC", [-3.0], *aliases)[0][0] == -3.0


@pytest.mark.parametrize(("name", "unit", "value"), [
    ("msl", "Pa", 1013.0), ("msl", "hPa", 101300.0), ("t2m", "K", 15.0), ("t2m", "degC", 288.0), ("r", "%", 5000.0),
    ("q", "kg kg-1", 8.0), ("u10", "m s-1", -999.0 + 1), ("gh", "gpm", 5e6),
])
def test_wrong_unit_is_refused_with_the_range_in_the_declared_one(name, unit, value):
    with pytest.raises(ValueRangeError, match="Correct the units attribute") as caught:
        applied(name, unit, [value])
    assert unit in caught.value.expected


def test_range_is_told_in_the_unit_that_the_file_declares():
    with pytest.raises(ValueRangeError, match=r"expected -173\.15…126\.85 degC"):
        applied("t2m", "degC", [500.0])


@pytest.mark.parametrize("sentinel", [-9999.0, 9999.0, -999.0, 99999.0, 1e20, -1e10])
def test_impossible_sentinel_is_missing(sentinel):
    _, measured, count = applied("t2m", "degC", [20.0, sentinel])
    assert measured.tolist() == [True, False]
    assert count == 1


def test_possible_number_is_never_taken_for_a_sentinel():
    _, measured, count = applied("r", "%", [99.0, 99.9])
    assert measured.all()
    assert count == 0
    assert applied("elevation", "m", [9999.0])[1].all()  # no quantity with a range


@given(st.sampled_from(QUANTITIES), st.floats(0, 1), st.data())
def test_every_value_inside_the_range_passes_in_every_unit_of_the_quantity(quantity, share, data):
    name = data.draw(st.sampled_from(sorted(quantity.names)))
    unit, (_, factor, offset) = data.draw(st.sampled_from([item for item in UNITS.items() if item[1][0] == quantity.unit]))
    si = quantity.low + (0.001 + 0.998 * share) * (quantity.high - quantity.low)
    converted, measured, _ = applied(name, unit, [(si - offset) / factor])
    assert converted[0] == pytest.approx(si, rel=1e-9, abs=1e-9)
    assert measured.all()


def test_unmeasured_values_are_not_judged():
    values, measured = np.array([288.0, 1e6]), np.array([True, False])
    conversion("t2m", "K").apply(values, measured, "test")
    assert measured.tolist() == [True, False]
