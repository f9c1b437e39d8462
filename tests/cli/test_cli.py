"""The command line as a person meets it: verbs, exit status, one JSON document on stdout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from geoembed.cli.app import app
from geoembed.io import sample
from typer.testing import CliRunner, Result

VERBS = ("demo", "inspect", "embed", "search", "index", "build", "merge", "verify", "doctor", "list", "bench", "export")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def command(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "geoembed", *arguments], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Three crystals and a broken file, embedded once."""
    folder = tmp_path_factory.mktemp("cli")
    for name in ("crystal-ionic-NaCl.cif", "crystal-ionic-NaCl-P1.cif", "crystal-covalent-Si.cif"):
        shutil.copy(sample(name), folder / name)
    (folder / "broken.cif").write_text("data_broken\n_cell_length_a nan\n")
    done = command(["embed", ".", "-o", "table", "--json"], folder)
    return folder, done


def test_help_is_instant_and_loads_no_torch() -> None:
    code = "import sys, resource\nfrom geoembed.cli.app import app\n" \
           "assert not {'torch', 'lightning', 'pandas', 'torch_geometric'} & set(sys.modules), sorted(sys.modules)\n" \
           "u = resource.getrusage(resource.RUSAGE_SELF)\nprint(u.ru_utime + u.ru_stime)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.5


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_shows_an_example(verb: str) -> None:
    shown = run(verb, "--help")
    assert shown.exit_code == 0
    assert f"Example: geoembed {verb}" in shown.output
    assert "--json" in shown.output


def test_a_broken_file_is_listed_and_the_rest_is_embedded(table: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    _, done = table
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert (document["records_in"], document["embedded"], document["quarantined"]) == (4, 3, 1)
    assert [reason["source"].endswith("broken.cif") for reason in document["reasons"]] == [True]
    assert "random" in done.stderr, "random weights are announced"


def test_a_crystal_finds_itself_written_in_another_way(table: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = table
    shown = run("search", str(folder / "table"), str(sample("crystal-ionic-NaCl.cif")), "-k", "3", "--json")
    hits = json.loads(shown.stdout)
    assert {Path(hit["source"]).name for hit in hits[:2]} == {"crystal-ionic-NaCl.cif", "crystal-ionic-NaCl-P1.cif"}
    assert hits[1]["score"] == pytest.approx(1.0, abs=1e-5)
    assert hits[2]["score"] < 0.99


def test_verify_names_the_file_that_changed(table: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    copy = shutil.copytree(table[0] / "table", tmp_path / "table")
    assert run("verify", str(copy)).exit_code == 0
    part = next(copy.glob("part-*.parquet"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    shown = run("verify", str(copy), "--json")
    assert shown.exit_code == 1
    assert part.name in {finding["file"] for finding in json.loads(shown.stdout)["findings"]}


def test_build_then_embed_the_store_equals_embedding_the_files(table: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = table
    built = command(["build", "crystal-ionic-NaCl.cif", "crystal-covalent-Si.cif", "-o", "graphs", "--json"], folder)
    assert json.loads(built.stdout)["built"] == 2
    assert built.returncode == 0
    embedded = command(["embed", "graphs", "-o", "second", "--json"], folder)
    assert json.loads(embedded.stdout)["embedded"] == 2


def test_inspect_says_what_the_graph_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = run("inspect", str(sample("crystal-oxide-SrTiO3.cif")), "--json")
    first = json.loads(shown.stdout)["first"]
    assert (first["kind"], first["nodes"], first["isolated"]) == ("crystal", 5, 0)
    assert not list(tmp_path.iterdir()), "--json draws nothing"
    run("inspect", str(sample("dna-barcodes.fasta")))
    (picture,) = tmp_path.glob("*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_an_empty_file_has_exit_status_1_in_inspect(tmp_path: Path) -> None:
    empty = tmp_path / "empty.cif"
    empty.write_bytes(b"")
    shown = run("inspect", str(empty), "--json")
    assert shown.exit_code == 1
    assert "empty file" in json.loads(shown.stdout)["quarantined"][0]["reason"]


def test_a_wrong_call_has_exit_status_2(tmp_path: Path) -> None:
    assert run("embed").exit_code == 2
    assert run("nothing").exit_code == 2
    done = command(["list", "encodrs"], tmp_path)
    assert done.returncode == 2
    assert "one of encoders" in done.stderr


def test_list_names_all_eleven_encoders() -> None:
    listed = json.loads(run("list", "encoders", "--json").stdout)["encoders"]
    assert set(listed) >= {"galaxy", "transient", "spectrum", "weather", "satellite", "crystal", "particle_cloud", "jet", "species",
                           "bioacoustic", "dna"}


def test_doctor_says_which_back_ends_live() -> None:
    found = json.loads(run("doctor", "--json").stdout)
    assert {b["name"]: b["live"] for b in found["backends"]}["torch"]
    assert found["broken_plugins"] == {}


def test_merge_adds_stores_up_and_says_their_counts(tmp_path: Path) -> None:
    for name, letters in (("a", "ACGT"), ("b", "TTGACA")):
        (tmp_path / f"{name}.fasta").write_text(f">{name}\n{letters}\n")
        assert run("build", str(tmp_path / f"{name}.fasta"), "-o", str(tmp_path / name), "--json").exit_code == 0
    shown = run("merge", str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(tmp_path / "both"), "--json")
    assert json.loads(shown.stdout) == {"folder": str(tmp_path / "both"), "records_in": 2, "built": 2, "quarantined": 0}
    assert run("verify", str(tmp_path / "both")).exit_code == 0
