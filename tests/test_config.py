"""Configurations: validated, frozen, the same after JSON and TOML."""

from __future__ import annotations

import dataclasses
import json

import pytest
from geoembed import registry
from geoembed.config import config, from_json, from_mapping, from_toml, to_json
from geoembed.encoders.base import configured
from geoembed.errors import ConfigError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import PositiveInt


@config
class Sizes:
    """Sample."""

    hidden_dim: PositiveInt = 8
    cutoff: float = 5.0
    widths: tuple[PositiveInt, ...] = (4, 8)
    name: str = "small"


@given(st.integers(1, 10**6), st.floats(allow_nan=False, allow_infinity=False), st.lists(st.integers(1, 99)).map(tuple), st.text(max_size=9))
def test_a_configuration_survives_json_with_every_field(hidden_dim, cutoff, widths, name):
    settings = Sizes(hidden_dim=hidden_dim, cutoff=cutoff, widths=widths, name=name)
    assert from_json(Sizes, to_json(settings)) == settings
    assert set(json.loads(to_json(Sizes()))) == {"hidden_dim", "cutoff", "widths", "name"}


def test_toml_is_read_with_the_same_rules(tmp_path):
    path = tmp_path / "sizes.toml"
    path.write_text('hidden_dim = 16\nwidths = [1, 2]\n')
    assert from_toml(Sizes, path) == Sizes(hidden_dim=16, widths=(1, 2))
    path.write_text("hidden = 16\n")
    with pytest.raises(ConfigError, match=r"Sizes\.hidden: found 16; expected .*1 setting\(s\) to correct"):
        from_toml(Sizes, path)


@pytest.mark.parametrize(("values", "match"), [
    ({"hidden_dim": 0}, r"Sizes\.hidden_dim: found 0; expected Input should be greater than 0"),
    ({"hidden_dim": "many"}, r"Sizes\.hidden_dim: found 'many'"), ({"dropout": 0.1}, r"Sizes\.dropout: found 0\.1"),
    ({"cutoff": float("nan")}, r"Sizes\.cutoff: found nan; expected .*finite"), ({"widths": [1, -1]}, r"Sizes\.widths\.1: found -1"),
    ({"hidden_dim": -1, "cutoff": "x"}, r"2 setting\(s\) to correct; the fields are those of Sizes"),
])
def test_a_wrong_setting_is_named_with_what_was_found(values, match):
    with pytest.raises(ConfigError, match=match):
        from_mapping(Sizes, values)
    if not any(value != value for value in values.values()):  # JSON has no NaN
        with pytest.raises(ConfigError, match=match):
            from_json(Sizes, json.dumps(values))


def test_text_that_is_no_json_is_a_config_error():
    with pytest.raises(ConfigError, match="Sizes"):
        from_json(Sizes, "{")


def test_a_configuration_is_frozen_keyword_only_and_changed_by_validation():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Sizes().hidden_dim = 4
    with pytest.raises(Exception, match="positional"):
        Sizes(4)
    assert configured(Sizes(), hidden_dim=4) == Sizes(hidden_dim=4)
    with pytest.raises(Exception, match="greater than 0"):
        configured(Sizes(), hidden_dim=0)
    assert hash(Sizes()) == hash(Sizes())


@pytest.mark.parametrize("name", registry.names("geoembed.encoders"))
def test_the_defaults_of_every_encoder_survive_json_and_refuse_unknown_keys(name):
    cls = registry.load("geoembed.encoders", name).config_class
    assert from_json(cls, to_json(cls())) == cls()
    assert cls().embedding_dim in (128, 256, 512)
    with pytest.raises(ConfigError, match=rf"{cls.__name__}\.no_such_setting"):
        from_mapping(cls, {"no_such_setting": 1})
    for field in dataclasses.fields(cls):
        if field.name != "surface_variables" and isinstance(getattr(cls(), field.name), int):
            with pytest.raises(ConfigError, match=rf"{cls.__name__}\.{field.name}: found 0"):
                from_mapping(cls, {field.name: 0})
