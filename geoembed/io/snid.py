"""SNID templates (``.lnw``): the spectra of one supernova at several ages (Blondin & Tonry 2007, ApJ 666, 1024).

A header line (epochs, bins, first and last wavelength [Å], most knots, name, Δm15, type, codes of the type), a line of knots an
epoch, the knots of the continuum that was divided out, a line with the code of the ages and the ages [days], and a row a bin of
equal logarithmic width: wavelength and a flux an epoch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from geoembed.errors import GeoembedError, TruncatedFileError, UnreadableFileError, ValueRangeError
from geoembed.io.budget import check_budget
from geoembed.io.forms.spectra import Spectrum, spectrum
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Graph, Scalar

_HEADER = re.compile(
    rb"\s*(\d{1,5})\s+(\d{1,6})\s+([\d.]+)\s+([\d.]+)\s+(\d{1,4})\s+(\S+)\s+(-?[\d.]+)\s+(\S+)\s+(-?\d+)\s+(-?\d+)\s*[\r\n]"
)
_AGES = {0: "days from maximum light", 1: "days from explosion", 2: "days"}


class Snid:
    """One record an epoch, its key the supernova and its age (``"sn2000cu +7.300"``); wavelengths are at rest.

    Fluxes have their continuum divided out and their mean removed; a flux of exactly 0 is a bin that was not observed. The type
    of the supernova is a label in the notes, never an input.
    """

    kind, suffixes = "chain", (".lnw",)

    def can_open(self, head: bytes, name: str) -> bool:
        """By the ten fields of the header line, and the suffix."""
        return name.endswith(self.suffixes) and _HEADER.match(head) is not None

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """Epochs in file order; a file with fewer rows than its header states raises :class:`TruncatedFileError`."""
        check_budget(path, (path.stat().st_size,), 8)
        with open(path, encoding="ascii", errors="replace") as file:
            match = _HEADER.match(file.readline().encode())
            if match is None:
                raise UnreadableFileError(where=path, found="another first line", expected="the ten fields of a SNID template",
                                          remedy="Fetch the file again.")
            epochs, bins, knots = int(match[1]), int(match[2]), int(match[5])
            name, kind = match[6].decode(), match[8].decode()
            check_budget(path, (epochs + 1, bins), 8)
            for _ in islice(file, 1 + knots):
                pass
            code, ages = _ages(file, epochs, path)
            table = _rows(file, epochs, bins, path)
        for epoch, age in enumerate(ages):
            key = f"{name} {age}"
            try:
                payload, notes = spectrum(f"{path} [{key}]", table[:, 0].copy(), table[:, 1 + epoch].copy(), bad=table[:, 1 + epoch] == 0)
            except GeoembedError as error:
                yield BadRecord(key, error)
                continue
            labels: dict[str, Scalar] = {"type": kind, "age": f"{age} {_AGES.get(code, 'days')}", "continuum_divided_out": True}
            yield Record(key, payload, {**notes, **labels})

    def to_graph(self, record: Record) -> Graph:
        """The chain over log10 of the wavelength."""
        payload: Spectrum = record.payload
        return payload.to_graph()


def _ages(file: TextIO, epochs: int, path: Path) -> tuple[int, list[str]]:
    """(code of the ages, an age an epoch as a signed text); a record may be an age twice."""
    words = file.readline().split()
    values = _numbers(words, path)
    if len(words) != epochs + 1:
        raise UnreadableFileError(where=path, found=f"{max(len(words) - 1, 0)} ages", expected=f"{epochs}, one an epoch",
                                  remedy="Fetch the file again.")
    return int(values[0]), [f"{value:+.3f}" for value in values[1:]]


def _rows(file: TextIO, epochs: int, bins: int, path: Path) -> npt.NDArray[np.float64]:
    """[bins, 1 + epochs]: wavelength and fluxes."""
    lines = [line for line in file if line.strip()]
    rows = [line.split() for line in lines]
    widths = {len(row) for row in rows}
    # Columns are of fixed width: a last line without its end that is shorter than the others was cut, if only inside a number
    cut = bool(lines) and not lines[-1].endswith("\n") and len(lines[-1]) < len(lines[0].rstrip("\r\n"))
    if len(rows) < bins or cut:
        raise TruncatedFileError(where=path, found=f"{len(rows) - cut} whole rows of fluxes",
                                 expected=f"{bins} rows of {epochs + 1} numbers", remedy="Fetch the file again.")
    if len(rows) > bins or widths != {epochs + 1}:
        raise UnreadableFileError(where=path, found=f"{len(rows)} rows of {sorted(widths)} numbers",
                                  expected=f"{bins} rows of {epochs + 1}", remedy="Fetch the file again.")
    return _numbers([word for row in rows for word in row], path).reshape(bins, epochs + 1)


def _numbers(words: list[str], path: Path) -> npt.NDArray[np.float64]:
    try:
        values = np.array(words, dtype=np.float64)
    except ValueError as error:
        raise UnreadableFileError(where=path, found=str(error)[:100], expected="numbers", remedy="Fetch the file again.") from error
    if not np.isfinite(values).all():
        raise ValueRangeError(where=path, found="a number that is not finite", expected="finite numbers, 0 where nothing was observed",
                              remedy="Correct it, or fetch the file again.")
    return values
