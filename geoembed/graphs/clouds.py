"""Many particle clouds at once: flat columns of a whole table to a :class:`Block`, bit for bit as :func:`cloud_graph` makes each.

What is not plainly good (a number that is not finite, a negative pt, a class or charge out of range) is not judged here: the
caller hands those records to :func:`cloud_graph` one by one, which refuses them with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from geoembed.errors import MissingColumnError
from geoembed.graphs.blocks import Block, Ints, Names
from geoembed.graphs.cloud import CLASSES, cloud_graph, energy_of
from geoembed.graphs.connect import TWO_PI
from geoembed.schema import GraphBatch, Scalar

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
COLUMNS = ("pt", "eta", "phi", "energy", "mass", "charge", "particle_id")


@dataclass(frozen=True)
class Clouds:
    """The block of all events, and which of them are not plainly good [B]; those rows of the block mean nothing."""

    block: Block
    suspect: Bools


def clouds(columns: Mapping[str, Floats | None], counts: Ints, modality: str, neighbors: int = 16) -> Clouds:
    """Events as one block: flat float64 columns [N] by the names of :func:`cloud_graph`, particles of each event [B]."""
    given = {name: columns[name] for name in COLUMNS if columns.get(name) is not None}
    flat: dict[str, Floats] = {name: column for name, column in given.items() if column is not None}
    notes: dict[str, Ints] = {}
    real = flat["pt"] != 0
    if not real.all():
        dropped = per_event(~real, counts)
        notes["padding_dropped"], counts = dropped, counts - dropped
        flat = {name: column[real] for name, column in flat.items()}
    remarks: dict[str, Scalar] = {}
    phi, moved = wrapped(flat["phi"])
    if moved is not None:
        notes["phi_wrapped"] = per_event(moved, counts)
    energy = flat.get("energy")
    if energy is None:
        with np.errstate(all="ignore"):  # what overflows is found below
            energy = energy_of(flat["pt"], flat["eta"], flat.get("mass"))
        if "mass" not in flat:
            remarks["taken_as_massless"] = True
    x = np.empty((len(phi), 4), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for column, values in enumerate((flat["pt"], flat["eta"], phi, energy)):
            x[:, column] = values
    token, wrong = _tokens(flat, remarks)
    bad = _bad(flat, x)
    suspect = np.zeros(len(counts), np.bool_)
    for rows in (bad, wrong):
        if rows is not None:
            suspect |= per_event(rows, counts) > 0
    fields = {"x": torch.from_numpy(x), "token": torch.from_numpy(token), "pos": torch.from_numpy(np.ascontiguousarray(x[:, 1:3]))}
    ptr = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]))
    names = Names(notes=remarks, counts=notes)
    return Clouds(Block(kind="cloud", modality=modality, settings={"rule": "eta_phi", "k": neighbors}, ptr=ptr, fields=fields,
                        names=names), suspect)


def per_event(rows: Bools, counts: Ints) -> Ints:
    """How many of the flagged rows [N] each event [B] has."""
    ends = np.cumsum(counts)
    place = np.flatnonzero(rows)
    reached: Ints = np.searchsorted(place, ends).astype(np.int64)
    return np.diff(reached, prepend=0)


def wrapped(phi: Floats) -> tuple[Floats, Bools | None]:
    """phi in [−π, π], and which rows moved by more than rounding; None where none did."""
    if not phi.size or np.abs(phi).max() < 3.14159:  # NaN compares False and takes the long way
        return phi + 0.0, None  # −0.0 becomes 0.0, as wrapping makes it
    with np.errstate(invalid="ignore"):
        turned: Floats = phi - TWO_PI * np.rint(phi / TWO_PI)
        moved: Bools = np.abs(turned - phi) > 1e-9
    return turned, moved if moved.any() else None


def _tokens(flat: Mapping[str, Floats], remarks: dict[str, Scalar]) -> tuple[npt.NDArray[np.uint8], Bools | None]:
    """(class, charge + 1) [N, 2], and the rows that are out of range; None where none is."""
    token = np.zeros((len(flat["pt"]), 2), np.uint8)
    wrong: Bools | None = None
    for column, (name, low, high) in enumerate((("particle_id", 0, CLASSES - 1), ("charge", -1, 1))):
        if name not in flat:
            remarks[f"{name}_absent"] = True
            token[:, column] = -low
            continue
        with np.errstate(invalid="ignore"):
            whole = flat[name].astype(np.int16)
        outside = (whole != flat[name]) | (whole < low) | (whole > high)
        if outside.any():
            wrong = outside if wrong is None else wrong | outside
            whole[outside] = low
        token[:, column] = whole - low
    return token, wrong


def _bad(flat: Mapping[str, Floats], x: npt.NDArray[np.float32]) -> Bools | None:
    """Rows with a number that is not finite in float32, or with a negative pt; None where there is none."""
    beside = [flat[name] for name in ("mass",) if name in flat and "energy" in flat]  # checked, though not a feature
    if np.isfinite(x).all() and (x[:, 0] >= 0).all() and all(np.isfinite(column).all() for column in beside):
        return None
    bad: Bools = ~np.isfinite(x).all(1) | ~(flat["pt"] >= 0)
    for column in beside:
        bad |= ~np.isfinite(column)
    return bad


def clouds_from_awkward(array: Any, *, neighbors: int = 16, modality: str = "event") -> GraphBatch:
    """Events of an awkward array in memory as one batch, without a Python loop over events.

    Args:
        array: records of lists with fields pt, eta, phi and, if there, energy (or mass), charge, particle_id, as of
            :func:`cloud_graph`; an event may be empty.
        neighbors: of a particle.
        modality: ``event`` or ``jet``.

    An event that :func:`cloud_graph` refuses raises its error, with the number of the event.
    """
    names = [name for name in COLUMNS if name in array.fields]
    if missing := [name for name in COLUMNS[:3] if name not in names]:
        raise MissingColumnError(where="clouds_from_awkward", found=sorted(array.fields), expected=missing,
                                 remedy="Name the fields pt, eta, phi: awkward.zip({'pt': …, 'eta': …, 'phi': …}, depth_limit=1).")
    parts = {name: _flat_list(array[name], name) for name in names}
    counts = parts["pt"][1]
    for name, (_, other) in parts.items():
        if not np.array_equal(counts, other):
            raise MissingColumnError(where=f"clouds_from_awkward: {name}", found="lists of other lengths than those of pt",
                                     expected="one entry a particle", remedy="Zip the columns of one collection.")
    made = clouds({name: values for name, (values, _) in parts.items()}, counts, modality, neighbors)
    if made.suspect.any():
        event = int(np.flatnonzero(made.suspect)[0])
        low = int(counts[:event].sum())
        rows = {name: values[low : low + int(counts[event])] for name, (values, _) in parts.items()}
        cloud_graph(**rows, neighbors=neighbors, modality=f"{modality} {event}")
    return made.block.batch()


def _flat_list(column: Any, name: str) -> tuple[Floats, Ints]:
    """Values and lengths of a column of lists, from the buffers of its layout."""
    layout: Any = column.layout.to_packed()
    while hasattr(layout, "project"):  # options and indexed lists, as masks and cuts leave them
        layout = layout.project()
    if len(layout) != len(column):
        raise MissingColumnError(where=f"clouds_from_awkward: {name}", found=f"{len(column) - len(layout)} events that are None",
                                 expected="a list an event", remedy="Cut them: array[~awkward.is_none(array)].")
    if not hasattr(layout, "starts") and not hasattr(layout, "size"):
        raise MissingColumnError(where=f"clouds_from_awkward: {name}", found=str(getattr(column, "type", column)),
                                 expected="a list of numbers an event", remedy="Give lists: one entry a particle.")
    layout = layout.to_ListOffsetArray64(True)
    counts: Ints = np.diff(np.asarray(layout.offsets.data)).astype(np.int64)
    inner: Any = layout.content
    values: Floats = np.asarray(inner.to_backend_array(allow_missing=True), np.float64)[: int(counts.sum())]
    return values, counts


__all__: Sequence[str] = ["Clouds", "clouds", "clouds_from_awkward", "per_event", "wrapped"]
