"""What ``read`` says of a wrong call."""

from __future__ import annotations

import pytest
from geoembed import read
from geoembed.errors import ConfigError


def test_an_unknown_way_with_errors_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'quarantine' or 'raise'"):
        read(tmp_path, on_error="ignore")
