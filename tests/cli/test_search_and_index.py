"""``geoembed search --where`` and ``geoembed index`` as a person meets them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from geoembed import embed
from geoembed.cli.app import app
from geoembed.errors import ConfigError, StoreError, UnknownNameError
from geoembed.io import sample
from geoembed.schema import Provenance
from geoembed.store import VectorTable
from typer.testing import CliRunner, Result

NAMES = ("crystal-ionic-NaCl.cif", "crystal-ionic-NaCl-P1.cif", "crystal-covalent-Si.cif", "crystal-oxide-SrTiO3.cif")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    for name in NAMES:
        shutil.copy(sample(name), folder / name)
    embed([folder], out=folder / "table")
    return folder


def found(folder: Path, *more: str) -> list[str]:
    shown = run("search", str(folder / "table"), str(sample("crystal-ionic-NaCl.cif")), "--json", *more)
    return sorted(Path(hit["source"]).name for hit in json.loads(shown.stdout))


def test_conditions_choose_rows_before_the_nearest_are(folder: Path) -> None:
    assert found(folder, "-k", "4") == sorted(NAMES)
    assert found(folder, "-k", "1", "--where", "source=*oxide*") == ["crystal-oxide-SrTiO3.cif"]
    assert found(folder, "--where", "source=*oxide*", "--where", "source=*-Si.cif", "--where", "modality=crystal") == [
        "crystal-covalent-Si.cif", "crystal-oxide-SrTiO3.cif"]
    assert found(folder, "--where", "kind=chain") == []
    assert found(folder, "--exact", "-k", "1") == found(folder, "-k", "1")


def test_a_source_of_the_table_is_asked_among_the_chosen_too(folder: Path) -> None:
    shown = run("search", str(folder / "table"), str(folder / NAMES[0]), "--where", "source=*oxide*", "--json")
    assert [Path(hit["source"]).name for hit in json.loads(shown.stdout)] == ["crystal-oxide-SrTiO3.cif"]


def test_a_condition_that_cannot_be_says_what_can(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match="one of source, record, kind, modality, encoder, weights"):
        found(folder, "--where", "color=red")
    with pytest.raises(ConfigError, match="COLUMN=VALUE"):
        found(folder, "--where", "crystal")


def test_help_of_index_shows_an_example_and_the_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lancedb")
    shown = run("index", "--help").output
    assert "--json" in shown
    example = next(line.split("Example: geoembed ")[1] for line in shown.splitlines() if "Example: " in line)
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal(size=(600, 8))
    with VectorTable("table") as table:
        table.append(rows, [Provenance(kind="cloud", record=str(i)) for i in range(600)])
    printed = run(*example.split()).output
    assert "recall@10 of 600 rows" in printed
    document = json.loads(run(*example.split(), "--json").stdout)
    assert document["recall"] >= 0.95
    assert (document["rows"], document["table"]) == (600, "table")
    assert document["files"] == sum(path.is_file() for path in (tmp_path / "table" / "index").rglob("*.lance/**/*"))


def test_an_index_of_a_small_table_is_refused_with_its_reason(folder: Path) -> None:
    pytest.importorskip("lancedb")
    with pytest.raises(StoreError, match="at least 256 rows"):
        run("index", str(folder / "table"))
