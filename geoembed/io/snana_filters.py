"""One-letter filter codes of supernova surveys: what they stand for, where the file or a published table says so.

SNANA gives every filter of a combined survey one letter, so that "g" may be the B of another telescope. The tables here are those
of the Pantheon+ calibration (Brout et al. 2022, ApJ 938, 111; public release, files ``kcor_*.input``). A comment behind FILTERS
(``# UBVri -> fghij``) is the file's own table.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from geoembed.errors import UnknownNameError
from geoembed.graphs.passbands import PASSBANDS, passband_index

_COMMENT = re.compile(r"^\s*(\S+)\s*->\s*(\S+)\s*$")

_LOWZ = dict(zip(
    "abcde" "fghij" "klmno" "pqrs" "BCDEF" "GHIJK" "tuvwxyzA",
    [*"UBVRI", *"UBVri", *"UBVri", *"BVri", *"UBVRI", *"UBVRI", *"uBVVVgri"], strict=True,
))  # CfA3 4Shooter2, CfA3 Keplercam, CfA4 period 1 and 2, CfA1, CfA2, CSP DR2
_CANDELS = [
    "F435W", "F475W", "F606W", "F625W", "F775W", "F814W", "F850LP", "F225W", "F275W", "F336W", "F390W", "F350LP", "F105W", "F110W",
    "F125W", "F140W", "F160W", "F098M", "F127M", "F139M", "F153M",
]
_GOODS = ["F110W", "F160W", "F606W", "F675W", "F775W", "F814W", "F850LP"]
_SNAP, _HDF = ["F110W", "F775W", "F850LP"], ["F110W", "F160W", "F814W", "F110W", "H", "F775W", "F850LP"]
_HST = dict(zip("abcdefghijklmnopqrstu" "vwxyzAB" "CDE" "FGHIJKL", [*_CANDELS, *_GOODS, *_SNAP, *_HDF], strict=True))
_KAIT = dict(zip("ABCD" "EFGH" "IJKL" "MNOP" "abcd" "efgh", [*"BVRI" * 6], strict=True))  # KAIT 3, 4, Nickel 1, 2, KAIT 1, 2
_CSP = dict(zip("ugriBV" "omn" "YyJjHh", [*"ugriBV", *"VVV", *"YYJJHH"], strict=True))  # three V filters, two infrared cameras
_ASASSN = dict(zip("abdc" "gjih", [*"BVri" * 2], strict=True))

_TABLES: Mapping[str, tuple[tuple[str, ...], Mapping[str, str]]] = {  # survey: (its FILTERS lines, what they mean)
    "PS1_LOWZ_COMBINED": (("abcdefghijklmnopqrstuvwxyzABCDEFGHIJK",), _LOWZ),
    "PS1_HST_COMBINED": (("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL",), _HST),
    "KAIT": (("ABCDEFGHIJKLMNOP",), _KAIT),
    "KAITM": (("ABCDEFGHIJKLMNOPabcdefgh",), _KAIT),
    "CSP": (("ugriBnmoJjYyH", "ugriBomn", "ugriBV", "CSP_filters"), _CSP),
    "ASASSN": (("abcdghij",), _ASASSN),
}


def filter_meanings(survey: str, filters: str, where: str, comment: str = "") -> Mapping[str, str]:
    """{letter: passband} of a header's SURVEY and FILTERS, and the comment behind FILTERS; empty where letters are passbands.

    Raises :class:`UnknownNameError` where a letter is no usual passband, two stand for one, or a combined survey lists none, and
    neither a published table nor the comment explains them; and where the comment contradicts the table.

    >>> filter_meanings("PS1_LOWZ_COMBINED(CFA3K)", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJK", "", "UBVri -> fghij")["g"]
    'B'
    """
    filters = (filters.split() or [""])[0]
    known, table = _TABLES.get(survey.partition("(")[0].strip(), ((), {}))
    own = _comment(comment)
    if filters in known:
        if odd := next((code for code, band in own.items() if code in table and not _same(table[code], band)), ""):
            raise _unknown(where, survey, f"{odd!r}: {own[odd]} by the header, {table[odd]} by the published table")
        return table
    if own:
        return own
    codes = _not_passbands(filters)
    if codes or ("(" in survey and not filters):
        raise _unknown(where, survey, f"{codes!r} of {filters!r}" if codes else "none listed")
    return {}


def renamed(bands: Iterable[str], meanings: Mapping[str, str], where: str, survey: str) -> tuple[list[str], str]:
    """(passbands of the codes ``bands``, which codes were replaced, for the notes); a code without a meaning raises."""
    codes = list(bands)
    used = sorted(set(codes) - {""})
    if odd := next((code for code in used if code not in meanings), ""):
        raise _unknown(where, survey, repr(odd))
    changed = " ".join(f"{code}={meanings[code]}" for code in used if meanings[code] != code)
    return [meanings.get(code, "") for code in codes], changed


def _comment(comment: str) -> Mapping[str, str]:
    """The table that a comment gives, ``native -> codes``, where its native names are usual passbands or digits."""
    match = _COMMENT.match(comment)
    if match is None or len(match[1]) != len(match[2]) or _not_passbands(match[1]):
        return {}
    return dict(zip(match[2], match[1], strict=True))


def _same(published: str, native: str) -> bool:
    """Whether a native one-letter name may be the published passband; names such as F850LP have native letters of their own."""
    return len(published) > 1 or published == native


def _not_passbands(filters: str) -> str:
    """The first letter that is no usual passband, or that is one already listed in another case."""
    tokens: Counter[int] = Counter()
    for letter in filters:
        try:
            token = passband_index(letter)
        except UnknownNameError:
            return letter
        tokens[token] += 1
        if tokens[token] > 1:
            return letter
    return ""


def _unknown(where: str, survey: str, codes: str) -> UnknownNameError:
    return UnknownNameError(
        where=where, found=f"filter codes of the survey {survey or '?'} itself ({codes})", expected=f"one of {', '.join(PASSBANDS[1:])}",
        remedy="Replace the codes by passbands, after the filter table of the survey.",
    )
