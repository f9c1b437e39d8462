"""SNANA's pairs of FITS tables: HEAD has a row a supernova with pointers into the rows of PHOT (SNANA manual, section 4)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from geoembed.errors import EmptyGraphError, GeoembedError, UnreadableFileError, ValueRangeError
from geoembed.io.extras import require
from geoembed.io.fits_headers import Hdu, quiet, read_headers
from geoembed.io.fits_tables import column_names, frame
from geoembed.io.forms.cells import texts
from geoembed.io.forms.light_curves import LightCurveTable
from geoembed.io.opener import local_file
from geoembed.io.record import BadRecord, Record
from geoembed.io.snana_filters import filter_meanings, renamed
from geoembed.schema import Scalar


def is_head(hdu: Hdu) -> bool:
    """Whether a table lists supernovae and where their photometry lies."""
    return {"SNID", "PTROBS_MIN", "PTROBS_MAX"} <= set(column_names(hdu)) if hdu.kind == "table" else False


def refuse_photometry(path: Path, hdus: list[Hdu]) -> None:
    """Raise :class:`UnreadableFileError` where a file is the PHOT half of a pair: its rows do not say whose they are."""
    for hdu in (hdu for hdu in hdus if hdu.kind == "table"):
        names = set(column_names(hdu))
        ours = hdus[0].text("PHOTFILE", "SNANA") or "phot" in f"{path.stem} {hdu.name}".lower()
        if {"MJD", "FLUXCAL"} <= names and names & {"FLT", "BAND"} and "SNID" not in names and ours:
            raise UnreadableFileError(
                where=path, found="the PHOT table of an SNANA pair, whose rows do not name their supernova",
                expected="the HEAD file that points into it", remedy="Open the HEAD file; it finds this one in the same folder.",
            )


def pair_records(path: Path, opened: Any, head: Hdu, primary: Hdu) -> Iterator[Record | BadRecord]:
    """One record a supernova of a HEAD table; :class:`UnreadableFileError` where the PHOT file is not beside it."""
    partner = _partner(path, primary)
    survey = primary.text("SURVEY")
    meanings = filter_meanings(survey, primary.text("FILTERS"), str(path))
    heads = frame(path, opened, head)
    names = texts(heads["SNID"]).tolist()
    with local_file(partner) as local:
        photometry = _photometry(local, partner)
    first, last = (heads[name].to_numpy(dtype=np.int64) for name in ("PTROBS_MIN", "PTROBS_MAX"))
    legal = (first >= 1) & (last >= first) & (last <= len(photometry))
    for row in np.flatnonzero(~legal).tolist():
        yield BadRecord(names[row], _bad_pointer(f"{path} [{names[row]}]", int(first[row]), int(last[row]), len(photometry)))
    owner = np.repeat(np.flatnonzero(legal), (last - first + 1)[legal])
    if not len(owner):
        return
    rows = np.concatenate([np.arange(first[row] - 1, last[row]) for row in np.flatnonzero(legal).tolist()])
    table = photometry.iloc[rows].assign(object_id=owner).reset_index(drop=True)
    replaced: dict[str, Scalar] = {}
    for column in (column for column in ("FLT", "BAND") if meanings and column in table):
        table[column], codes = renamed(texts(table[column]), meanings, str(path), survey)
        replaced = {"filter_codes_replaced": codes} if codes else {}
    counts = dict(zip(*np.unique(owner, return_counts=True), strict=True))
    declared = heads["NOBS"].to_numpy() if "NOBS" in heads else np.full(len(heads), -1)
    for record in LightCurveTable().records(table, 0, path.stem):
        row = int(record.key)  # the object column holds rows of HEAD
        if isinstance(record, BadRecord):
            yield BadRecord(names[row], record.error)
            continue
        odd = declared[row] not in (-1, counts[row])
        notes = {"nobs_mismatch": f"NOBS {declared[row]}, {counts[row]} rows"} if odd else {}
        yield replace(record, key=names[row], notes={**replaced, **notes, **record.notes})


def _partner(path: Path, primary: Hdu) -> Path:
    """The PHOT file in the folder of HEAD, by PHOTFILE or by its own name, in any case, compressed or not."""
    declared = Path(primary.text("PHOTFILE").replace("\\", "/")).name  # a name, never a path
    own = re.fullmatch("(.*)head(.*)", path.name, re.IGNORECASE)
    guess = f"{own[1]}PHOT{own[2]}" if own else ""
    wanted = {_plain(name): name for name in (guess, declared) if name}
    beside = {_plain(file.name): file for file in sorted(path.parent.iterdir()) if file.is_file() and file != path}
    for name in reversed(wanted):
        if name in beside:
            return beside[name]
    raise UnreadableFileError(
        where=path, found="the HEAD table of an SNANA pair without its photometry",
        expected=f"{' or '.join(wanted.values()) or 'its PHOT file'} in the same folder", remedy="Put the PHOT file beside the HEAD file.",
    )


def _plain(name: str) -> str:
    return name.lower().removesuffix(".gz")


def _photometry(local: Path, named: Path) -> Any:
    fits = require("astropy.io.fits", "astronomy")
    hdus, _ = read_headers(local, named)
    table = next((hdu for hdu in hdus if hdu.kind == "table" and "MJD" in column_names(hdu)), None)
    if table is None:
        raise UnreadableFileError(
            where=named, found="no table with MJD", expected="the PHOT table of the pair", remedy="Fetch the PHOT file again.",
        )
    with ExitStack() as stack:
        file = stack.enter_context(open(local, "rb"))
        with quiet(named):
            opened = stack.enter_context(fits.open(file, memmap=False))
        return frame(named, opened, table)


def _bad_pointer(where: str, first: int, last: int, rows: int) -> GeoembedError:
    if last < first or last <= 0:
        return EmptyGraphError(where=where, found=f"PTROBS {first}…{last}: no row", expected="at least one row of PHOT",
                               remedy="Leave the object out.")
    return ValueRangeError(where=where, found=f"PTROBS {first}…{last}", expected=f"rows 1…{rows} of PHOT",
                           remedy="Use the PHOT file that was written with this HEAD file.")
