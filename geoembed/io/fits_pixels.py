"""Target pixel files of Kepler, K2 and TESS: the light curve is the sum over the pixels that the mission chose.

Bit 1 of an APERTURE pixel (value 2) marks the optimal aperture of the pipeline's own photometry (Kepler Archive Manual,
section 2.3.2; TESS Science Data Products Description, table 8): the sum is its "simple aperture photometry" (SAP).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geoembed.io.budget import check_budget
from geoembed.io.fits_headers import Hdu, quiet

_OPTIMAL = 2


def is_pixel_table(hdu: Hdu) -> bool:
    """Whether the FLUX of a table is a small image a row, beside the time of each."""
    fields = range(1, int(hdu.number("TFIELDS") or 0) + 1)
    names = {hdu.text(f"TTYPE{i}").upper() for i in fields}
    return "TIME" in names and any(hdu.text(f"TTYPE{i}").upper() == "FLUX" and "," in hdu.text(f"TDIM{i}") for i in fields)


def optimal_aperture(path: Path, opened: Any, hdus: list[Hdu]) -> Any:
    """The pixels [H, W] bool of the optimal aperture, or None where the file has none."""
    found = next((hdu for hdu in hdus if hdu.name.upper() == "APERTURE" and hdu.kind == "image" and len(hdu.shape) == 2), None)
    if found is None:
        return None
    with quiet(path):
        bits = np.asarray(opened[found.index].data)
    chosen = bits.astype(np.int64) & _OPTIMAL > 0 if bits.dtype.kind in "iu" else np.zeros(bits.shape, dtype=bool)
    return chosen if chosen.any() else None


def pixel_frame(path: Path, opened: Any, hdu: Hdu, chosen: Any) -> pd.DataFrame | None:
    """TIME, SAP_FLUX, SAP_FLUX_ERR and QUALITY of a pixel table; None where the aperture has another shape.

    A cadence of which a chosen pixel is missing has no flux; errors of pixels are independent.
    """
    check_budget(f"{path} [{hdu.name}]", (int(hdu.number("NAXIS1") or 0), int(hdu.number("NAXIS2") or 0)), 2)
    with quiet(path):
        data = opened[hdu.index].data
        names = {name.upper(): name for name in opened[hdu.index].columns.names}
        flux = np.asarray(data.field(names["FLUX"]), dtype=np.float64)
        if flux.shape[1:] != chosen.shape:
            return None
        table = {"TIME": np.array(data.field(names["TIME"]), dtype=np.float64), "SAP_FLUX": flux[:, chosen].sum(axis=1)}
        if "FLUX_ERR" in names:
            error = np.asarray(data.field(names["FLUX_ERR"]), dtype=np.float64)
            table["SAP_FLUX_ERR"] = np.sqrt(np.square(error[:, chosen]).sum(axis=1))
        if "QUALITY" in names:
            table["QUALITY"] = np.array(data.field(names["QUALITY"]), dtype=np.int64)
    return pd.DataFrame(table)
