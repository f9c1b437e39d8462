"""Les Houches events in HDF5 (Höche et al. 2019): columns of events and of particles, as groups of vectors or as named matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geoembed.errors import TruncatedFileError
from geoembed.io.budget import check_budget
from geoembed.io.damage import damage
from geoembed.io.lhe import final_state
from geoembed.io.record import BadRecord, Record

EVENTS = 1024


@dataclass
class Group:
    """Datasets of one group by name, and names of features that attributes give."""

    name: str
    arrays: dict[str, Any] = field(default_factory=dict)
    named: dict[str, list[str]] = field(default_factory=dict)


def les_houches(groups: list[Group]) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """Columns of events and of particles, as groups of vectors or as matrices with names; None where the file has no such."""
    by_name = {group.name: group.arrays for group in groups}
    root = next((group for group in groups if group.name == ""), Group(""))
    for events, particles in (("event", "particle"), ("events", "particles")):
        pair = by_name.get(events) or _split_columns(root, events), by_name.get(particles) or _split_columns(root, particles)
        if {"nparticles", "start"} <= pair[0].keys() and {"id", "status", "px", "py", "pz", "e"} <= pair[1].keys():
            return pair
    return None


def _split_columns(root: Group, name: str) -> dict[str, Any]:
    if name not in root.named or root.arrays[name].ndim != 2:
        return {}
    return {column: _Column(root.arrays[name], number) for number, column in enumerate(root.named[name])}


@dataclass(frozen=True)
class _Column:
    """One column of a matrix dataset, read where it is sliced."""

    matrix: Any
    number: int

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def __getitem__(self, rows: slice) -> Any:
        return self.matrix[rows, self.number]


def event_records(events: Mapping[str, Any], particles: Mapping[str, Any], path: Path) -> Iterator[Record | BadRecord]:
    """Les Houches events in blocks; events must lie one after the other among the particles."""
    with damage(path, "readable HDF5 data"):
        counts = np.asarray(events["nparticles"][:], np.int64)
        starts = np.asarray(events["start"][:], np.int64)
    ends = np.cumsum(counts)
    last, there = int(ends[-1:].sum()), len(particles["px"])
    if (counts < 0).any() or (starts != ends - counts).any() or last > there:
        raise TruncatedFileError(where=path, found=f"events that end at particle {last}", remedy="Write the file again.",
                                 expected=f"events one after the other, within {there} particles")
    for low in range(0, len(counts), EVENTS):
        part = counts[low : low + EVENTS]
        span = slice(int(starts[low]), int(ends[low + len(part) - 1]))
        check_budget(path, (span.stop - span.start, 6), 8)
        with damage(path, "readable HDF5 data"):
            columns = {name: np.asarray(particles[name][span], np.float64) for name in ("id", "status", "px", "py", "pz", "e")}
        for row, (payload, notes) in enumerate(final_state(columns, part)):
            yield Record(str(low + row), payload, notes)
