"""``geoembed bench``: the benchmarks of the checkout, or a word where they are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geoembed
import pytest
from geoembed.cli.app import app
from geoembed.cli.bench import checkout
from geoembed.errors import MissingExtraError
from typer.testing import CliRunner


def run(*arguments: str) -> int:
    return CliRunner().invoke(app, ["bench", *arguments], catch_exceptions=False).exit_code


def test_its_help_shows_an_example() -> None:
    shown = CliRunner().invoke(app, ["bench", "--help"])
    assert shown.exit_code == 0
    assert "Example: geoembed bench" in shown.output
    assert "--json" in shown.output


def test_without_a_name_it_lists_the_questions_as_one_document(capfd: Any) -> None:
    assert run("--json") == 0
    assert "crystal_encoder" in [one["name"] for one in json.loads(capfd.readouterr().out)]


def test_results_are_compared_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    document = {"environment": {"device": "cpu", "card": None}, "rows": [{"question": "q", "ours": 1.0, "iqr": 0.1, "better": "lower"}]}
    (tmp_path / "old.json").write_text(json.dumps(document))
    document["rows"][0]["ours"] = 2.0  # type: ignore[index]
    (tmp_path / "new.json").write_text(json.dumps(document))
    monkeypatch.chdir(tmp_path)
    assert run("--compare", "old.json", "new.json") == 1
    assert "slower" in capfd.readouterr().out
    assert run("--compare", "new.json", "new.json") == 0


def test_where_only_the_package_is_installed_it_says_where_the_benchmarks_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geoembed, "__file__", str(tmp_path / "geoembed" / "__init__.py"))
    with pytest.raises(MissingExtraError, match="The benchmarks come with the repository"):
        checkout()
