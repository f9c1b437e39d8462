"""Data sets of dimensions, variables and attributes (NetCDF, Zarr) as records: one time, and member, of one grid."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoembed.errors import EmptyGraphError, GeoembedError, MissingFieldError
from geoembed.io.budget import check_budget
from geoembed.io.coordinates import Horizontal, healpix_grid, horizontals, is_coordinate, is_record_dimension
from geoembed.io.damage import damage
from geoembed.io.fields import Channel, field_record, level_name
from geoembed.io.labels import level_values, record_labels, single_label
from geoembed.io.masks import unpack
from geoembed.io.projections import MAPPINGS
from geoembed.io.record import BadRecord, Record
from geoembed.io.units import conversion
from geoembed.schema import Scalar

BLOCK_BYTES = 32 << 20
"""Times are read in blocks of about this size."""

_SCAFFOLD = re.compile(  # parts of a grid that are no fields: positions, connectivity, bounds
    r"[xyz](Cell|Edge|Vertex)|indexTo\w+|\w+On(Cell|Edge|Vertex)|[xyz]_(rho|u|v|psi|vert)|\w+_(bnds|bounds|vertices|corners|connectivity)"
)
_SEA_MASK = re.compile(r"wet_[ce]|mask_(rho|u|v|psi)|[tuvf]mask")
_REFERENCES = ("bounds", "climatology", "grid_mapping", "coordinates", "node_coordinates", "face_coordinates", "edge_coordinates",
               "face_node_connectivity", "edge_node_connectivity", "face_face_connectivity", "face_edge_connectivity")


@dataclass
class _Group:
    """Variables on one grid with the same record dimensions, and those without, which join each record."""

    grid: Horizontal
    steps: tuple[str, ...]
    names: list[str]
    masks: list[str] = field(default_factory=list)


def dataset_records(dataset: Any, where: str | PathLike[str], prefix: str = "") -> Iterator[Record | BadRecord]:
    """Records of an undecoded xarray data set, grid by grid, times in order.

    All variables and levels on a grid become channels: ``t@500`` for level 500 of t. Dimensions of time, forecast step or
    member are walked through, read in blocks; other dimensions are levels.

    Raises:
        MissingFieldError: fields, but no latitudes and longitudes for any of them.
        EmptyGraphError: no field at all, or a time dimension of length 0.
    """
    with damage(where, "readable coordinates", zipfile.BadZipFile):
        groups, notes = _groups(dataset, where)
    for group in groups:
        grid_name = "/".join(group.grid.dims) + " " if len(groups) > 1 else ""
        if not prod(dataset.sizes[dim] for dim in group.steps):
            raise EmptyGraphError(where=where, found=f"0 steps along {', '.join(group.steps)}", expected="at least one",
                                  remedy="The file was opened for writing and never filled.")
        with damage(where, "readable times and levels", zipfile.BadZipFile):
            reader = _GroupReader(dataset, group, where, prefix + grid_name, notes)
        yield from reader.records()


def _groups(dataset: Any, where: str | PathLike[str]) -> tuple[list[_Group], dict[str, Scalar]]:
    grids, lost = horizontals(dataset), []
    groups: dict[tuple[int, tuple[str, ...]], _Group] = {}
    for name in _field_names(dataset):
        grid = _grid_of(dataset, name, grids)
        if grid is None:
            lost.append(name)
            continue
        steps = tuple(dim for dim in dataset[name].dims if dim not in grid.dims and is_record_dimension(dataset, dim))
        if grid.moving and grid.moving not in steps:
            steps = (grid.moving, *steps)
        groups.setdefault((id(grid), steps), _Group(grid, steps, [])).names.append(name)
    if not groups:
        raise _nothing(dataset, lost, where)
    used = {dim for group in groups.values() for name in group.names for dim in dataset[name].dims}
    lost = [name for name in lost if not used.issuperset(dataset[name].dims)]  # s-coordinates and the like belong to their fields
    notes: dict[str, Scalar] = {"without_coordinates": ", ".join(lost[:12])} if lost else {}
    return _joined(list(groups.values()), dataset), notes


def _nothing(dataset: Any, lost: list[str], where: str | PathLike[str]) -> GeoembedError:
    if not lost:
        return EmptyGraphError(
            where=where, found=f"no field among {', '.join(map(str, list(dataset.variables)[:12]))}",
            expected="a numeric variable on a grid", remedy="This is a mesh or index file: add it to the file of its fields.")
    shown = "; ".join(f"{name} ({', '.join(f'{dim} {dataset.sizes[dim]}' for dim in dataset[name].dims)})" for name in lost[:6])
    if mappings := sorted({str(v.attrs["grid_mapping_name"]) for v in dataset.variables.values() if "grid_mapping_name" in v.attrs}):
        return MissingFieldError(
            where=where, found=f"fields on the grid mapping {', '.join(mappings)}: {shown}",
            expected=f"two-dimensional latitudes and longitudes, or one of {', '.join(MAPPINGS)} with all its numbers and its two axes",
            remedy="Add latitudes and longitudes of the cells to the file (for example with pyproj), or complete the mapping.")
    return MissingFieldError(
        where=where, found=f"fields without coordinates: {shown}", expected="latitudes and longitudes of their cells",
        remedy="They lie in another file, that of the mesh or grid: merge both into one file (xarray.merge), then read that.",
    )


def _field_names(dataset: Any) -> list[str]:
    """Numeric variables that are neither coordinates nor scaffold nor flags."""
    referenced = {
        name for v in dataset.variables.values() for key in _REFERENCES for name in str(v.attrs.get(key, "")).replace(":", " ").split()
    }
    return [
        str(name) for name, v in dataset.variables.items()
        if v.dtype.kind in "iuf" and v.ndim and name not in dataset.dims and name not in referenced
        and not is_coordinate(str(name), v) and not _SCAFFOLD.fullmatch(str(name))
        and "cf_role" not in v.attrs and "flag_values" not in v.attrs and "flag_masks" not in v.attrs
        and " since " not in str(v.attrs.get("units", ""))
    ]


def _grid_of(dataset: Any, name: str, grids: list[Horizontal]) -> Horizontal | None:
    """The grid of a variable: the one its ``coordinates`` attribute names, else the first whose dimensions it has."""
    dims = set(dataset[name].dims)
    named = str(dataset[name].attrs.get("coordinates", "")).split()
    fitting = [grid for grid in grids if dims.issuperset(grid.dims)]
    chosen = [grid for grid in fitting if grid.names and set(grid.names) <= set(named)] or fitting
    if chosen:
        return chosen[0]
    healpix = next((grid for dim in dataset[name].dims[::-1] if (grid := healpix_grid(dataset, dim)) is not None), None)
    if healpix is not None:
        grids.append(healpix)  # the next variable on it shares it
    return healpix


def _joined(groups: list[_Group], dataset: Any) -> list[_Group]:
    """Variables without record dimensions join the groups of their grid; sea masks are taken out and kept aside."""
    stepped = [group for group in groups if group.steps]
    joined = list(stepped)
    for group in groups:
        if group.steps:
            continue
        hosts = [other for other in stepped if other.grid is group.grid]
        for host in hosts:
            host.names.extend(group.names)
        if not hosts:
            joined.append(group)
    for group in joined:
        group.masks = [name for name in group.names if _is_sea_mask(dataset, name)]
        if len(group.masks) < len(group.names):
            group.names = [name for name in group.names if name not in group.masks]
    fields = [group for group in joined if group.names != group.masks]
    return fields or joined


def _is_sea_mask(dataset: Any, name: str) -> bool:
    return bool(_SEA_MASK.fullmatch(name)) or dataset[name].attrs.get("standard_name") == "sea_binary_mask"


class _GroupReader:
    """Reads the variables of a group in blocks of time and cuts them into records."""

    def __init__(
        self, dataset: Any, group: _Group, where: str | PathLike[str], prefix: str, notes: Mapping[str, Scalar]
    ) -> None:
        self.dataset, self.group, self.where, self.prefix = dataset, group, where, prefix
        self.notes: dict[str, Scalar] = {**notes, **({"grid": group.grid.note} if group.grid.note else {})}
        self.labels = [record_labels(dataset, dim) for dim in group.steps]
        self.alone = prod(len(labels) for labels in self.labels) == 1
        self.conversions = {name: _conversion_of(dataset, name) for name in group.names}
        self.levels = {name: self._levels(name) for name in group.names}

    def records(self) -> Iterator[Record | BadRecord]:
        static = self._read([name for name in self.group.names if not self._has_steps(name)], 0, 1)
        with damage(self.where, "readable sea masks", zipfile.BadZipFile):
            masks = {name: unpack(self._raw(name, 0, 1)[0, ...], self.dataset[name].attrs)[0] > 0.5 for name in self.group.masks}
        moving = [name for name in self.group.names if self._has_steps(name)]
        count = len(self.labels[0]) if self.labels else 1
        size = max(sum(prod(self.dataset[name].shape) * self.dataset[name].dtype.itemsize for name in moving) // max(count, 1), 1)
        check_budget(self.where, (size,), 1)
        step = max(1, min(count, BLOCK_BYTES // size))
        for low in range(0, count, step):
            yield from self._block(moving, static, masks, low, min(low + step, count))

    def _block(
        self, moving: list[str], static: dict[str, NDArray[Any]], masks: dict[str, NDArray[np.bool_]], low: int, high: int
    ) -> Iterator[Record | BadRecord]:
        others = [range(len(labels)) for labels in self.labels[1:]]
        try:
            block = {**static, **self._read(moving, low, high)}
        except GeoembedError as error:
            if high - low > 1:  # one by one: the times beside a damaged chunk can be read
                for time in range(low, high):
                    yield from self._block(moving, static, masks, time, time + 1)
            else:
                yield from (BadRecord(self._key((low, *rest)), error) for rest in product(*others))
            return
        for index in product(range(low, high), *others):
            key = self._key(index)
            record: Record | BadRecord
            try:
                with damage(f"{self.where} [{key}]", "values and attributes that fit each other"):
                    record = self._record(key, block, masks, (index[0] - low, *index[1:]), index)
            except GeoembedError as error:
                record = BadRecord(key, error)
            yield record

    def _record(
        self, key: str, block: dict[str, NDArray[Any]], masks: dict[str, NDArray[np.bool_]], place: tuple[int, ...], index: tuple[int, ...]
    ) -> Record:
        channels: list[Channel] = []
        notes = dict(self.notes)
        for name, array in block.items():
            raw = array[place] if self._has_steps(name) and self.group.steps else array[0]
            values, measured, counts = unpack(raw, self.dataset[name].attrs)  # [C, H, W] or [C, P]
            for mask_name, wet in masks.items():
                if _masked(values, measured, wet):
                    notes["masked_by"] = mask_name
            for kind, found in counts.items():
                notes[kind] = int(str(notes.get(kind, 0))) + found
            channels += [
                Channel(name, levels, level_name(name, levels), values[i], measured[i], self.conversions[name])
                for i, levels in enumerate(self.levels[name])
            ]
        grid = self.group.grid
        at = index[self.group.steps.index(grid.moving)] if grid.moving else ...
        lat, lon = (grid.lat[at], grid.lon[at]) if grid.moving else (grid.lat, grid.lon)
        if not grid.dims:
            lat, lon = np.ravel(lat), np.ravel(lon)
        return field_record(key, channels, lat, lon, where=self.where, alone=self.alone, notes=notes)

    def _read(self, names: list[str], low: int, high: int) -> dict[str, NDArray[Any]]:
        """Raw values by variable: [T, …other steps, C, H, W] or [T, …, C, P]; T is 1 for variables without steps."""
        with damage(self.where, "readable data", zipfile.BadZipFile):
            return {name: self._raw(name, low, high) for name in names}

    def _raw(self, name: str, low: int, high: int) -> NDArray[Any]:
        variable, grid = self.dataset[name], self.group.grid
        stepped = self._has_steps(name) and bool(self.group.steps)
        steps = [dim for dim in self.group.steps if dim in variable.dims]
        check_budget(f"{self.where} [{name}]", tuple(variable.shape[variable.dims.index(dim)] for dim in variable.dims
                                                     if dim != (self.group.steps or ("",))[0]), variable.dtype.itemsize)
        cut = variable.isel({self.group.steps[0]: slice(low, high)}) if stepped else variable
        inner = [dim for dim in variable.dims if dim not in steps and dim not in grid.dims]
        array: NDArray[Any] = cut.transpose(*steps, *inner, *grid.dims).values
        lead = array.shape[: len(steps)] if stepped else (1,)
        extent = tuple(self.dataset.sizes[dim] for dim in grid.dims) or (1,)
        return array.reshape(*lead, -1, *extent)

    def _has_steps(self, name: str) -> bool:
        return bool(self.group.steps) and self.group.steps[0] in self.dataset[name].dims

    def _levels(self, name: str) -> list[tuple[float | str, ...]]:
        inner = [dim for dim in self.dataset[name].dims if dim not in self.group.steps and dim not in self.group.grid.dims]
        return list(product(*(level_values(self.dataset, dim) for dim in inner)))

    def _key(self, index: tuple[int, ...]) -> str:
        parts = [labels[i] for labels, i in zip(self.labels, index, strict=False)]
        return self.prefix + (" ".join(parts) or single_label(self.dataset))


def _conversion_of(dataset: Any, name: str) -> Any:
    attrs = dataset[name].attrs
    aliases = [str(attrs[key]) for key in ("standard_name", "long_name", "GRIB_shortName", "GRIB_cfName") if key in attrs]
    return conversion(name, str(attrs.get("units", "")), *aliases)


def _masked(values: NDArray[Any], measured: NDArray[np.bool_], wet: NDArray[np.bool_]) -> bool:
    """Clear ``measured`` on land where a sea mask [C or 1, …] fits and the land holds one number, which then is a filler."""
    if wet.shape[1:] != values.shape[1:] or wet.shape[0] not in (1, values.shape[0]) or wet.all():
        return False
    dry = np.broadcast_to(~wet, values.shape)
    filler = values[dry]
    if not (filler == filler[0]).all():
        return False
    measured &= ~dry
    return True
