"""Regressions, improvements and noise in made-up results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.compare import compare, compare_files, lower_is_better, main, print_changes


def document(*rows: dict[str, Any], card: str = "NVIDIA H200") -> dict[str, Any]:
    return {"environment": {"device": "h200", "card": card}, "rows": list(rows)}


def timed(ours: float, iqr: float, question: str = "a sum, ms", **more: Any) -> dict[str, Any]:
    return {"question": question, "rival_name": "index_add", "ours": ours, "rival": 2.0, "ratio": 2.0 / ours, "iqr": iqr, "goal": None,
            "met": None, "better": "lower", **more}


def kinds(old: dict[str, Any], new: dict[str, Any], **options: bool) -> list[str]:
    return [change.kind for change in compare(old, new, **options)]


@pytest.mark.parametrize(("after", "kind"), [(1.19, "same"), (1.21, "slower"), (0.81, "same"), (0.79, "faster")])
def test_a_change_within_both_spreads_is_noise_and_one_beyond_them_is_not(after: float, kind: str) -> None:
    assert kinds(document(timed(1.0, 0.05)), document(timed(after, 0.15))) == [kind]


def test_a_rate_that_falls_is_a_regression_and_a_time_that_falls_is_not() -> None:
    rate = {"question": "crystals a second", "ours": 100.0, "rival": 50.0, "ratio": 2.0, "iqr": 1.0}
    assert kinds(document(rate), document(rate | {"ours": 90.0, "ratio": 1.8})) == ["slower"]
    assert kinds(document(timed(1.0, 0.01)), document(timed(0.5, 0.01))) == ["faster"]


def test_the_ratio_of_an_older_row_says_which_way_is_better() -> None:
    assert lower_is_better({"question": "ms a batch", "ours": 0.33, "rival": 8.9, "ratio": 26.6})
    assert not lower_is_better({"question": "an epoch", "ours": 233_755.0, "rival": 19_437.0, "ratio": 13.3})
    assert not lower_is_better({"question": "materials: read, records/s, one core", "ours": 560.0, "rival": None, "ratio": None})
    assert lower_is_better({"question": "peak memory", "ours": 0.5, "rival": None, "ratio": None})


def test_rows_of_one_question_are_told_apart_by_their_rival() -> None:
    other = timed(3.0, 0.1) | {"rival_name": "scatter_add"}
    changes = compare(document(timed(1.0, 0.1), other), document(other, timed(2.0, 0.1)))
    assert [(change.kind, change.rival) for change in changes] == [("slower", "index_add"), ("same", "scatter_add")]


def test_rows_that_are_gone_or_new_are_named_and_are_no_regression() -> None:
    old, new = document(timed(1.0, 0.1, "before")), document(timed(1.0, 0.1, "after"))
    assert [(change.kind, change.question) for change in compare(old, new)] == [("gone", "before"), ("new", "after")]
    assert print_changes(compare(old, new)) == 0


def test_lost_bits_memory_and_goals_are_regressions_where_the_time_is_not() -> None:
    old = timed(1.0, 0.01, bitwise=True, peak_gb=1.0, met=True)
    assert kinds(document(old), document(old | {"bitwise": False})) == ["not bitwise", "same"]
    assert kinds(document(old), document(old | {"peak_gb": 1.03})) == ["more memory", "same"]
    assert kinds(document(old), document(old | {"peak_gb": 1.019})) == ["same"]
    assert kinds(document(old), document(old | {"ours": 1.5, "met": False})) == ["goal lost", "slower"]


def test_a_goal_that_noise_crosses_is_not_lost() -> None:
    assert kinds(document(timed(1.0, 0.1, met=True)), document(timed(1.05, 0.1, met=False))) == ["same"]


def test_a_call_of_ours_that_no_longer_runs_is_a_regression_and_a_rival_that_fails_is_not() -> None:
    ran = timed(1.0, 0.1)
    broken = ran | {"ours": None, "ratio": None, "failure": "no memory"}
    assert kinds(document(ran), document(broken | {"failed": "ours"})) == ["failed"]
    assert kinds(document(ran), document(broken | {"failed": "rival"})) == ["same"]
    assert kinds(document(broken | {"failed": "ours"}), document(ran)) == ["runs again"]


def test_results_of_different_cards_are_compared_by_force_only() -> None:
    old, new = document(timed(1.0, 0.1)), document(timed(3.0, 0.1), card="NVIDIA H100 80GB HBM3")
    with pytest.raises(SystemExit, match="H200 and NVIDIA H100.*--force"):
        compare(old, new)
    assert kinds(old, new, force=True) == ["slower"]


def test_the_command_ends_with_status_1_on_a_regression_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps(document(timed(1.0, 0.01))))
    new.write_text(json.dumps(document(timed(2.0, 0.01))))
    monkeypatch.setattr("sys.argv", ["compare", str(old), str(new)])
    assert main() == 1
    assert "1 worse, 0 faster, 0 within their spread" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["compare", str(new), str(old), "--json"])
    assert main() == 0
    assert json.loads(capsys.readouterr().out)["changes"][0]["kind"] == "faster"


def test_a_file_that_is_no_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(SystemExit, match=r"a\.json: no result of a benchmark"):
        compare_files(tmp_path / "a.json", tmp_path / "a.json")
    with pytest.raises(SystemExit, match=r"none\.json"):
        compare_files(tmp_path / "none.json", tmp_path / "a.json")


def test_every_committed_result_equals_itself() -> None:
    import benchmarks.record

    for path in sorted(benchmarks.record.RESULTS.glob("*/*.json")):
        assert {change.kind for change in compare_files(path, path)} <= {"same"}, path
