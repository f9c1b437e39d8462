"""Fields of one grid at one time, whatever file they come from: channels in SI units, checked, ordered, as one sphere graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoembed.errors import BudgetError, EmptyGraphError
from geoembed.graphs.sphere import mesh_level, sphere_graph
from geoembed.io.record import Record
from geoembed.io.units import Conversion
from geoembed.schema import Graph, Scalar

Float = NDArray[np.float64]

_UNWRITTEN = 64 << 20


@dataclass(frozen=True, eq=False)
class Channel:
    """One variable on one level: values and measured [H, W] or [P], still in the declared unit.

    ``levels`` place it among the channels of its variable ``base``; ``name`` is what a person reads: ``t@500``.
    """

    base: str
    levels: tuple[float | str, ...]
    name: str
    values: NDArray[Any]
    measured: NDArray[np.bool_]
    conversion: Conversion

    @property
    def order(self) -> tuple[Any, ...]:
        """By variable, then by level as a number: the same in every format and whatever the order of a file."""
        return self.base, tuple((isinstance(level, str), level) for level in self.levels), self.name


@dataclass(frozen=True, eq=False)
class Fields:
    """Payload of a record: ``values``, ``measured`` [C, H, W] on axes ``lat`` [H], ``lon`` [W], or [C, P] at points."""

    values: NDArray[np.float32]
    measured: NDArray[np.bool_]
    lat: Float
    lon: Float
    variables: tuple[str, ...]


def field_record(
    key: str, channels: Iterable[Channel], lat: Float, lon: Float, *, where: str | PathLike[str], alone: bool,
    notes: Mapping[str, Scalar] | None = None,
) -> Record:
    """Record of the channels of one grid and time, ``lat``, ``lon`` as axes or of the shape of the channels, in degrees.

    A channel without a measured value is dropped and noted where the record is ``alone`` in its file; among others it
    stays, unmeasured, so that all records of the file have the same channels. Points without valid coordinates are left out
    and counted.

    Raises:
        EmptyGraphError: nothing measured, or no point with coordinates.
        ValueRangeError: values that cannot be what their name and unit say.
    """
    ordered = sorted(channels, key=lambda channel: channel.order)
    counts: dict[str, Scalar] = dict(notes or {})
    stacked, masks, empty = [], [], []
    for channel in ordered:
        measured = channel.measured.copy()
        values, sentinels = channel.conversion.apply(channel.values, measured, f"{where} [{key}]")
        if sentinels:
            counts["undeclared_sentinels"] = int(str(counts.get("undeclared_sentinels", 0))) + sentinels
        stacked.append(np.where(measured, values, 0).astype(np.float32))
        masks.append(measured)
        if not measured.any():
            empty.append(channel.name)
    kept = [i for i, channel in enumerate(ordered) if not (alone and channel.name in empty)]
    if len(empty) == len(ordered):
        raise EmptyGraphError(where=f"{where} [{key}]", found=f"no measured value in {_few([c.name for c in ordered])}",
                              expected="at least one", remedy="Leave the record out: every value is missing.")
    if empty:
        counts["all_missing"] = _few(empty)
    if changed := [f"{c.base}: {c.conversion.declared} → {c.conversion.unit}" for c in ordered if c.conversion.changes]:
        counts["units_converted"] = _few(list(dict.fromkeys(changed)))
    values, measured = np.stack([stacked[i] for i in kept]), np.stack([masks[i] for i in kept])
    if lat.shape == values.shape[1:]:
        values, measured, lat, lon = _placed(values, measured, lat, lon, counts, f"{where} [{key}]")
    if missing := int(measured.size - measured.sum()):
        counts["missing"] = missing
    return Record(key, Fields(values, measured, lat, lon, tuple(ordered[i].name for i in kept)), counts)


def _placed(
    values: NDArray[np.float32], measured: NDArray[np.bool_], lat: Float, lon: Float, counts: dict[str, Scalar], where: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_], Float, Float]:
    """Points with coordinates: [C, P], lat [P], lon [P] where some have none, else everything in its shape."""
    # NaN compares False, and sentinels such as -1e10 lie outside.
    valid = (np.abs(lat) <= 90.0 + 1e-6) & (lon >= -360.0 - 1e-6) & (lon <= 720.0)
    if left_out := int(valid.size - valid.sum()):
        counts["points_without_coordinates"] = left_out
    else:
        return values, measured, np.clip(lat, -90.0, 90.0), lon
    values, measured = values[:, valid], measured[:, valid]
    if not measured.any():
        raise EmptyGraphError(where=where, found=f"{left_out} points without valid coordinates, none measured with",
                              expected="latitudes in ±90°, longitudes in −360…720°", remedy="Correct the coordinates.")
    return values, measured, np.clip(lat[valid], -90.0, 90.0), lon[valid]


def field_graph(record: Record) -> Graph:
    """The sphere graph of a record made by :func:`field_record`, on the mesh level that its grid asks for, at most 5."""
    fields: Fields = record.payload
    level = mesh_level(fields.lat, fields.lon, fields.values.shape[1:])
    return sphere_graph(fields.values, lat=fields.lat, lon=fields.lon, level=level, measured=fields.measured,
                        variables=fields.variables)


def check_written(where: str | PathLike[str], declared: int, written: int) -> None:
    """Raise :class:`BudgetError` where an array declares much (over 64 MiB, 100 times) more bytes than were ever written.

    A few bytes can so claim millions of times that all hold the fill value.
    """
    if declared - written > _UNWRITTEN and declared > 100 * written:
        raise BudgetError(where=where, found=f"{declared / 2**20:.0f} MiB declared, {written / 2**20:.1f} MiB written",
                          expected="an array that was filled", remedy="Write only the part that holds data.")


def level_name(base: str, levels: Sequence[float | str]) -> str:
    """Name of a channel.

    >>> level_name("t", [500.0]), level_name("msl", [])
    ('t@500', 'msl')
    """
    return base + ("@" + ",".join(level if isinstance(level, str) else f"{level:g}" for level in levels) if levels else "")


def _few(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
