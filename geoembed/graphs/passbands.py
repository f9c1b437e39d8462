"""Photometric passbands: one vocabulary, in rough order of effective wavelength, and the names that surveys use for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from numbers import Integral

import torch
from torch import Tensor

from geoembed.errors import UnknownNameError, ValueRangeError

WAVELENGTH = {  # effective wavelength [Å]; SVO Filter Profile Service, rounded to 10 Å
    "unspecified": 0,
    "FUV": 1550, "UVW2": 2080, "UVM2": 2250, "NUV": 2300, "UVW1": 2680, "F275W": 2720, "F336W": 3360, "U": 3600, "u": 3610,
    "F390W": 3940, "B": 4340, "F435W": 4330, "F438W": 4330, "F475W": 4780, "g": 4720, "BP": 5040, "c": 5250, "V": 5460,
    "F555W": 5330, "F606W": 5960, "clear": 5800, "w": 6080, "G": 5830, "Kepler": 6400, "r": 6190, "R": 6440, "F625W": 6310,
    "o": 6680, "TESS": 7700, "i": 7500, "F775W": 7690, "RP": 7620, "I": 7990, "F814W": 8070, "z": 8960, "F850LP": 9040, "y": 9620,
    "Y": 10200, "F105W": 10430, "F110W": 11200, "J": 12350, "F125W": 12360, "F140W": 13730, "F160W": 15280, "H": 16600,
    "K": 21600, "W1": 33500, "W2": 46000,
}
PASSBANDS = tuple(WAVELENGTH)
"""Token t is passband ``PASSBANDS[t]``; 0 is "unspecified"."""

VOCABULARY = 64
"""Size of an encoder's passband table: room for bands to come without a change of weights."""

_SEPARATORS = "-_:. /"
_SHORT = 2
"""Letters of a band that needs a survey to be understood; longer names (F814W, UVW1) mean the same everywhere."""

_SLOAN = {letter.upper(): letter for letter in "ugriz"}
_JOHNSON = {letter.lower(): letter for letter in "UBVRI"}
_UVOT = {"w1": "UVW1", "w2": "UVW2", "m2": "UVM2"}
_GAIA = {"g": "G", "gbp": "BP", "grp": "RP", "g_bp": "BP", "g_rp": "RP"}
_SURVEYS: dict[str, dict[str, str]] = {  # which bands mean something else there than alone
    survey: bands
    for names, bands in (
        ("sdss sloan ztf lsst rubin des decam delve ps1 panstarrs hsc megacam cfht skymapper goto kids legacy vst omegacam asassn "
         "keplercam blackgem lco csp snls", _SLOAN),
        ("bessell bessel johnson cousins landolt kait standard", _JOHNSON),
        ("uvot swift swiftuvot swift_uvot", _UVOT),
        ("gaia", _GAIA),
        ("2mass twomass vista ukirt ukidss wircam nisp euclid spitzer wise unwise neowise galex tess kepler k2 atlas hst acs wfc3 css "
         "crts linear ogle macho", {}),
    )
    for survey in names.split()
}
"""Surveys and systems that may stand before or after a band: a letter after an unknown word may mean anything, or be a color."""

_ALIASES = {
    "zg": "g", "zr": "r", "zi": "i", "v": "V", "b": "B", "gp": "g", "rp": "r", "ip": "i", "zs": "z", "ks": "K", "kp": "Kepler",
    "cyan": "c", "orange": "o", "unfiltered": "clear", "cv": "V", "white": "clear", "u'": "u", "g'": "g", "r'": "r", "i'": "i",
    "z'": "z", "fuv": "FUV", "nuv": "NUV", "uvw1": "UVW1", "uvw2": "UVW2", "uvm2": "UVM2", "kepler": "Kepler", "tess": "TESS",
    "clear": "clear", "w1": "W1", "w2": "W2", "": "unspecified", "none": "unspecified", "nan": "unspecified", "h": "H", "j": "J", "k": "K",
    "ic": "I", "rc": "R", "i_c": "I", "r_c": "R", "gbp": "BP", "grp": "RP", "g_bp": "BP", "g_rp": "RP",
}


def passband_index(name: str) -> int:
    """Token of a passband by any of its usual names; :class:`UnknownNameError` lists the known ones.

    >>> PASSBANDS[passband_index("ztfg")], PASSBANDS[passband_index("SDSS_i")], PASSBANDS[passband_index("Bessell V")]
    ('g', 'i', 'V')
    """
    text = str(name).strip()
    for candidate in _candidates(text):
        if known := _known(candidate):
            return PASSBANDS.index(known)
    raise UnknownNameError(
        where="passband", found=repr(text), expected=f"one of {', '.join(PASSBANDS[1:])}",
        remedy=f"Nearest: {', '.join(get_close_matches(text, PASSBANDS, n=3, cutoff=0.3)) or 'none'}. Rename the band.",
    )


def _known(name: str) -> str:
    """The passband that a name without a survey means; empty where there is none."""
    if name in WAVELENGTH:
        return name
    if name.lower() in _ALIASES:
        return _ALIASES[name.lower()]
    return name.upper() if len(name) > 1 and name.upper() in WAVELENGTH else ""


def _candidates(text: str) -> Iterator[str]:
    """The name itself; what a survey before or after it makes of it; a last part that is long enough to mean one thing anywhere."""
    yield text
    lower = text.lower()
    for survey, bands in sorted(_SURVEYS.items(), key=lambda item: -len(item[0])):  # "swiftuvot" before "swift"
        band = ""
        if lower.startswith(survey):
            band = text[len(survey) :].lstrip(_SEPARATORS)
        elif lower.endswith(survey) and text[: -len(survey)].endswith(tuple(_SEPARATORS)):
            band = text[: -len(survey)].rstrip(_SEPARATORS)
        if band:
            yield bands.get(band) or bands.get(band.lower()) or band
    for word in ("band", "filter"):
        if lower.endswith(word) and text[: -len(word)].endswith(tuple(_SEPARATORS)):
            yield text[: -len(word)].rstrip(_SEPARATORS)
    for separator in _SEPARATORS:
        last = text.rsplit(separator, 1)[-1]
        if last != text and len(last) > _SHORT:
            yield last


def passband_tokens(names: Iterable[object]) -> Tensor:
    """Tokens [N] int64 of passband names; integers are taken as tokens, 0…63."""
    known: dict[object, int] = {}
    tokens = []
    for name in names:
        if name not in known:
            known[name] = _token(name) if isinstance(name, Integral) else passband_index(str(name))
        tokens.append(known[name])
    return torch.tensor(tokens, dtype=torch.int64)


def _token(number: Integral) -> int:
    token = int(number)
    if not 0 <= token < VOCABULARY:
        raise ValueRangeError(where="passband", found=f"token {token}", expected=f"0…{VOCABULARY - 1}", remedy="Give names of bands.")
    return token
