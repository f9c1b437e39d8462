"""Named bands put into the fixed slots of a layout, so that instruments with other bands share one encoder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

import torch
from torch import Tensor

from geoembed.errors import UnknownNameError, ValueRangeError

SENTINEL2 = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""The 13 bands of Sentinel-2's MultiSpectral Instrument in order of wavelength (ESA Sentinel-2 User Handbook 2015, table 1)."""

SDSS = ("u", "g", "r", "i", "z")
"""Sloan Digital Sky Survey filters in order of wavelength (Fukugita et al. 1996)."""

# STAC common names (electro-optical extension 1.1) and the colors of a picture, in slots of Sentinel-2's layout
_COMMON = {
    "coastal": "B01", "blue": "B02", "green": "B03", "red": "B04", "rededge1": "B05", "rededge2": "B06", "rededge3": "B07",
    "nir": "B08", "nir08": "B8A", "nir09": "B09", "cirrus": "B10", "swir16": "B11", "swir22": "B12",
}


def sentinel2_slots(names: Sequence[str]) -> dict[int, str]:
    """{channel: slot of :data:`SENTINEL2`} for the channels whose names say what they are; names may be empty.

    Known are B02 and B2, and common names such as ``nir``. Where ``B5`` … ``B11`` stand without one of B01 … B09, B8A or
    B12, they may as well be Landsat's, which number other wavelengths: then, and where two names mean one slot, none is given.

    >>> sentinel2_slots(["B2", "B8A", "SCL"]), sentinel2_slots(["red", "nir"]), sentinel2_slots(["B4", "B5"])
    ({0: 'B02', 1: 'B8A'}, {0: 'B04', 1: 'B08'}, {})
    """
    plain = [name.strip().upper() for name in names]
    certain = any(re.fullmatch(r"B(0\d|8A|12)", name) for name in plain)
    if not certain and any(re.fullmatch(r"B([5-9]|1[01])", name) for name in plain):
        return {}
    padded = [re.sub(r"^B(\d)$", r"B0\1", name) for name in plain]
    slots = {i: name if name in SENTINEL2 else _COMMON.get(name.lower(), "") for i, name in enumerate(padded)}
    slots = {i: slot for i, slot in slots.items() if slot}
    return slots if len(set(slots.values())) == len(slots) else {}


def place_bands(
    image: Tensor, bands: Sequence[str], layout: Sequence[str], mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """image [C, H, W] whose channels are ``bands`` -> (image [L, H, W], mask [L, H, W] bool) with one slot a name of ``layout``.

    Absent bands are 0 and unmeasured. ``mask`` [H, W] or [C, H, W], True = measured, goes to the slots with its band. Raises
    :class:`UnknownNameError` for a band outside the layout, :class:`ValueRangeError` for a band given twice or a count of names
    that is not the count of channels.

    >>> image, mask = place_bands(torch.full((1, 2, 2), 7.0), ["g"], SDSS)
    >>> image[:, 0, 0].tolist(), mask[:, 0, 0].tolist()
    ([0.0, 7.0, 0.0, 0.0, 0.0], [False, True, False, False, False])
    """
    if len(bands) != image.shape[0] or len(set(bands)) != len(bands):
        raise ValueRangeError(
            where="place_bands", found=f"{image.shape[0]} channels called {', '.join(bands)}",
            expected="one name a channel, each once", remedy="Name each channel, and average or drop repeated bands.",
        )
    for band in bands:
        if band not in layout:
            near = get_close_matches(band, layout, n=3, cutoff=0.4) or list(layout)
            raise UnknownNameError(
                where="place_bands", found=repr(band), expected=f"one of {', '.join(layout)}",
                remedy=f"Nearest: {', '.join(near)}. Leave other bands out.",
            )
    slots = torch.tensor([layout.index(band) for band in bands], device=image.device)
    placed = image.new_zeros((len(layout), *image.shape[1:]))
    measured = torch.zeros_like(placed, dtype=torch.bool)
    placed[slots] = image
    measured[slots] = torch.ones_like(image, dtype=torch.bool) if mask is None else mask.expand(image.shape).bool()
    return placed, measured
