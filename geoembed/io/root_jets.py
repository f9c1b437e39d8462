"""Jets of PFNano: the index (candidate, jet) of an event turned into one list of constituents a jet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoembed.errors import EmptyGraphError, ValueRangeError
from geoembed.io.extras import require
from geoembed.io.kinematics import FloatArray, IntArray, split
from geoembed.io.record import BadRecord, Record


@dataclass(frozen=True)
class Links:
    """Links of some events: jets of each event [B], links of each event [B], and candidate and jet of each link, within the event."""

    jets: IntArray
    links: IntArray
    candidate: IntArray
    jet: IntArray


@dataclass(frozen=True)
class JetIndex:
    """Names of the branches that link candidates to the jets of one collection."""

    name: str
    candidate: str
    jet: str
    pt: str

    @property
    def branches(self) -> set[str]:
        """Names of all branches to be read."""
        return {self.candidate, self.jet, self.pt}

    def read(self, chunk: Any) -> Links:
        """The links of a chunk of events."""
        awkward = require("awkward", "particles")
        flat = {name: np.asarray(awkward.flatten(chunk[name], axis=1), np.int64) for name in (self.candidate, self.jet)}
        jets, links, others = (np.asarray(awkward.num(chunk[name], axis=1), np.int64) for name in (self.pt, self.jet, self.candidate))
        if (links != others).any():
            raise ValueRangeError(where=self.jet, found="lists of unequal length", expected=f"one entry for each of {self.candidate}",
                                  remedy="Write the file again.")
        return Links(jets, links, flat[self.candidate], flat[self.jet])


def jet_index(types: Mapping[str, str], name: str) -> JetIndex | None:
    """The index of the jets called ``name`` in a tree with these branches; None where it has none."""
    for candidate in (f"{name}PFCands_pFCandsIdx", f"{name}PFCands_candIdx"):
        if {"PFCands_pt", candidate, f"{name}PFCands_jetIdx", f"{name}_pt"} <= types.keys():
            return JetIndex(name, candidate, f"{name}PFCands_jetIdx", f"{name}_pt")
    return None


def jets_of(
    columns: Mapping[str, FloatArray], counts: IntArray, links: Links, first: int, prefix: str, notes: Mapping[str, str]
) -> Iterator[Record | BadRecord]:
    """One record a jet, in order of events and jets: flat candidates and their counts an event [B], and the links.

    An event whose links leave its lists, and a jet without constituents in the file, are bad records.
    """
    event = np.repeat(np.arange(len(counts)), links.links)
    outside = (links.candidate < 0) | (links.candidate >= counts[event]) | (links.jet < 0) | (links.jet >= links.jets[event])
    bad = np.zeros(len(counts), bool)
    bad[event[outside]] = True
    keep = ~bad[event]
    candidate = (links.candidate + (np.cumsum(counts) - counts)[event])[keep]
    jet = (links.jet + (np.cumsum(links.jets) - links.jets)[event])[keep]
    order = np.argsort(jet, kind="stable")
    members = np.bincount(jet, minlength=int(links.jets.sum()))
    payloads = split({name: column[candidate[order]] for name, column in columns.items()}, members, "jet")
    for row, jets in enumerate(links.jets):
        if bad[row]:
            yield BadRecord(f"{prefix}{first + row}", ValueRangeError(
                where=f"event {first + row}", found="a constituent or jet outside the event", expected=f"below {counts[row]} and {jets}",
                remedy="The index of constituents is damaged: write the file again."))
        for within in range(int(jets)):
            payload, own = next(payloads)
            if bad[row]:
                continue
            key = f"{prefix}{first + row}:{within}"
            if len(payload.pt) == 0:
                yield BadRecord(key, EmptyGraphError(where=f"jet {key}", found="no constituent in the file", expected="at least one",
                                                     remedy="Jets below the threshold of the writer have none: leave it out."))
            else:
                yield Record(key, payload, {**notes, **own})
