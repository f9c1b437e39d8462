"""Plug-ins by entry point, loaded when first used: encoders, readers, table forms, kinds.

Built-ins and plug-ins from other packages take the same way. A plug-in that fails to import is a warning and a line in
``geoembed doctor``; it harms no other.
"""

from __future__ import annotations

import warnings
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from geoembed.errors import UnknownNameError

GROUPS = ("geoembed.encoders", "geoembed.readers", "geoembed.tables", "geoembed.kinds")


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in sorted(entry_points(group=group), key=lambda e: e.name)}


def names(group: str) -> list[str]:
    """Registered names of a group, sorted; nothing is imported.

    >>> "crystal" in names("geoembed.encoders")
    True
    """
    return list(_entries(group))


def load(group: str, name: str) -> Any:
    """The object registered under ``name``; :class:`UnknownNameError` lists the nearest names."""
    entries = _entries(group)
    if name not in entries:
        nearest = get_close_matches(name, entries, n=3) or list(entries)
        raise UnknownNameError(
            where=group, found=repr(name), expected=f"one of {', '.join(entries)}", remedy=f"Nearest: {', '.join(nearest)}."
        )
    return entries[name].load()


@cache
def load_all(group: str) -> dict[str, Any]:
    """Every object of a group that imports, by name; one that does not is warned about and left out."""
    loaded = {}
    for name, entry in _entries(group).items():
        try:
            loaded[name] = entry.load()
        except (ImportError, AttributeError) as error:  # a broken plug-in must not take the others with it
            warnings.warn(f"{group} {name!r} ({entry.value}) does not import and is left out: {error}", stacklevel=2)
    return loaded


def broken(group: str) -> dict[str, str]:
    """Reasons of the plug-ins of a group that do not import, by name."""
    reasons = {}
    for name, entry in _entries(group).items():
        try:
            entry.load()
        except (ImportError, AttributeError) as error:
            reasons[name] = f"{entry.value}: {error}"
    return reasons
