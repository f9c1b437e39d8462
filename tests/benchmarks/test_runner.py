"""The one command: questions, processes of their own, exit status."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.__main__ import main
from benchmarks.catalog import Question
from benchmarks.tables import HEAD, cells, lines

from benchmarks import catalog, runner

SCRIPT = """
import sys
from benchmarks.record import write
if "--quick" in sys.argv:
    print("in a hurry")
write({name!r}, [{{"question": "how fast", "ours": 1.0, "rival": 2.0, "ratio": 2.0, "iqr": 0.1, "goal": None, "met": None}}])
"""


@pytest.fixture
def two_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A question that can be measured and one whose script breaks, in modules of the test."""
    (tmp_path / "good_one.py").write_text(SCRIPT.format(name="good_one"))
    (tmp_path / "bad_one.py").write_text("raise SystemExit('the output differs from float64')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(Question, "module", property(lambda self: self.name))
    questions = {name: Question(name, f"What does {name} say?", "cpu") for name in ("bad_one", "good_one")}
    questions["gpu_one"] = Question("gpu_one", "What does a GPU say?", "gpu")
    for module in (runner, sys.modules["benchmarks.__main__"]):
        monkeypatch.setattr(module, "QUESTIONS", questions)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return tmp_path / "out"


def test_one_that_breaks_does_not_stop_the_next_and_the_status_says_so(two_scripts: Path, capfd: Any) -> None:
    status = main(["all", "--out", str(two_scripts), "--json"])
    found = {one["name"]: one for one in json.loads(capfd.readouterr().out)}
    assert status == 1
    assert {name: one["status"] for name, one in found.items()} == {"bad_one": "failed", "good_one": "ran", "gpu_one": "skipped"}
    assert found["bad_one"]["reason"] == "the output differs from float64"
    assert found["gpu_one"]["reason"] == "it measures a GPU, and there is none here"
    assert [row["ratio"] for row in found["good_one"]["rows"]] == [2.0]
    assert json.loads((two_scripts / "cpu" / "good_one.json").read_text())["rows"] == found["good_one"]["rows"]


def test_a_table_names_the_columns_and_the_status_is_0_where_all_ran(two_scripts: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    row = {"question": "how fast", "ours": 1.0, "rival": 2.0, "ratio": 2.0, "iqr": 0.1, "goal": None, "met": None}
    monkeypatch.setattr(runner, "run_all", lambda names, **options: [runner.Outcome(name, "ran", rows=[row]) for name in names])
    assert main(["good_one", "--out", str(two_scripts)]) == 0
    shown = capfd.readouterr().out
    assert shown.splitlines()[0].split() == list(HEAD)
    assert "how fast" in shown
    assert "good_one: ran" in shown


def test_an_unknown_name_lists_the_known_ones(capfd: Any) -> None:
    assert main(["speed"]) == 2
    assert "No benchmark is called speed; there are crystal_encoder" in capfd.readouterr().err


def test_without_a_name_every_question_has_one_line(capfd: Any) -> None:
    assert main([]) == 0
    shown = capfd.readouterr().out
    assert all(name in shown and one.line in shown for name, one in catalog.QUESTIONS.items())
    assert main(["--list", "--json"]) == 0
    assert [one["name"] for one in json.loads(capfd.readouterr().out)] == list(catalog.QUESTIONS)


def test_every_script_of_the_folder_is_a_question_or_a_part_of_the_machine() -> None:
    folder = Path(runner.__file__).parent
    scripts = {path.stem for path in folder.glob("*.py") if "def main" in path.read_text() or "run_parts(" in path.read_text()}
    assert scripts - {"__main__", "compare", "plots", "script"} == set(catalog.QUESTIONS)
    assert all(importlib.util.find_spec(one.module) for one in catalog.QUESTIONS.values())


def test_what_failed_says_so_in_its_row() -> None:
    row = {"question": "a sum", "rival_name": "max-autotune", "failure": "stopped: its first call took more than 120 s", "ours": None, "met": None}
    assert cells(row)[:3] == ("a sum | max-autotune", "failed", "stopped: its first call took more than 120 s")


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert lines(("a", "b"), [("one", "2"), ("x", "333")]) == ["a      b", "--------", "one    2", "x    333"]
