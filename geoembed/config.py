"""``@config``: frozen, keyword-only, validated dataclasses; TOML in, JSON out."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from geoembed.errors import ConfigError

C = TypeVar("C")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def config(cls: type[C]) -> type[C]:
    """Make ``cls`` a configuration: frozen, keyword-only, every field typed and bounded, unknown keys refused.

    >>> @config
    ... class Sizes:
    ...     hidden_dim: int = 8
    >>> from_json(Sizes, to_json(Sizes(hidden_dim=16))).hidden_dim
    16
    """
    rules = ConfigDict(extra="forbid", allow_inf_nan=False, strict=False)
    return dataclass(config=rules, frozen=True, kw_only=True)(cls)  # type: ignore[return-value]


def to_json(instance: Any) -> str:
    """A configuration as a JSON document with every field, defaults included."""
    return TypeAdapter(type(instance)).dump_json(instance, indent=2).decode()


def from_json(cls: type[C], text: str | bytes) -> C:
    """A configuration from JSON; an unknown key or a value out of bounds raises :class:`ConfigError`."""
    try:
        return TypeAdapter(cls).validate_json(text)
    except ValidationError as error:
        raise _config_error(cls, error) from error


def from_mapping(cls: type[C], values: dict[str, object]) -> C:
    """A configuration from a mapping, validated like :func:`from_json`."""
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        raise _config_error(cls, error) from error


def from_toml(cls: type[C], path: str | Path) -> C:
    """A configuration from a TOML file."""
    with open(path, "rb") as file:
        return from_mapping(cls, tomllib.load(file))


def _config_error(cls: type[object], error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return ConfigError(
        where=f"{cls.__name__}.{field}", found=repr(first["input"]), expected=first["msg"],
        remedy=f"{error.error_count()} setting(s) to correct; the fields are those of {cls.__name__}.",
    )
