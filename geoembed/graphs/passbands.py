"""Photometric passbands: one vocabulary, in rough order of effective wavelength, and the names that surveys use for them."""

from __future__ import annotations

from collections.abc import Iterable
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

_PREFIXES = ("ztf", "lsst", "sdss", "des", "ps1", "decam", "bessell", "bessel", "johnson", "landolt", "2mass", "gaia", "wise", "swift")
_ALIASES = {
    "zg": "g", "zr": "r", "zi": "i", "v": "V", "b": "B", "gp": "g", "rp": "r", "ip": "i", "zs": "z", "ks": "K", "kp": "Kepler",
    "cyan": "c", "orange": "o", "unfiltered": "clear", "cv": "V", "white": "clear", "u'": "u", "g'": "g", "r'": "r", "i'": "i",
    "z'": "z", "fuv": "FUV", "nuv": "NUV", "uvw1": "UVW1", "uvw2": "UVW2", "uvm2": "UVM2", "kepler": "Kepler", "tess": "TESS",
    "clear": "clear", "w1": "W1", "w2": "W2", "": "unspecified", "none": "unspecified", "nan": "unspecified", "h": "H", "j": "J", "k": "K",
}


def passband_index(name: str) -> int:
    """Token of a passband by any of its usual names; :class:`UnknownNameError` lists the known ones.

    >>> PASSBANDS[passband_index("ztfg")], PASSBANDS[passband_index("SDSS_i")], PASSBANDS[passband_index("Bessell V")]
    ('g', 'i', 'V')
    """
    text = str(name).strip()
    for candidate in _candidates(text):
        if candidate in WAVELENGTH:
            return PASSBANDS.index(candidate)
        if candidate.lower() in _ALIASES:
            return PASSBANDS.index(_ALIASES[candidate.lower()])
        if candidate.upper() in WAVELENGTH and len(candidate) > 1:
            return PASSBANDS.index(candidate.upper())
    raise UnknownNameError(
        where="passband", found=repr(text), expected=f"one of {', '.join(PASSBANDS[1:])}",
        remedy=f"Nearest: {', '.join(get_close_matches(text, PASSBANDS, n=3, cutoff=0.3)) or 'none'}. Rename the band.",
    )


def _candidates(text: str) -> list[str]:
    """The name itself, without a survey's prefix, and its last part."""
    parts = [text[len(prefix) :].lstrip("_-: .") for prefix in _PREFIXES if text.lower().startswith(prefix)]
    parts += [text.rsplit(separator, 1)[1] for separator in "-_:. /" if separator in text]
    return [text, *filter(None, parts)]  # the prefix alone names no band


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
