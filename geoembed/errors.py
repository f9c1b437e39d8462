"""Typed errors: each says where, what was found, what was expected and what to do next."""

from __future__ import annotations

from os import PathLike


class GeoembedError(Exception):
    """Base of every error that geoembed raises on purpose.

    Args:
        where: the file, record or field in question.
        found: the value that was met.
        expected: the value that would have been right.
        remedy: the next step for the person who reads the message.

    >>> print(GeoembedError(where="a.cif", found="Z = 0", expected="1…118", remedy="Correct the symbol."))
    a.cif: found Z = 0; expected 1…118. Correct the symbol.
    """

    def __init__(self, *, where: str | PathLike[str], found: object, expected: object, remedy: str) -> None:
        self.where, self.found, self.expected, self.remedy = str(where), found, expected, remedy
        super().__init__(f"{self.where}: found {found}; expected {expected}. {remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        # An error crosses process borders (the parsing worker raises it, the parent lists it).
        return _rebuild, (type(self), self.where, str(self.found), str(self.expected), self.remedy)


def _rebuild(cls: type[GeoembedError], where: str, found: str, expected: str, remedy: str) -> GeoembedError:
    return cls(where=where, found=found, expected=expected, remedy=remedy)


class SchemaError(GeoembedError):
    """A graph breaks the contract of :mod:`geoembed.schema`."""


class EmptyGraphError(GeoembedError):
    """A record holds nothing to make a node of."""


class ValueRangeError(GeoembedError):
    """A number is not finite, or lies outside its physical or tabulated range."""


class MissingFieldError(GeoembedError):
    """An encoder or a rule needs a field that the graph does not have."""


class MissingColumnError(GeoembedError):
    """A table lacks a column that its form requires."""


class UnknownNameError(GeoembedError):
    """No encoder, reader, passband, weights or variable of that name; the nearest names are listed."""


class UnreadableFileError(GeoembedError):
    """No reader opens the file, or its reader met something that it does not understand."""


class TruncatedFileError(GeoembedError):
    """The file ends before its own header says that it should."""


class UnsafeFileError(GeoembedError):
    """The file could run code or write outside its place when opened: pickle, path tricks, expressions."""


class BudgetError(GeoembedError):
    """Opening the file would take more memory or time than the limit allows."""


class MissingExtraError(GeoembedError):
    """An optional library is not installed."""


class BackendError(GeoembedError):
    """An accelerated back end is absent or disagrees with the torch specification."""


class ConfigError(GeoembedError):
    """A setting is unknown, missing or out of bounds."""


class StoreError(GeoembedError):
    """A store or vector table is locked, incomplete, of another format or does not match its checksums."""
