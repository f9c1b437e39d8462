"""What ``read`` says of a wrong call."""

from __future__ import annotations

import pytest
from geoembed import read
from geoembed.errors import ConfigError


def test_an_unknown_way_with_errors_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'quarantine' or 'raise'"):
        read(tmp_path, on_error="ignore")


def test_a_path_that_is_not_there_is_not_called_damaged(tmp_path):
    items = read(tmp_path / "nosuch.cif")
    assert list(items) == []
    (bad,) = items.quarantined
    assert "no such file" in bad.reason
    assert "damaged" not in bad.reason
