"""``geoembed demo`` on three of its domains; ``make demo`` runs all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geoembed.cli import demo as module
from geoembed.cli.app import app
from geoembed.cli.demo import DOMAINS, Outcome, readable
from geoembed.io.shipped import sample, sample_names
from geoembed.store import open_table
from typer.testing import CliRunner

CHOSEN = [domain for domain in DOMAINS if domain.prefix in ("crystal", "jet", "lightcurve")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def document(folder: Path) -> dict[str, Any]:
    """What ``geoembed demo --json`` says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DOMAINS", CHOSEN)
        result = CliRunner().invoke(app, ["demo", "--out", str(folder), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_every_sample_belongs_to_one_domain() -> None:
    for name in sample_names():
        assert len([domain for domain in DOMAINS if name.startswith(f"{domain.prefix}-")]) == 1


def test_every_query_is_a_sample() -> None:
    assert all(sample(domain.query[0]).is_file() for domain in DOMAINS)


def test_every_record_of_the_samples_becomes_a_vector(document: dict[str, Any], folder: Path) -> None:
    assert {domain["domain"]: (domain["files"], domain["records"]) for domain in document["domains"]} == {
        "crystals": (17, 19), "jets": (3, 61), "light curves": (3, 11)
    }
    assert document["records_in"] == document["embedded"] == 91
    assert len(open_table(folder / "table")) == 91


def test_an_object_in_another_form_is_its_own_nearest_neighbor(document: dict[str, Any]) -> None:
    first = {domain["domain"]: domain["nearest"][0] for domain in document["domains"]}
    assert {name: hit["name"] for name, hit in first.items()} == {
        "crystals": "ionic-NaCl", "jets": "3prong [1]", "light curves": "RRLyrae_1_by_JD"
    }
    assert all(hit["score"] > 0.9999 and hit["remark"].startswith("the same") for hit in first.values())


def test_scores_are_the_cosines_of_the_vectors_in_the_table(document: dict[str, Any], folder: Path) -> None:
    rows = open_table(folder / "table").to_pandas()
    vectors = {(Path(row.source).name, row.record): row.vector for row in rows.itertuples()}
    for domain, done in zip(CHOSEN, document["domains"], strict=True):
        for hit in done["nearest"]:
            cosine = float(np.dot(vectors[domain.query], vectors[Path(hit["source"]).name, hit["record"]]))
            assert hit["score"] == pytest.approx(cosine, abs=2e-6)


def test_the_median_crystal_has_five_sites(document: dict[str, Any]) -> None:
    assert document["domains"][0]["nodes_median"] == 5
    assert document["domains"][0]["kind"] == "crystal"


def test_random_weights_are_announced(document: dict[str, Any]) -> None:
    assert "random" in document["weights"]


def test_the_picture_shows_three_pairs_in_a_row(document: dict[str, Any]) -> None:
    picture = Path(document["picture"]).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert int.from_bytes(picture[16:20], "big") == 1980


def test_a_second_run_goes_on_where_the_first_one_stopped(
    document: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DOMAINS", CHOSEN)
    result = CliRunner().invoke(app, ["demo", "--out", str(folder)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "91 records of 23 files" in result.stdout
    assert len(open_table(folder / "table")) == 91


def test_what_is_shown_fits_into_80_columns(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    hits = [{"name": "covalent-Si-primitive", "score": -0.3692, "source": "a.cif", "remark": domain.twin} for domain in DOMAINS]
    outcomes = [Outcome(domain.title, 17, 19, "crystal", 1058.0, 10523.0, "particle_cloud", 512, 11.6, [],
                        readable(domain, *domain.query), [hit]) for domain, hit in zip(DOMAINS, hits, strict=True)]
    module._show(Path("demo"), outcomes, "demo/geoembed-demo.png", 20.0)
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert max(len(line) for line in shown.splitlines() if not line.startswith("  geoembed")) <= 80
    for column in ("domain", "nodes / links*", "encoder", "dim"):
        assert column in shown


def test_a_file_that_is_left_out_is_listed_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    reason = "a.cif: found no gemmi; expected it. pip install 'geoembed[materials]'"
    outcome = Outcome("crystals", 1, quarantined=[{"source": "a.cif", "record": "", "stage": "read", "reason": reason}])
    module._show(Path("demo"), [outcome], "none", 1.0)
    assert "geoembed[materials]" in capsys.readouterr().out.replace("\n", "")
