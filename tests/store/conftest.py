"""A way to make a small store of given records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from geoembed.store import Store
from geoembed.store.atomic import locked
from geoembed.store.manifest import Journal
from store_samples import Item, chunk

Make = Callable[..., Store]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A store in ``tmp_path / "store"`` (or ``folder``) of one chunk an argument."""

    def build(*chunks: Sequence[Item], folder: Path = tmp_path / "store") -> Store:
        with locked(folder):
            journal = Journal(folder)
            entries = [chunk(folder, f"key{n}", items, [f"file{n}"]) for n, items in enumerate(chunks)]
            for entry in entries:
                journal.add(entry)
            return journal.close(entries)

    return build
