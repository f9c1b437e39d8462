"""What a FITS file knows about the pixels of its images: masks, data quality, weights and errors, and where they look at the sky."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geoembed.io.damage import PARSER_ERRORS
from geoembed.io.extras import require
from geoembed.io.fits_headers import Hdu, quiet
from geoembed.schema import Scalar

_FLAGS = frozenset({"BPM", "DQ", "DQMASK", "FLAG", "FLAGS", "MASK", "QUALITY"})  # not 0: bad
_WEIGHTS = frozenset({"COVERAGE", "EXPMAP", "EXPOSURE", "INVVAR", "IVAR", "WEIGHT", "WHT", "WTMAP"})  # 0 or less: not observed
_ERRORS = frozenset({"ERR", "ERROR", "RMS", "SIGMA", "STD", "STDDEV", "UNCERT", "VAR", "VARIANCE"})  # 0 or less, NaN: not observed
_OTHERS = frozenset({"APERTURE", "BKG", "CON", "CONTEXT", "CTX", "SAMP", "TIME"})
_PRODUCTS = re.compile(r"_oo[wd]_|[._-](wht|weight|wt|ivar|invvar|rms|mask|flag|var|unc)([._-]|$)", re.IGNORECASE)
_DO_NOT_USE = 1  # the only bit of JWST's DQ that excludes a pixel; others say how it was corrected


def is_companion(hdu: Hdu, file: str) -> bool:
    """Whether an image is a weight map, a mask or an error, by its name, product type or the file's name."""
    return bool(_words(hdu) & (_FLAGS | _WEIGHTS | _ERRORS | _OTHERS)) or bool(_PRODUCTS.search(file))


def attached(pictures: Sequence[Hdu], companions: Sequence[Hdu]) -> dict[int, list[Hdu]]:
    """The companions of each picture, by its index: of equal sides, and of its FILTER and EXTVER where both have them.

    Where nothing else tells, a companion that is the only one of its kind belongs to all pictures, else to the one before it.
    """
    found: dict[int, list[Hdu]] = {}
    useful = [hdu for hdu in companions if _words(hdu) & (_FLAGS | _WEIGHTS | _ERRORS)]
    kinds = Counter(_kind(hdu) for hdu in useful)
    for hdu in useful:
        candidates = [picture for picture in pictures if picture.shape[-2:] == hdu.shape and len(hdu.shape) == 2]
        told = False
        for keys in (("BAND", "FILTER"), ("EXTVER",)):
            equal = [picture for picture in candidates if hdu.text(*keys) and picture.text(*keys) == hdu.text(*keys)]
            told, candidates = told or bool(equal), equal or candidates
        if not told and kinds[_kind(hdu)] > 1:
            candidates = [picture for picture in candidates if picture.index < hdu.index][-1:]
        for picture in candidates:
            found.setdefault(picture.index, []).append(hdu)
    return found


def good_pixels(
    path: Path, opened: Any, companions: Sequence[Hdu], rows: slice, columns: slice
) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """(pixels [h, w] of a part of an image that none of its companions excludes, the names of those that exclude any)."""
    good = np.ones((rows.stop - rows.start, columns.stop - columns.start), dtype=bool)
    names: list[str] = []
    for hdu in companions:
        with quiet(path), np.errstate(all="ignore"):
            part = np.asarray(opened[hdu.index].section[rows, columns])
            if part.shape != good.shape:
                raise ValueError(f"shape {part.shape} where {hdu.shape} is declared")
        bad = _bad(hdu, part)
        if bad.any():
            names.append(hdu.name)
            good &= ~bad
    return good, names


def _bad(hdu: Hdu, part: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    words = _words(hdu)
    excluded: npt.NDArray[np.bool_]
    if words & _FLAGS:
        flags = part.astype(np.int64) if part.dtype.kind in "iu" else np.nan_to_num(part, nan=1.0)
        if hdu.text("TELESCOP").upper() == "JWST" and part.dtype.kind in "iu":
            flags = flags & _DO_NOT_USE
        excluded = flags != 0
        return excluded
    excluded = ~(part > 0)  # NaN too
    if words & _ERRORS and excluded.all():  # an error that is nowhere known says nothing
        excluded = np.zeros_like(excluded)
    return excluded


def sky_notes(opened: Any, hdu: Hdu, row: float, column: float) -> dict[str, Scalar]:
    """Right ascension and declination [deg] of a pixel and the side of a pixel [arcsec] by the WCS; empty without one.

    They are labels for finding things again, never inputs. A WCS that cannot be understood is noted and costs nothing else.
    """
    if not hdu.text("CTYPE1").upper().startswith(("RA", "DEC", "GLON", "GLAT", "ELON", "ELAT")):
        return {}
    wcs = require("astropy.wcs", "astronomy")
    utilities = require("astropy.wcs.utils", "astronomy")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            system = wcs.WCS(opened[hdu.index].header, naxis=2)
            place = system.pixel_to_world(column, row).icrs
            sides = utilities.proj_plane_pixel_scales(system.celestial) * 3600
            found = {"ra": float(place.ra.deg), "dec": float(place.dec.deg), "pixel_arcsec": float(np.sqrt(sides[0] * sides[1]))}
    except PARSER_ERRORS:
        return {"wcs_unreadable": True}
    known = all(np.isfinite(value) for value in found.values())
    return {name: round(value, 7) for name, value in found.items()} if known else {"wcs_unreadable": True}


def mask_notes(masked: int, names: Mapping[str, None]) -> dict[str, Scalar]:
    """How many pixels were excluded, and by which HDUs."""
    return {"masked_pixels": masked, "masked_by": ", ".join(names)} if masked else {}


def _words(hdu: Hdu) -> set[str]:
    text = " ".join(hdu.text(key) for key in ("EXTNAME", "PRODTYPE", "EXTTYPE", "IMAGETYP"))
    return set(re.split(r"[^A-Z]+", text.upper()))


def _kind(hdu: Hdu) -> str:
    return " ".join(sorted(_words(hdu) & (_FLAGS | _WEIGHTS | _ERRORS)))
