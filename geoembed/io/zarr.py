"""Zarr 2 and 3, as a folder or zipped: fields on any grid of the sphere, one record a time."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from geoembed.errors import EmptyGraphError, GeoembedError, MissingFieldError
from geoembed.io.damage import damage
from geoembed.io.datasets import dataset_records
from geoembed.io.extras import require
from geoembed.io.fields import field_graph
from geoembed.io.record import BadRecord, Record
from geoembed.io.zarr_metadata import METADATA, ZarrStore
from geoembed.schema import Graph


class Zarr:
    """Fields in Zarr stores of version 2 and 3 (``name.zarr`` folders, ``name.zarr.zip``); see :class:`NetCdf` for what is read.

    Metadata are read first: a store whose arrays claim more than its size can hold, or whose codecs rebuild Python objects,
    is refused before a chunk is touched. Chunks that were never written hold the fill value; their number is noted.
    """

    kind = "sphere"
    suffixes: tuple[str, ...] = (".zarr", ".zarr.zip")

    def can_open(self, head: bytes, name: str) -> bool:
        """Folders by their suffix, zip archives by it or by a first member that is metadata of Zarr."""
        if not head:
            return name.endswith(".zarr")
        member = head[30 : 30 + int.from_bytes(head[26:28], "little")].decode("utf-8", "replace")
        return head.startswith(b"PK\x03\x04") and (name.endswith(".zarr.zip") or member.rpartition("/")[2] in METADATA)

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """Records of each grid of each group, times in order."""
        layout = ZarrStore(path)
        groups = layout.check()
        xarray, storage = require("xarray", "climate"), require("zarr.storage", "climate")
        with damage(path, "a Zarr store", zipfile.BadZipFile):
            store = storage.LocalStore(path, read_only=True) if path.is_dir() else storage.ZipStore(path, mode="r")
        failures: list[GeoembedError] = []
        yielded = False
        for group, missing in groups.items():
            with damage(path, "arrays that name their dimensions, as xarray writes them", zipfile.BadZipFile):
                dataset = xarray.open_zarr(store, group=group or None, consolidated=False, decode_cf=False, chunks=None)
            prefix = f"{group.removeprefix(layout.root).strip('/')} " if group != layout.root else ""
            try:
                for record in dataset_records(dataset, path, prefix):
                    yielded = True
                    yield _noted(record, missing)
            except (EmptyGraphError, MissingFieldError) as error:  # a group of coordinates beside those of fields
                failures.append(error)
        if not yielded:
            raise failures[0]

    def to_graph(self, record: Record) -> Graph:
        """The sphere graph of one time of one grid."""
        return field_graph(record)


def _noted(record: Record | BadRecord, missing: int) -> Record | BadRecord:
    if missing and isinstance(record, Record):
        return Record(record.key, record.payload, {**record.notes, "chunks_not_written": missing})
    return record
