"""Plug-ins by entry point; a broken one harms no other."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from geoembed import registry
from geoembed.errors import UnknownNameError


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch):
    """A group with a good plug-in, one whose module is absent and one whose name is."""
    group = "geoembed.encoders"
    entries = [EntryPoint(name, value, group) for name, value in (
        ("zeta", "json:dumps"), ("good", "math:hypot"), ("lost", "no_such_module_anywhere:Thing"), ("renamed", "math:no_such_function"))]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries)
    registry._entries.cache_clear()
    registry.load_all.cache_clear()
    yield group
    registry._entries.cache_clear()
    registry.load_all.cache_clear()


def test_names_are_sorted_and_nothing_is_imported(plugins):
    assert registry.names(plugins) == ["good", "lost", "renamed", "zeta"]


def test_a_plug_in_is_loaded_by_its_name(plugins):
    import json
    import math

    assert registry.load(plugins, "good") is math.hypot
    assert registry.load(plugins, "zeta") is json.dumps


def test_an_unknown_name_lists_the_nearest(plugins):
    with pytest.raises(UnknownNameError, match=r"geoembed\.encoders: found 'god'; expected one of good, lost.*Nearest: good"):
        registry.load(plugins, "god")
    with pytest.raises(UnknownNameError, match="Nearest: good, lost, renamed, zeta"):
        registry.load(plugins, "xxxxxxxx")


def test_broken_plug_ins_are_warned_about_and_left_out(plugins):
    with pytest.warns(UserWarning, match="does not import and is left out") as caught:
        assert sorted(registry.load_all(plugins)) == ["good", "zeta"]
    assert sorted(str(w.message).split("'")[1] for w in caught) == ["lost", "renamed"]


def test_the_reasons_of_broken_plug_ins_can_be_listed(plugins):
    reasons = registry.broken(plugins)
    assert sorted(reasons) == ["lost", "renamed"]
    assert "no_such_module_anywhere:Thing: No module named 'no_such_module_anywhere'" in reasons["lost"]
    assert "no_such_function" in reasons["renamed"]


@pytest.mark.parametrize("group", registry.GROUPS)
def test_no_built_in_is_broken(group):
    assert registry.broken(group) == {}
    assert registry.names(group)
