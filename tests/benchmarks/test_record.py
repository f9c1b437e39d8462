"""Results on disk: what ran where, and parts that keep each other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from benchmarks.runner import fresh

from benchmarks import record


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path) -> Iterator[Path]:
    record.keep_in(tmp_path)
    yield tmp_path
    record._place.clear()


def row(part: str, ours: float) -> dict[str, object]:
    return {"question": f"question of {part}", "part": part, "ours": ours}


def test_the_environment_says_which_code_ran() -> None:
    found = record.environment()
    assert found["commit"] is None or re.fullmatch(r"[0-9a-f]{40}\+?", str(found["commit"]))
    assert re.fullmatch("[0-9a-f]{16}", str(found["sources"]))
    versions = found["versions"]
    assert isinstance(versions, dict)
    assert versions["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_the_digest_of_sources_changes_with_a_name_or_a_letter(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "b.py").write_text("x = 1")
    first, second = (record.digest([tmp_path / name]) for name in ("a.py", "b.py"))
    (tmp_path / "a.py").write_text("x = 2")
    assert len({first, second, record.digest([tmp_path / "a.py"])}) == 3
    assert record.digest([]) is None


def test_a_part_that_is_measured_again_leaves_the_others_as_they_were() -> None:
    record.write("script", [row("a", 1.0)], parts=("a",), ceilings={"copy": 1.0}, seed=0)
    record.write("script", [row("b", 2.0)], parts=("b",), ceilings={"copy": 2.0}, seed=0)
    path = record.write("script", [row("a", 3.0)], parts=("a",), ceilings={"copy": 3.0}, seed=0)
    document = json.loads(path.read_text())
    assert [(one["part"], one["ours"]) for one in document["rows"]] == [("b", 2.0), ("a", 3.0)]
    assert {part: where["ceilings"]["copy"] for part, where in document["parts"].items()} == {"a": 3.0, "b": 2.0}
    assert document["environment"]["ceilings"] == {"copy": 3.0}
    assert [one["part"] for one in fresh(document)] == ["a"]


def test_a_script_without_parts_writes_its_rows_alone() -> None:
    record.write("script", [{"question": "old", "ours": 1.0}])
    path = record.write("script", [{"question": "new", "ours": 1.0}])
    document = json.loads(path.read_text())
    assert [one["question"] for one in document["rows"]] == ["new"]
    assert fresh(document) == document["rows"]


def test_a_card_is_asked_for_nothing_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert record.card_query(("driver_version",)) == {}
    assert record.device() == "cpu"
