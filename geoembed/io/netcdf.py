"""NetCDF, classic and version 4: fields on any grid of the sphere, one record a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any

from geoembed.errors import (
    BudgetError,
    EmptyGraphError,
    GeoembedError,
    MissingFieldError,
    TruncatedFileError,
    UnreadableFileError,
    UnsafeFileError,
)
from geoembed.io.coordinates import is_coordinate
from geoembed.io.damage import check_ratio, damage
from geoembed.io.datasets import dataset_records
from geoembed.io.extras import require
from geoembed.io.fields import check_written, field_graph
from geoembed.io.netcdf_classic import MAGIC, check_classic
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Graph

HDF5 = b"\x89HDF\r\n\x1a\n"
MOST_OBJECTS = 100_000


class NetCdf:
    """Fields in NetCDF: regular, Gaussian, curvilinear and unstructured grids, stations, swaths, UGRID meshes, HEALPix maps.

    All variables and levels of a grid are channels of one graph, in SI units; each time (and member) is a record, read in
    blocks. Missing values are those that the file declares, the default fills of NetCDF, and numbers beyond 1e30; on
    ocean grids with a sea mask also the land. Groups are read as data sets of their own that inherit coordinates.
    """

    kind = "sphere"
    suffixes: tuple[str, ...] = (".nc", ".nc4", ".nc3", ".cdf", ".ncf", ".netcdf", ".ug")

    def can_open(self, head: bytes, name: str) -> bool:
        """By the magic of classic files; HDF5 where its properties or the suffix say that it is NetCDF."""
        return head.startswith(MAGIC) or (head.startswith(HDF5) and (b"_NCProperties" in head or name.endswith(self.suffixes)))

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """Records of each grid of each group, times in order; keys are times, prefixed where there are several grids."""
        with open(path, "rb") as file:
            classic = file.read(4) in MAGIC
        stored = path.stat().st_size
        if classic:
            check_ratio(path, check_classic(path), stored)
        else:
            _check_hdf5(path, stored)
        yielded, failures = False, []
        for group, dataset in _datasets(path):
            prefix = f"{group.strip('/')} " if group != "/" else ""
            try:
                for record in dataset_records(dataset, path, prefix):
                    yielded = True
                    yield record
            except (EmptyGraphError, MissingFieldError) as error:  # a group of coordinates or settings beside those of fields
                failures.append(error)
        if not yielded:
            raise failures[0] if failures else _empty(path)

    def to_graph(self, record: Record) -> Graph:
        """The sphere graph of one time of one grid."""
        return field_graph(record)


def _empty(path: Path) -> GeoembedError:
    return EmptyGraphError(where=path, found="no variable in any group", expected="a field on a grid",
                           remedy="The file was opened for writing and never filled.")


def _datasets(path: Path) -> Iterator[tuple[str, Any]]:
    """(name, undecoded data set) of each group with variables, completed by the coordinates of its parents and siblings."""
    xarray = require("xarray", "climate")
    with ExitStack() as opened:
        datasets = {}
        for group in _groups(path):
            with damage(path, "a readable NetCDF group"):
                dataset = xarray.open_dataset(path, engine="netcdf4", group=group, decode_cf=False, cache=False)
                datasets[group] = opened.enter_context(dataset)
        for group, dataset in datasets.items():
            if dataset.variables:
                with damage(path, "dimensions that agree between groups"):
                    completed = dataset.assign(_inherited(group, datasets))
                yield group, completed


def _inherited(group: str, datasets: Mapping[str, Any]) -> dict[str, Any]:
    """Variables of parent groups, and latitudes and longitudes of any other (swaths keep them apart), that fit the group's own."""
    own = datasets[group]
    found: dict[str, Any] = {}
    for other, dataset in datasets.items():
        parent = other == "/" or group.startswith(f"{other}/")
        for name, variable in dataset.variables.items():
            fits = variable.ndim > 0 and all(own.sizes.get(dim) == size for dim, size in variable.sizes.items())
            if name not in own.variables and other != group and fits and (parent or is_coordinate(name, variable)):
                found[name] = variable
    return found


def _groups(path: Path) -> list[str]:
    """Paths of all groups, the root first; those inside a classic file are none."""
    netcdf = require("netCDF4", "climate")
    with damage(path, "a NetCDF file"), netcdf.Dataset(path, "r") as file:
        found, stack = [], [file]
        while stack:
            node = stack.pop()
            found.append(node.path)
            stack.extend(reversed(list(node.groups.values())))
            if len(found) > MOST_OBJECTS:
                raise BudgetError(where=path, found=f"over {MOST_OBJECTS} groups", expected=f"at most {MOST_OBJECTS}",
                                  remedy="Split the file.")
    return found


def _check_hdf5(path: Path, stored: int) -> None:
    """Refuse, before anything is read, links to other files and more data than the file can hold."""
    h5py = require("h5py", "climate")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        if "truncated" in str(error):
            raise TruncatedFileError(where=path, found=str(error)[:200], expected="a file as long as its header states",
                                     remedy="Fetch or write the file again.") from error
        raise UnreadableFileError(where=path, found=str(error)[:200], expected="a NetCDF file",
                                  remedy="Fetch or write the file again.") from error
    with file, damage(path, "readable NetCDF objects"):
        declared, objects, stack, seen = 0, 0, [file], {h5py.h5o.get_info(file.id).addr}
        while stack:
            node = stack.pop()
            for key in node:
                objects += 1
                if objects > MOST_OBJECTS:
                    raise BudgetError(where=path, found=f"over {MOST_OBJECTS} objects", expected=f"at most {MOST_OBJECTS}",
                                      remedy="Split the file.")
                if isinstance(node.get(key, getlink=True), h5py.ExternalLink):
                    raise _elsewhere(path, key)
                item = node[key]
                if isinstance(item, h5py.Group):
                    address = h5py.h5o.get_info(item.id).addr
                    if address in seen:  # netCDF-C would go round for ever
                        raise UnreadableFileError(where=f"{path} [{key}]", found="a group that is linked from two places",
                                                  expected="a tree of groups", remedy="Fetch or write the file again.")
                    seen.add(address)
                    stack.append(item)
                elif isinstance(item, h5py.Dataset) and item.shape is not None:
                    if item.is_virtual or item.external:
                        raise _elsewhere(path, key)
                    size = int(item.size) * item.dtype.itemsize
                    written = item.id.get_storage_size()
                    if item.chunks and written:
                        written = item.id.get_num_chunks() * prod(item.chunks) * item.dtype.itemsize
                    check_written(f"{path} [{key}]", size, written)
                    declared += size
    check_ratio(path, declared, stored)


def _elsewhere(path: Path, key: str) -> UnsafeFileError:
    return UnsafeFileError(where=f"{path} [{key}]", found="data or a link in another file", expected="data inside the file",
                           remedy="Copy the data into one file (nccopy, h5repack).")
