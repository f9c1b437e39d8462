"""The index of a GRIB file: every message, and every field of a message that holds several, by what it is and where it lies.

The messages are read with ecCodes itself: a library that first builds a data set out of a whole file must drop what does not
fit into one (several grids, level types, step types).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoembed.errors import GeoembedError, MissingFieldError, TruncatedFileError, UnreadableFileError
from geoembed.io.budget import check_budget
from geoembed.io.damage import damage
from geoembed.io.fields import level_name
from geoembed.io.grib_sections import GribField, split_fields
from geoembed.io.masks import BEYOND
from geoembed.io.units import Conversion, conversion

Float = NDArray[np.float64]

MISSING = 1e34
"""What ecCodes is told to put where a bitmap says that nothing was measured."""

_CURVILINEAR = frozenset({"lambert", "lambert_lam", "lambert_azimuthal_equal_area", "polar_stereographic", "albers", "rotated_ll",
                          "rotated_gg", "transverse_mercator"})
_CORNERS = ("latitudeOfFirstGridPoint", "latitudeOfLastGridPoint", "longitudeOfFirstGridPoint", "longitudeOfLastGridPoint")
_BARE = frozenset({"surface", "meanSea"})


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the points of a grid lie, lat and lon [P] or [H, W] of a curvilinear grid, or why that is not known."""

    kind: str
    lat: Float
    lon: Float
    error: GeoembedError | None = None
    note: str = ""


@dataclass(frozen=True)
class Message:
    """One field: its place (byte of its message, number within it), the grid and state it belongs to, its channel.

    ``state`` is (valid time, forecast step, member): the messages of one state and grid are one record. ``variant`` orders
    messages that agree in all of that (an analysis beside a forecast of step 0).
    """

    offset: int
    part: int
    grid: str
    state: tuple[str, str, int]
    base: str
    levels: tuple[float | str, ...]
    conversion: Conversion
    variant: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of its channel."""
        return level_name(self.base, self.levels)


class GribFile:
    """An open GRIB file: its messages, damaged ones included, and their values."""

    def __init__(self, eccodes: Any, file: FileIO, path: Path) -> None:
        self.eccodes, self.file, self.path = eccodes, file, path
        self.geometries: dict[str, Geometry] = {}
        self._grids: dict[bytes, str] = {}

    def messages(self) -> Iterator[Message | tuple[str, GeoembedError]]:
        """Every field in file order; (key, error) for what cannot be read."""
        end, number = 0, 0
        while True:
            key = f"message {number} at byte {end}"
            try:
                found = self._next()
            except GeoembedError as error:
                yield key, error
                if self.file.tell() <= end:
                    return
                end, number = self.file.tell(), number + 1
                continue
            if found is None:
                break
            end, number = self.file.tell(), number + 1
            yield from self._fields(*found, key)
        yield from self._rest(end, number)

    def _fields(self, offset: int, content: bytes, key: str) -> Iterator[Message | tuple[str, GeoembedError]]:
        """The fields of one message."""
        try:
            parts = split_fields(content, f"{self.path} [{key}]")
        except GeoembedError as error:
            yield key, error
            return
        for part, field in enumerate(parts):
            item: Message | tuple[str, GeoembedError]
            try:
                with self._handle(field, f"{self.path} [{key}]", "a readable GRIB header") as handle:
                    item = self._message(handle, offset, part, field.grid)
            except GeoembedError as error:
                item = key if len(parts) == 1 else f"{key}, field {part}", error
            yield item

    def values(self, messages: list[Message]) -> Iterator[tuple[Message, NDArray[np.float32], NDArray[np.bool_]]]:
        """(message, values, measured) of each message, in the shape of its grid, read in the order of the file."""
        at, parts = -1, list[GribField]()
        for message in sorted(messages, key=lambda m: (m.offset, m.part)):
            if message.offset != at:
                self.file.seek(message.offset)
                found = self._next()
                at, parts = message.offset, split_fields(found[1], self.path) if found else []
            with self._handle(parts[message.part], f"{self.path} [{message.name}]", "decodable GRIB values") as handle:
                check_budget(self.path, (int(self._get(handle, "numberOfDataPoints", int) or 0),), 8)
                self.eccodes.codes_set(handle, "missingValue", MISSING)
                values = self._straight(handle, self.eccodes.codes_get_values(handle))
                values = values.reshape(self.geometries[message.grid].lat.shape)
            measured = np.isfinite(values) & (np.abs(values) < BEYOND)
            yield message, np.where(measured, values, 0.0).astype(np.float32), measured

    @contextmanager
    def _handle(self, field: GribField, where: str, expected: str) -> Iterator[Any]:
        """The decoder of one message; what it raises is typed, whatever happens it is released."""
        with damage(where, expected, self.eccodes.CodesInternalError):
            handle = self.eccodes.codes_new_from_message(field.content)
            try:
                yield handle
            finally:
                self.eccodes.codes_release(handle)

    def _next(self) -> tuple[int, bytes] | None:
        """(byte where it starts, content) of the next message, None behind the last one."""
        self.eccodes.codes_grib_multi_support_off()  # another library may have turned it on; fields are split here
        with damage(self.path, "a whole GRIB message", self.eccodes.CodesInternalError):
            try:
                handle = self.eccodes.codes_grib_new_from_file(self.file)
            except self.eccodes.PrematureEndOfFileError as error:
                raise TruncatedFileError(where=self.path, found="the end of the file inside a message", expected="a whole message",
                                         remedy="Fetch the file again; the messages before are kept.") from error
            if handle is None:
                return None
            try:
                content: bytes = self.eccodes.codes_get_message(handle)
                return int(self.eccodes.codes_get(handle, "offset", float)), content
            finally:
                self.eccodes.codes_release(handle)

    def _straight(self, handle: Any, values: Float) -> Float:
        """Values in the order of the coordinates: ecCodes leaves rows that run to and fro as they are, but not their places."""
        rows, columns = self._rows_and_columns(handle)
        if not self._get(handle, "alternativeRowScanning", int) or rows * columns != len(values):
            return values
        field = values.reshape(rows, columns).copy()
        field[1::2] = field[1::2, ::-1]
        return field.ravel()

    def _rows_and_columns(self, handle: Any) -> tuple[int, int]:
        """Numbers of the slowly and of the quickly running index, 0 where a grid has none."""
        rows, columns = (int(self._get(handle, key, int) or 0) for key in ("Nj", "Ni"))
        return (columns, rows) if self._get(handle, "jPointsAreConsecutive", int) else (rows, columns)

    def _rest(self, end: int, number: int) -> Iterator[tuple[str, GeoembedError]]:
        """What follows the last message: padding, or the first bytes of one that was cut off."""
        self.file.seek(end)
        rest = self.file.read(1 << 16).lstrip(b"\0 \r\n")
        if rest and (rest.startswith(b"GRIB") or b"GRIB".startswith(rest)):
            error = TruncatedFileError(where=self.path, found=f"{len(rest)} bytes of a message after byte {end}",
                                       expected="a whole message", remedy="Fetch the file again; the messages before are kept.")
            yield f"message {number} at byte {end}", error

    def _get(self, handle: Any, key: str, kind: type | None = None) -> Any:
        """Value of a key, None where the message does not have it."""
        try:
            return self.eccodes.codes_get(handle, key, kind)
        except self.eccodes.CodesInternalError:
            return None

    def _message(self, handle: Any, offset: int, part: int, grid: bytes) -> Message:
        name = str(self._get(handle, "shortName"))
        if name in ("unknown", "~", "None"):
            name = "param" + ".".join(str(self._get(handle, key)) for key in ("discipline", "parameterCategory", "parameterNumber"))
        step_type, cf_name = str(self._get(handle, "stepType")), str(self._get(handle, "cfName"))
        units = str(self._get(handle, "units") or "")
        return Message(
            offset, part, self._grid(handle, grid), self._state(handle), name if step_type == "instant" else f"{name}:{step_type}",
            self._levels(handle, name), conversion(name, units, cf_name),
            tuple(str(self._get(handle, key)) for key in ("dataType", "stream", "expver", "dataDate", "dataTime")),
        )

    def _levels(self, handle: Any, name: str) -> tuple[float | str, ...]:
        kind, level = str(self._get(handle, "typeOfLevel")), float(self._get(handle, "level", float) or 0.0)
        levels: tuple[float | str, ...]
        if kind in ("isobaricInhPa", "isobaricInPa"):
            levels = (level if kind == "isobaricInhPa" else level / 100.0,)
        elif kind in _BARE or (kind == "heightAboveGround" and name[:1].isdigit()):  # 2t, 10u: the name says it
            levels = ()
        else:
            levels = (kind, level)
        extra = (self._get(handle, key, float) for key in ("directionNumber", "frequencyNumber", "percentileValue"))
        return (*levels, *(float(value) for value in extra if value is not None))

    def _state(self, handle: Any) -> tuple[str, str, int]:
        date, time = (int(self._get(handle, key, int) or 0) for key in ("validityDate", "validityTime"))
        valid = f"{date // 10000:04d}-{date // 100 % 100:02d}-{date % 100:02d}T{time // 100:02d}:{time % 100:02d}:00"
        step = str(self._get(handle, "endStep", str) or "0")
        if step.rstrip("smh") == "0":
            return valid, "", int(self._get(handle, "number", int) or 0)
        return valid, f"+{step}h" if step.isdigit() else f"+{step}", int(self._get(handle, "number", int) or 0)

    def _grid(self, handle: Any, section: bytes) -> str:
        """Key of the geometry of a message: equal for equal points, whatever the edition writes about them."""
        if section not in self._grids:
            geometry = self._geometry(handle, int(self._get(handle, "numberOfDataPoints", int) or 0))
            rounded = (np.round(axis, 3) + 0.0 for axis in (geometry.lat, geometry.lon % 360.0))
            content = b"".join(axis.tobytes() for axis in rounded) or section
            key = hashlib.sha256(content).hexdigest()[:12]
            self.geometries.setdefault(key, geometry)
            self._grids[section] = key
        return self._grids[section]

    def _geometry(self, handle: Any, points: int) -> Geometry:
        kind, none = str(self._get(handle, "gridType")), np.zeros(0)
        if kind == "sh":
            error: GeoembedError = UnreadableFileError(
                where=self.path, found="spectral coefficients (spherical harmonics)", expected="values at grid points",
                remedy="Transform them to a grid first, for example with cdo sp2gpl.")
            return Geometry(kind, none, none, error)
        if kind == "unstructured_grid":
            error = MissingFieldError(
                where=self.path, found=f"a grid of {points} cells, number {self._get(handle, 'numberOfGridUsed')}, UUID "
                f"{self._get(handle, 'uuidOfHGrid')}, without coordinates", expected="latitudes and longitudes of the cells",
                remedy="They lie in the grid file with that UUID; write fields and coordinates to one NetCDF file.")
            return Geometry(kind, none, none, error)
        check_budget(self.path, (points, 2 + len(self.geometries)), 16)
        corners = {key: self._get(handle, f"{key}InDegrees", float) for key in _CORNERS}
        if wild := {key: value for key, value in corners.items() if value is not None and not abs(value) <= 720.0}:
            error = UnreadableFileError(  # ecCodes would turn them into 0…360 by subtracting 360 again and again
                where=self.path, found=f"a grid with {wild}", expected="degrees", remedy="The message is damaged: fetch the file again.")
            return Geometry(kind, none, none, error)
        try:
            with damage(self.path, f"a grid of type {kind} that ecCodes can locate", self.eccodes.CodesInternalError):
                lat, lon = (self.eccodes.codes_get_double_array(handle, key) for key in ("latitudes", "longitudes"))
        except UnreadableFileError as located:
            return Geometry(kind, none, none, located)
        rows, columns = self._rows_and_columns(handle)
        note = ""
        if kind == "regular_ll" and rows * columns == points and rows > 2 and columns > 2:
            even_lat = _even(lat.reshape(rows, columns)).ravel()
            even_lon = _even(np.unwrap(np.unwrap(lon.reshape(rows, columns), axis=0, period=360.0), axis=1, period=360.0)).ravel()
            if max(np.abs(even_lat - lat).max(), np.abs((even_lon - lon + 180.0) % 360.0 - 180.0).max()) > 0.1:
                note = "the increments contradict the corners of the grid; placed by its corners"
                lat, lon = even_lat, even_lon
        if kind in _CURVILINEAR and rows * columns == points:
            lat, lon = lat.reshape(rows, columns), lon.reshape(rows, columns)
        return Geometry(kind, lat, lon, note=note)


def _even(field: Float) -> Float:
    """A coordinate [H, W] that varies along one axis, evenly spaced between its ends."""
    along = 0 if np.ptp(field[:, 0]) > np.ptp(field[0]) else 1
    line = np.take(field, 0, axis=1 - along)
    line = np.linspace(line[0], line[-1], len(line))
    return np.broadcast_to(line[:, None] if along == 0 else line, field.shape).copy()


@contextmanager
def opened(eccodes: Any, path: Path) -> Iterator[GribFile]:
    """A GRIB file; unbuffered, since ecCodes reads it by its descriptor."""
    with open(path, "rb", buffering=0) as file:
        yield GribFile(eccodes, file, path)
