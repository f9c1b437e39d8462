"""Optional libraries: imported when a format needs them, with a one-line remedy when absent."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from geoembed.errors import MissingExtraError


def require(module: str, extra: str) -> ModuleType:
    """Import ``module``; raise :class:`MissingExtraError` that names the extra of geoembed which brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            where=module, found=f"not importable ({error})", expected="an installed library",
            remedy=f"pip install 'geoembed[{extra}]'",
        ) from error
