"""Units of atmosphere and ocean: to SI, and whether values can be what their name and declared unit say.

A wrong unit is not repaired: 1013 "Pa" at sea level is refused with a remedy, 15 degC becomes 288.15 K and is noted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import PathLike
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoembed.errors import ValueRangeError

_SPELLINGS: tuple[tuple[str, float, float, str], ...] = (  # SI unit, factor, offset, how the unit is written (folded, see _fold)
    ("K", 1.0, 0.0, "k kelvin kelvins degk degreekelvin degreeskelvin"),
    ("K", 1.0, 273.15, "c degc °c ºc celsius degcelsius degreec degreesc degreecelsius degreescelsius"),
    ("K", 5 / 9, 459.67 * 5 / 9, "f degf °f fahrenheit degreef degreesf degreefahrenheit degreesfahrenheit"),
    ("Pa", 1.0, 0.0, "pa pascal pascals"),
    ("Pa", 100.0, 0.0, "hpa hectopascal hectopascals mb mbar mbars millibar millibars"),
    ("Pa", 1000.0, 0.0, "kpa kilopascal kilopascals"),
    ("m s-1", 1.0, 0.0, "ms-1 m/s ms**-1 ms^-1 m.s-1 m/sec msec-1 metersecond-1 meterspersecond meters/second"),
    ("m s-1", 1852 / 3600, 0.0, "knot knots kt kts"),
    ("m s-1", 1 / 3.6, 0.0, "km/h kmh-1 kmhr-1 kmph"),
    ("kg kg-1", 1.0, 0.0, "kgkg-1 kg/kg kgkg**-1 kgkg^-1"),
    ("kg kg-1", 1e-3, 0.0, "gkg-1 g/kg gkg**-1 gkg^-1"),
    ("%", 1.0, 0.0, "% percent"),
    ("m2 s-2", 1.0, 0.0, "m2s-2 m**2s**-2 m^2s^-2 m2/s2 m^2/s^2"),
    ("m", 1.0, 0.0, "m gpm meter meters metre metres geopotentialmeter"),
)

UNITS: MappingProxyType[str, tuple[str, float, float]] = MappingProxyType(
    {spelling: (unit, factor, offset) for unit, factor, offset, text in _SPELLINGS for spelling in text.split()}
)
"""Folded spelling of a unit -> (SI unit, factor, offset): SI value = factor · value + offset."""


@dataclass(frozen=True)
class Quantity:
    """What is known by name: the SI unit in which the range holds, and the range; wide enough for extremes, not for mistakes."""

    names: frozenset[str]
    unit: str
    low: float
    high: float


def _quantity(unit: str, low: float, high: float, names: str) -> Quantity:
    return Quantity(frozenset(names.split()), unit, low, high)


QUANTITIES = (
    _quantity("K", 100.0, 400.0, """air_temperature surface_temperature sea_surface_temperature sea_water_temperature
        sea_water_potential_temperature sea_water_conservative_temperature dew_point_temperature soil_temperature
        t 2t t2m t2 tas tasmin tasmax ta temp temperature tmp sst tos thetao skt ts d2m 2d td dpt stl1 stl2 stl3 stl4
        toce sosstsst votemper air mx2t mn2t"""),
    _quantity("Pa", 80_000.0, 112_000.0, """air_pressure_at_mean_sea_level air_pressure_at_sea_level mean_sea_level_pressure
        sea_level_pressure msl mslp prmsl psl slp mslet pmsl"""),
    _quantity("Pa", 30_000.0, 112_000.0, "surface_air_pressure surface_pressure sp ps psfc"),
    _quantity("Pa", 0.0, 112_000.0, "air_pressure pressure pres"),
    _quantity("m s-1", -250.0, 250.0, """eastward_wind northward_wind wind_speed x_wind y_wind u v ua va 10u 10v u10 v10 uas vas
        uwnd vwnd ugrd vgrd sfcwind 10si wind_speed_of_gust gust 10fg"""),
    _quantity("kg kg-1", -0.01, 0.2, "specific_humidity q hus huss 2sh"),
    _quantity("%", -50.0, 250.0, "relative_humidity r rh hur hurs 2r rhum"),
    _quantity("m2 s-2", -2e4, 1e6, "geopotential z phi"),
    _quantity("m", -2e3, 1.2e5, "geopotential_height gh zg hgt"),
)

SENTINELS = np.array([
    sign * value for sign in (-1.0, 1.0)
    for value in (99.0, 99.9, 999.0, 999.9, 9999.0, 9999.9, 99999.0, 999999.0, 8888.0, 32767.0, 32768.0, 1e10, 1e15, 1e20)
])
"""Numbers that stand for "missing" by custom; believed only where the value is impossible anyway."""

_DIFFERENCE = re.compile(r"anom|diff|increment|tendenc|std|stdev|deviation|error|rmse|bias|spread|uncertain", re.IGNORECASE)


@dataclass(frozen=True)
class Conversion:
    """How the values of one variable become SI values.

    Attributes:
        name: of the variable, for messages.
        declared: the unit as the file writes it.
        unit: SI unit, or the declared one where it is not known.
        factor, offset: SI value = factor · value + offset.
        quantity: the range that values must keep, where name and unit are known.
    """

    name: str
    declared: str
    unit: str
    factor: float = 1.0
    offset: float = 0.0
    quantity: Quantity | None = None

    @property
    def changes(self) -> bool:
        """Whether values change."""
        return self.factor != 1.0 or self.offset != 0.0

    def apply(self, values: NDArray[Any], measured: NDArray[np.bool_], where: str | PathLike[str]) -> tuple[NDArray[Any], int]:
        """(SI values, number of sentinels); ``measured`` is cleared in place at sentinels.

        Raises:
            ValueRangeError: a measured value outside the physical range of the quantity in its declared unit.
        """
        converted = values * self.factor + self.offset if self.changes else values
        if self.quantity is None:
            return converted, 0
        outside = measured & ((converted < self.quantity.low) | (converted > self.quantity.high))
        if not outside.any():
            return converted, 0
        custom = outside & np.isin(values, SENTINELS.astype(values.dtype))
        wrong = outside & ~custom
        if wrong.any():
            raise self._impossible(values[wrong], where)
        measured &= ~custom
        return converted, int(custom.sum())

    def _impossible(self, values: NDArray[Any], where: str | PathLike[str]) -> ValueRangeError:
        bounds = (self.quantity.low, self.quantity.high) if self.quantity else (-np.inf, np.inf)
        low, high = ((bound - self.offset) / self.factor for bound in bounds)
        return ValueRangeError(
            where=f"{where} [{self.name}]", found=f"{len(values)} value(s) such as {float(values[0]):g} {self.declared}",
            expected=f"{low:g}…{high:g} {self.declared}",
            remedy="Correct the units attribute (hPa or Pa, degC or K?), or give missing values a _FillValue.",
        )


def conversion(name: str, unit: str, *aliases: str) -> Conversion:
    """Conversion of a variable ``name`` with the declared ``unit``; ``aliases``: its standard name, long name and the like.

    Differences (anomalies, deviations, errors) are scaled without an offset and have no range.

    >>> conversion("t2m", "degC").unit, conversion("t2m", "degC").offset
    ('K', 273.15)
    >>> conversion("t2m_anomaly", "degC").offset
    0.0
    """
    known = UNITS.get(_fold(unit))
    if known is None:
        return Conversion(name, unit, unit)
    si, factor, offset = known
    if any(_DIFFERENCE.search(text) for text in (name, *aliases)):
        return Conversion(name, unit, si, factor, 0.0)
    folded = {text.strip().lower().replace(" ", "_") for text in (name, *aliases)}
    quantity = next((q for q in QUANTITIES if q.unit == si and folded & q.names), None)
    return Conversion(name, unit, si, factor, offset, quantity)


def _fold(unit: str) -> str:
    return re.sub(r"[\s_]+", "", unit.strip().lower())
