"""Structures as JSON: pymatgen's dictionaries, alone or in lists and tables, and ASE's JSON database.

Only numbers and element symbols are read. Nothing is decoded into the class that a file names (``@module``, ``@class``), so a
file cannot choose what is imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from geoembed.errors import EmptyGraphError, GeoembedError, UnknownNameError, UnreadableFileError
from geoembed.io.budget import check_budget
from geoembed.io.cif_checks import NUMBERS
from geoembed.io.record import BadRecord, Record
from geoembed.io.sites import Array, Sites, shared_sites
from geoembed.schema import Graph, Scalar

_CLASSES = frozenset({
    "", "Structure", "IStructure", "SymmetrizedStructure", "TransformedStructure", "Slab", "Interface", "GrainBoundary",
    "Molecule", "IMolecule",
})
_ID = ("material_id", "mp_id", "task_id", "mbid", "jid", "id", "name")


class PymatgenJson:
    """A ``Structure`` or ``Molecule`` dictionary, a list or mapping of them, a data frame in split form, an ASE database."""

    kind, suffixes = "crystal", (".json",)

    def can_open(self, head: bytes, name: str) -> bool:
        """A ``.json`` that is an object or a list."""
        return name.endswith(self.suffixes) and head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """One record a structure, in file order."""
        check_budget(path, (path.stat().st_size,), 12)  # Python objects take some twelve times their text
        try:
            content = json.loads(path.read_bytes().decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise UnreadableFileError(where=path, found=f"{type(error).__name__}: {error}"[:200], expected="a JSON document",
                                      remedy="Write the file again.") from error
        records = (structure_record(key, item, f"{path} [{key}]") for key, item in _items(content, "structure"))
        first = list(islice(records, 10))
        if not first:
            raise EmptyGraphError(where=path, found="an empty list", expected="at least one structure", remedy="Leave the file out.")
        if all(isinstance(record, BadRecord) and isinstance(record.error, NoStructureError) for record in first):
            yield first[0]  # a list of something else is one mistake, not thousands
            return
        yield from chain(first, records)

    def to_graph(self, record: Record) -> Graph:
        """The crystal graph of the sites."""
        sites: Sites = record.payload
        return sites.graph()


class NoStructureError(UnreadableFileError):
    """JSON that is something else than a structure."""


def structure_record(key: str, item: object, where: str) -> Record | BadRecord:
    """The record of one dictionary (or its JSON text), or the typed reason why it is none."""
    notes: dict[str, Scalar] = {}
    try:
        if isinstance(item, str | bytes):
            item = json.loads(item)
        return Record(key, _sites(item, notes, where), notes)
    except GeoembedError as error:
        return BadRecord(key, error)
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        typed = UnreadableFileError(where=where, found=f"{type(error).__name__}: {error}"[:200],
                                    expected="lattice and sites with species and abc or xyz", remedy="Write the structure again.")
        typed.__cause__ = error
        return BadRecord(key, typed)


def _items(content: Any, single: str) -> Iterator[tuple[str, Any]]:
    """(key, structure) of whatever holds them."""
    if isinstance(content, list):
        for i, item in enumerate(content):
            yield _name(item, str(i)), item
    elif not isinstance(content, dict) or "sites" in content or "structure" in content or "@class" in content:
        yield single, content
    elif isinstance(content.get("ids"), list):  # ASE: {"1": {...}, "ids": [1], "nextid": 2}
        yield from ((str(i), content.get(str(i))) for i in content["ids"])
    elif isinstance(content.get("columns"), list) and isinstance(content.get("data"), list):  # a data frame in split form
        index = content.get("index") or range(len(content["data"]))
        for key, row in zip(index, content["data"], strict=False):
            yield str(key), dict(zip(content["columns"], row, strict=False)) if isinstance(row, list) else row
    elif content and all(isinstance(item, dict) for item in content.values()):
        yield from content.items()
    else:
        yield single, content


def _name(item: Any, otherwise: str) -> str:
    if isinstance(item, dict):
        return next((str(item[key]) for key in _ID if isinstance(item.get(key), str | int)), otherwise)
    return otherwise


def _sites(item: object, notes: dict[str, Scalar], where: str) -> Sites:
    if isinstance(item, Mapping) and isinstance(item.get("structure"), Mapping):
        item = item["structure"]
    if not isinstance(item, Mapping) or str(item.get("@class", "")) not in _CLASSES:
        named = item.get("@class") if isinstance(item, Mapping) else type(item).__name__
        raise NoStructureError(where=where, found=f"an object of class {named}", expected="a pymatgen Structure or Molecule",
                               remedy="Save the structure itself: structure.to(filename='crystal.json').")
    if "numbers" in item and "positions" in item:
        return _from_ase(item, where)
    if "sites" not in item:
        raise NoStructureError(where=where, found=f"the keys {sorted(map(str, item))[:12]}", expected="lattice and sites",
                               remedy="Save the structure itself: structure.to(filename='crystal.json').")
    return _from_pymatgen(item, notes, where)


def _from_pymatgen(item: Mapping[str, Any], notes: dict[str, Scalar], where: str) -> Sites:
    sites = item["sites"]
    if len(sites) == 0:
        raise EmptyGraphError(where=where, found="no sites", expected="at least one", remedy="Leave the structure out.")
    numbers, node, share = [], [], []
    for i, site in enumerate(sites):
        for species in site["species"]:
            symbol = species["element"]
            if symbol not in NUMBERS:
                raise UnknownNameError(where=f"{where}: site {i}", found=f"the symbol {symbol!r}", expected="a chemical element",
                                       remedy="Correct the symbol, or leave dummy sites out.")
            if symbol in "DT":
                notes["isotopes_as_hydrogen"] = 1 + int(notes.get("isotopes_as_hydrogen") or 0)
            numbers.append(NUMBERS[symbol])
            node.append(i)
            share.append(float(species["occu"]))
    if set(node) != set(range(len(sites))):
        raise EmptyGraphError(where=where, found="a site without species", expected="at least one", remedy="Leave vacant sites out.")
    species_rows = shared_sites(np.array(numbers), np.array(node), np.array(share), str, notes, where)
    fractional = "lattice" in item and all("abc" in site for site in sites)
    coordinates = _array([site["abc" if fractional else "xyz"] for site in sites]).reshape(-1, 3)
    lattice = item.get("lattice")
    cell = None if lattice is None else _array(lattice["matrix"]).reshape(3, 3)
    pbc = None if lattice is None else lattice.get("pbc")
    return Sites(species_rows[0], coordinates, cell, not fractional, None if pbc is None else (bool(pbc[0]), bool(pbc[1]), bool(pbc[2])),
                 node=species_rows[1], occupancy=species_rows[2])


def _from_ase(item: Mapping[str, Any], where: str) -> Sites:
    numbers = _array(item["numbers"]).astype(np.int64).ravel()
    if not len(numbers):
        raise EmptyGraphError(where=where, found="no atoms", expected="at least one", remedy="Leave the structure out.")
    periodic = [bool(axis) for axis in _array(item.get("pbc", [False] * 3)).ravel()]
    cell = item.get("cell", np.zeros((3, 3)))
    if isinstance(cell, Mapping) and "array" in cell:  # {"array": …, "__ase_objtype__": "cell"}, since ASE 3.18
        cell = cell["array"]
    positions = _array(item["positions"]).reshape(-1, 3)
    return Sites(numbers, positions, _array(cell).reshape(3, 3), True, (periodic[0], periodic[1], periodic[2]))


def _array(value: Any) -> Array:
    """Numbers of a nested list, or of ASE's ``{"__ndarray__": [shape, dtype, values]}``."""
    if isinstance(value, Mapping):
        value = value["__ndarray__"][2]
    return np.asarray(value, dtype=np.float64)
