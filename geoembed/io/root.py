"""ROOT: trees and RNTuples of events, in the layouts of NanoAOD, PFNano, EDM4hep, Delphes, PHYSLITE and jet-tagging sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from geoembed.errors import MissingColumnError, TruncatedFileError
from geoembed.graphs.blocks import Block
from geoembed.io.cloud_blocks import row_blocks
from geoembed.io.column_map import ColumnMap
from geoembed.io.damage import damage
from geoembed.io.extras import require
from geoembed.io.kinematics import FloatArray, IntArray, Particles, split
from geoembed.io.record import BadRecord, Record
from geoembed.io.root_access import Chunk, branch_types, chunks
from geoembed.io.root_jets import JetIndex, jet_index, jets_of
from geoembed.io.root_layouts import Collection, Layout, layout_of, mapped_layout
from geoembed.schema import Graph

_TREES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple", "ROOT::Experimental::RNTuple")


@dataclass(frozen=True)
class _Tree:
    """A tree with particles, and what is taken from it."""

    name: str
    tree: Any
    layout: Layout
    jets: JetIndex | None


class Root:
    """Events of ROOT files: one record an event, with all particle-flow candidates, or else the reconstructed objects.

    Args:
        jets: one record a jet instead, from the index of constituents that PFNano keeps: True for ``Jet``, or the name of
            the collection (``FatJet``).

    Trees are read in steps of about 1,000 events. A tree with 0 events has none to give; a file without particles is an error.
    """

    kind = "cloud"
    suffixes: tuple[str, ...] = (".root",)

    def __init__(self, jets: bool | str = False, columns: ColumnMap | None = None) -> None:
        self.jets = "Jet" if jets is True else (jets or "")
        self.columns = columns

    def mapped(self, columns: ColumnMap) -> Root:
        """This reader for trees whose branches a map names; labels are branches of one number an event."""
        return Root(columns.jets or self.jets, columns)

    def can_open(self, head: bytes, name: str) -> bool:
        """By the magic ``root``, followed by a version number, which starts with a zero byte."""
        return head.startswith(b"root\x00")

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """Records in order of events; the key is the number of the event from 0 (``event:jet`` for jets)."""
        return _items(path, self.jets, self.columns, event_records)

    def blocks(self, path: Path) -> Iterator[Block | Record | BadRecord]:
        """The same records in the same order; events, and jets that are events of the file, many at once."""
        return _items(path, self.jets, self.columns, event_blocks)

    def to_graph(self, record: Record) -> Graph:
        """The cloud of the record's particles."""
        payload: Particles = record.payload
        return payload.to_graph()


I = TypeVar("I")  # noqa: E741 — an item: a record, or a block of them
Take = Callable[[Mapping[str, FloatArray], IntArray, FloatArray | None, Layout, int, str], Iterator[I]]


def _items(path: Path, jets: str, columns: ColumnMap | None, take: Take[I]) -> Iterator[I | Record | BadRecord]:
    uproot = require("uproot", "particles")
    require("awkward", "particles")
    broken = (uproot.deserialization.DeserializationError, require("cramjam", "particles").DecompressionError)
    _check_length(path)
    with damage(path, "a ROOT file", *broken):
        file = uproot.open(path, object_cache=None, array_cache=None)
    with file:
        with damage(path, "readable trees", *broken):
            trees = _trees(file, path, jets, columns)
        for tree in trees:
            yield from _tree_items(tree, path, f"{tree.name}:" if len(trees) > 1 else "", broken, take)


def _check_length(path: Path) -> None:
    """Compare the end that the header states (fEND, at byte 12; 8 bytes where the version says large) with the file's."""
    with open(path, "rb") as file:
        head = file.read(24)
    large = int.from_bytes(head[4:8], "big") >= 1_000_000
    end, size = int.from_bytes(head[12 : 20 if large else 16], "big"), path.stat().st_size
    if len(head) < 24 or size < end:
        raise TruncatedFileError(where=path, found=f"{size} bytes", expected=f"{end}, as the header states",
                                 remedy="Fetch or write the file again.")


def _trees(file: Any, path: Path, jets: str, columns: ColumnMap | None) -> list[_Tree]:
    """Trees with particles, latest cycle of each name; :class:`MissingColumnError` lists what is there where none has any."""
    found, seen = [], []
    for name, kind in file.classnames(recursive=True, cycle=False).items():
        if kind not in _TREES or (columns is not None and columns.tree not in ("", name)):
            continue
        tree = file[name]
        types = branch_types(tree, f"{path} [{name}]")
        seen.append(f"{name}: {', '.join(list(types)[:6])} …" if types else f"{name}: no branch")
        layout = layout_of(types) if columns is None else mapped_layout(types, columns)
        index = jet_index(types, jets) if jets else None
        if layout is not None and (index is not None or not jets):
            found.append(_Tree(name, tree, layout, index))
    if not found:
        raise MissingColumnError(
            where=path, found=seen or "no tree",
            expected=", ".join([*columns.columns.values(), *columns.labels]) if columns is not None else
            f"{jets}PFCands_jetIdx beside PFCands_pt" if jets else
            "lists PFCands_pt, _eta, _phi; ReconstructedParticles.momentum.x, .y, .z; EFlowTrack.PT; part_px; or Jet_pt, Muon_pt …",
            remedy="Read events instead (jets=False)." if jets else "Rename the branches, or select another tree.",
        )
    return found


def event_records(
    columns: Mapping[str, FloatArray], counts: IntArray, labels: FloatArray | None, layout: Layout, first: int, prefix: str
) -> Iterator[Record]:
    """One record an event; ``labels`` [B, T], ``first`` the number of the first event."""
    for row, (payload, notes) in enumerate(split(columns, counts, layout.modality)):
        own = payload if labels is None else replace(payload, labels=labels[row])
        yield Record(f"{prefix}{first + row}", own, {**layout.notes, **notes})


def event_blocks(
    columns: Mapping[str, FloatArray], counts: IntArray, labels: FloatArray | None, layout: Layout, first: int, prefix: str
) -> Iterator[Block | Record | BadRecord]:
    """The same, those that are plainly good as blocks."""
    return row_blocks(columns, counts, layout.modality, first, prefix=prefix, remark=layout.notes, labels=labels)


def _tree_items(
    found: _Tree, path: Path, prefix: str, broken: tuple[type[Exception], ...], take: Take[I]
) -> Iterator[I | Record | BadRecord]:
    event = 0
    wanted = found.layout.branches | (found.jets.branches if found.jets else set())
    for chunk in chunks(found.tree, wanted, path, broken):
        if found.jets is not None:
            columns, counts = _flat(chunk, found.layout.collections[0])
            yield from jets_of(columns, counts, found.jets.read(chunk), event, prefix, {**found.layout.notes, "jets": found.jets.name})
        else:
            columns, counts = _merged([_flat(chunk, collection) for collection in found.layout.collections])
            yield from take(columns, counts, _labels(chunk, found.layout.labels), found.layout, event, prefix)
        event += len(counts)


def _labels(chunk: Chunk, names: tuple[str, ...]) -> FloatArray | None:
    """Branches of one number an event as [B, T]."""
    return np.stack([np.asarray(chunk[name], np.float64) for name in names], 1) if names else None


def _flat(chunk: Chunk, collection: Collection) -> tuple[dict[str, FloatArray], IntArray]:
    """Columns of one collection by quantity, one entry a particle, and the number of particles of each event."""
    awkward = require("awkward", "particles")
    lists = {quantity: chunk[branch] for quantity, branch in collection.branches.items()}
    counts = [np.asarray(awkward.num(column, axis=1), np.int64) for column in lists.values()]
    if any((count != counts[0]).any() for count in counts):
        raise MissingColumnError(where=", ".join(collection.branches.values()), found="lists of unequal length",
                                 expected="one entry a particle", remedy="Write the branches of a collection together.")
    flat = {quantity: np.ma.filled(awkward.to_numpy(awkward.flatten(column, axis=1)).astype(np.float64), np.nan)
            for quantity, column in lists.items()}
    for quantity in flat.keys() & {"pt", "px", "py", "pz", "energy", "mass"}:
        flat[quantity] = flat[quantity] * collection.unit
    for code, meant in collection.recode.items():
        if "pdg" in flat:
            flat["pdg"] = np.where(flat["pdg"] == code, meant, flat["pdg"])
    if collection.code and "pdg" not in flat:
        flat["pdg"] = np.full(int(counts[0].sum()), float(collection.code))
    return flat, counts[0]


def _merged(parts: list[tuple[dict[str, FloatArray], IntArray]]) -> tuple[dict[str, FloatArray], IntArray]:
    """Several collections as one, event by event: energies are completed so that all have the same quantities."""
    if len(parts) == 1:
        return parts[0]
    alike = [_alike(columns) for columns, _ in parts]
    event = np.concatenate([np.repeat(np.arange(len(counts)), counts) for _, counts in parts])
    order = np.argsort(event, kind="stable")
    columns = {name: np.concatenate([part[name] for part in alike])[order] for name in alike[0]}
    total: IntArray = np.sum([counts for _, counts in parts], axis=0)
    return columns, total


def _alike(columns: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """(pt, eta, phi, energy, charge, pdg) of any collection; what it lacks is 0, and a mass that it lacks makes it massless."""
    whole = next(iter(split(columns, np.array([len(next(iter(columns.values())))]), "event")))[0]
    zeros: npt.NDArray[np.float64] = np.zeros_like(whole.pt)
    energy = whole.energy
    if energy is None:
        energy = np.hypot(whole.pt * np.cosh(whole.eta), zeros if whole.mass is None else whole.mass)
    return {"pt": whole.pt, "eta": whole.eta, "phi": whole.phi, "energy": energy,
            "charge": columns.get("charge", zeros), "pdg": columns.get("pdg", zeros)}
