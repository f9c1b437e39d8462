"""FITS files (standard 4.0): the HDUs decide whether they hold images, spectra or light curves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from geoembed.errors import EmptyGraphError, GeoembedError, MissingColumnError, UnreadableFileError
from geoembed.io.extras import require
from geoembed.io.fits_headers import Hdu, quiet, read_headers
from geoembed.io.fits_images import pictures, stacks
from geoembed.io.fits_masks import attached, is_companion
from geoembed.io.fits_pixels import is_pixel_table, optimal_aperture, pixel_frame
from geoembed.io.fits_snana import is_head, pair_records, refuse_photometry
from geoembed.io.fits_spectra import axis_records, families, family_records, has_wavelengths, is_axis
from geoembed.io.fits_tables import column_names, light_curves, redshift_of, table_records
from geoembed.io.fits_tiles import check_tiles
from geoembed.io.opener import local_file
from geoembed.io.record import BadRecord, Record
from geoembed.io.tables import form_of
from geoembed.schema import Graph, Scalar

Source = tuple[str, Iterator[Record | BadRecord]]
"""Name of an HDU and the records that it gives when they are asked for."""


class Fits:
    """One reader for all of FITS.

    - Images (2-D, or cubes of at most 16 planes; tile-compressed too) are patch grids of patch 4, one record an HDU; HDUs of
      equal shape and different FILTER are the bands of one record. An image with a side over 512 pixels is cut into tiles
      of 256 × 256 pixels, one record each. NaN and BLANK are unmeasured, as is what a mask (not 0), a weight or inverse variance
      (0) or an error (not positive) of the same file excludes. The place on the sky (WCS) goes into the notes.
    - Images of one axis with wavelengths in the header (linear, log10, SDSS COEFF0), or FLUX beside WAVELENGTH, are spectra.
    - Tables are given to the forms: SDSS ``spec`` files, Kepler and TESS light curves (flagged samples are dropped and
      counted), and pairs of SNANA tables, of which the HEAD file is opened. Target pixel files are summed over the optimal
      aperture of the mission.

    HDUs that mean nothing here are named in the notes of the records; a file without any other raises
    :class:`EmptyGraphError` with the reason for each. All arrays are native copies; nothing of the file stays open.
    """

    kind, suffixes = "grid", (".fits", ".fit", ".fts", ".fz")
    streams = True  # decompresses for itself: the HEAD of an SNANA pair must know its own folder

    def can_open(self, head: bytes, name: str) -> bool:
        """By the first card, ``SIMPLE  =``."""
        return head.startswith(b"SIMPLE  =")

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """Records of the file's HDUs in order; sizes that headers declare are checked before anything is read."""
        with local_file(path) as local:
            yield from _records(local, path)

    def to_graph(self, record: Record) -> Graph:
        """The graph of a picture, spectrum or light curve, or the one that a table's form makes."""
        graph: Graph = record.payload.to_graph()
        return graph


def _records(local: Path, path: Path) -> Iterator[Record | BadRecord]:
    """Records of a file that is decompressed at ``local`` and called ``path``."""
    fits = require("astropy.io.fits", "astronomy")
    hdus, surplus = read_headers(local, path)
    if any(hdu.kind == "groups" for hdu in hdus):
        raise UnreadableFileError(
            where=path, found="random groups (interferometric visibilities)", expected="images or tables",
            remedy="Make an image of the visibilities first.",
        )
    for hdu in hdus:
        check_tiles(local, path, hdu)
    with ExitStack() as stack:
        file = stack.enter_context(open(local, "rb"))
        with quiet(path):
            opened = stack.enter_context(fits.open(file, memmap=False))
        sources, left_out = _plan(path, opened, hdus)
        if not sources:
            raise EmptyGraphError(
                where=path, found="; ".join(left_out) or "headers without data", expected="an image, a spectrum or a light curve",
                remedy="Give the HDU that holds the data, or convert it.",
            )
        damaged = ", ".join(hdu.name for hdu in hdus if not hdu.intact)
        unused = ", ".join(reason.partition(":")[0] for reason in left_out)
        facts: dict[str, Scalar] = {"hdus_left_out": unused, "checksum_mismatch": damaged, "bytes_after_the_end": surplus,
                                    "unparsed_cards": ", ".join(card for hdu in hdus for card in hdu.unparsed)}
        notes: dict[str, Scalar] = {name: fact for name, fact in facts.items() if fact}
        for name, source in sources:
            try:
                for record in source:
                    yield record if isinstance(record, BadRecord) else replace(record, notes={**notes, **record.notes})
            except GeoembedError as error:  # the other HDUs can still be read
                yield BadRecord(name, error)


def _plan(path: Path, opened: Any, hdus: list[Hdu]) -> tuple[list[Source], list[str]]:
    """What the file holds, as (name, iterator that reads when it is run), and which HDUs are left out and why."""
    heads = [hdu for hdu in hdus if is_head(hdu)]
    if heads:
        return [(head.name, pair_records(path, opened, head, hdus[0])) for head in heads], []
    refuse_photometry(path, hdus)
    images = [hdu for hdu in hdus if hdu.kind in ("image", "compressed") and hdu.shape]
    sources, left_out = _image_sources(path, opened, images, hdus)
    for hdu in hdus:
        if hdu.kind == "table" and is_pixel_table(hdu):
            chosen = optimal_aperture(path, opened, hdus)
            if chosen is None:
                left_out.append(f"{hdu.name}: a target pixel file without an optimal aperture (sum its fluxes over one to a light curve)")
            else:
                sources.append((hdu.name, _pixel_records(path, opened, hdu, hdus[0], chosen)))
        elif hdu.kind == "table":
            try:
                form = form_of(column_names(hdu), f"{path} [{hdu.name}]")
            except MissingColumnError as error:
                left_out.append(f"{hdu.name}: no form for the columns {error.found}")
                continue
            sources.append((hdu.name, table_records(path, opened, hdu, hdus, form)))
        elif hdu.kind not in ("image", "compressed"):
            left_out.append(f"{hdu.name}: XTENSION {hdu.kind}")
    return sources, left_out


def _pixel_records(path: Path, opened: Any, hdu: Hdu, primary: Hdu, chosen: Any) -> Iterator[Record | BadRecord]:
    """The light curve of a target pixel file, summed over the aperture that the mission chose."""
    table = pixel_frame(path, opened, hdu, chosen)
    if table is None:
        raise UnreadableFileError(
            where=f"{path} [{hdu.name}]", found="pixels of another shape than APERTURE", expected=f"images of {list(chosen.shape)}",
            remedy="Fetch the file again.",
        )
    for record in light_curves(table, hdu, primary):
        yield record if isinstance(record, BadRecord) else replace(record, notes={**record.notes, "aperture_pixels": int(chosen.sum())})


def _image_sources(path: Path, opened: Any, images: list[Hdu], hdus: list[Hdu]) -> tuple[list[Source], list[str]]:
    """Spectra and pictures among the images."""
    left_out: list[str] = []
    together = families(images)
    members = {hdu.index for family in together for hdu in family.values()}
    rows: list[Hdu] = []
    pictured: list[Hdu] = []
    companions: list[Hdu] = []
    for hdu in (hdu for hdu in images if hdu.index not in members):
        if together:  # CONTINUUM, MASK, RESOLUTION …
            left_out.append(f"{hdu.name}: an image beside a spectrum")
        elif is_companion(hdu, path.name):
            companions.append(hdu)
        else:
            (rows if is_axis(hdu) else pictured).append(hdu)
    if pictured:  # a row without wavelengths beside a picture is a calibration of it; alone it is a spectrum that lacks them
        left_out += [f"{hdu.name}: a row without wavelengths" for hdu in rows if not has_wavelengths(hdu)]
        rows = [hdu for hdu in rows if has_wavelengths(hdu)]
    known = attached(pictured, companions)
    used = {hdu.index for attachments in known.values() for hdu in attachments}
    left_out += [f"{hdu.name}: a weight, mask or error image" for hdu in companions if hdu.index not in used]
    redshift = redshift_of(path, opened, hdus) if together or rows else None
    sources: list[Source] = [(family["flux"].name, family_records(path, opened, family, redshift)) for family in together]
    sources += [(hdu.name, axis_records(path, opened, hdu, redshift)) for hdu in rows]
    sources += [(stack[0].name, pictures(path, opened, stack, hdus[0], known)) for stack in stacks(pictured)]
    return sources, left_out
