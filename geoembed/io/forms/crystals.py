"""Tables of crystals: one structure a row, as CIF text, POSCAR text or a pymatgen dictionary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pandas as pd

from geoembed.errors import EmptyGraphError, GeoembedError
from geoembed.io.cif import cif_records
from geoembed.io.poscar import poscar_records
from geoembed.io.pymatgen_json import structure_record
from geoembed.io.record import BadRecord, Record
from geoembed.io.sites import Sites
from geoembed.io.tables import find
from geoembed.schema import Graph

_COLUMNS = {
    "cif": ("cif", "cif_string", "cif_text"), "poscar": ("poscar",), "structure": ("structure", "structure_json", "structure_dict"),
    "id": ("material_id", "mp_id", "mbid", "jid", "task_id", "entry_id", "id"),
}


def _from_cif(key: str, value: object, where: str) -> Record | BadRecord:
    """The first structure of the text; a row is one record."""
    return next(cif_records(str(value), where))


def _from_poscar(key: str, value: object, where: str) -> Record | BadRecord:
    return next(poscar_records(iter(str(value).splitlines(keepends=True)), where, key))


_READ: Mapping[str, Callable[[str, object, str], Record | BadRecord]] = MappingProxyType(
    {"cif": _from_cif, "poscar": _from_poscar, "structure": structure_record}
)


class CrystalTable:
    """One crystal a row; the key is the row's identifier, else its number from 0. Other columns are targets, never inputs."""

    kind, rows = "crystal", True
    columns = "cif, poscar or structure (one crystal a row), and material_id or id for the key"

    def matches(self, columns: Sequence[str]) -> bool:
        """Whether one of the columns holds structures."""
        return bool(set(find(columns, _COLUMNS)) - {"id"})

    def records(self, table: pd.DataFrame, start: int, name: str) -> Iterator[Record | BadRecord]:
        """One record a row; a missing or broken structure is a :class:`BadRecord`."""
        names = find(list(table.columns), _COLUMNS)
        form = next(form for form in _READ if form in names)
        keys = table[names["id"]].astype(str) if "id" in names else (str(start + i) for i in range(len(table)))
        for i, (key, value) in enumerate(zip(keys, table[names[form]], strict=True)):
            yield _row(form, key, value, f"{name}, row {start + i} ({key})")

    def to_graph(self, record: Record) -> Graph:
        """The crystal graph of the structure."""
        sites: Sites = record.payload
        return sites.graph()


def _row(form: str, key: str, value: Any, where: str) -> Record | BadRecord:
    if value is None or (isinstance(value, float) and pd.isna(value)) or (isinstance(value, str) and not value.strip()):
        return BadRecord(key, EmptyGraphError(where=where, found=f"no {form}", expected="a structure", remedy="Leave the row out."))
    try:
        record = _READ[form](key, value, where)
    except GeoembedError as error:
        return BadRecord(key, error)
    return BadRecord(key, record.error) if isinstance(record, BadRecord) else Record(key, record.payload, record.notes)
