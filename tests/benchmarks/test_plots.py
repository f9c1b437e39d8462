"""Pictures from made-up results: which numbers they show."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from benchmarks.contest import AGAIN
from benchmarks.plots import PICTURES, apart, best_of_parts, curves, documents, nearest, timed
from hypothesis import given
from hypothesis import strategies as st

ROOFS = {"copy": 4e12, "bf16": 8e14, "tf32": 4e14, "fp32": 5e13}


def row(graphs: int, launch: str, rival: str, ours: float, theirs: float, part: str = "batches", degree: int = 12) -> dict[str, Any]:
    return {"question": f"crystal encoder, forward, {graphs} crystals, degree {degree}, bf16, {'CUDA graph' if launch == 'graph' else 'bare calls'}, ms",
            "part": part, "precision": "bf16", "launch": launch, "ours": ours, "rival": theirs, "rival_name": rival, "ratio": theirs / ours,
            "shape": {"graphs": graphs, "edges": 30 * degree * graphs, "degrees": f"degree {degree}"}, "flop": 2.7e8 * graphs, "bytes": 5e5 * graphs,
            "floor": 3.4e-4 * graphs, "of_roof": 3.4e-4 * graphs / ours}


ROWS = [row(graphs, launch, rival, ours * scale, theirs * scale, part, degree)
        for graphs, scale, part, degree in ((64, 0.1, "batches", 12), (1024, 1.0, "batches", 12), (1024, 2.0, "edges", 24))
        for launch, ours, theirs, rival in (("bare", 1.2, 9.0, "vectorized, eager"), ("graph", 1.0, 8.0, "vectorized, eager"),
                                            ("bare", 1.2, 3.0, "factorized, compiled"), ("graph", 1.0, 1.02, AGAIN))]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "h200").mkdir()
    environment = {"device": "h200", "card": "NVIDIA H200", "versions": {"torch": "2.11.0"}, "ceilings": ROOFS}
    failed = {"question": "a rival that failed", "ours": None, "rival": None, "rival_name": "max-autotune", "failure": "stopped"}
    older = {"question": "neighbors, ms", "ours": 0.3, "rival": 1.8, "ratio": 6.0, "iqr": 0.04}
    for script, rows in (("crystal_encoder", [*ROWS, failed]), ("neighbors_gpu", [older])):
        (tmp_path / "h200" / f"{script}.json").write_text(json.dumps({"environment": environment, "rows": rows}))
    return tmp_path


def test_a_line_shows_rivals_replayed_where_they_were_and_ours_both_ways() -> None:
    lines = curves(ROWS, lambda one: one["shape"]["edges"], lambda ms, one: ms)
    few, some, many = 64 * 360, 1024 * 360, 1024 * 720
    assert lines["ours, CUDA graph"] == [(few, 0.1), (some, 1.0), (many, 2.0)]
    assert lines["ours, bare calls"] == [(few, pytest.approx(0.12)), (some, 1.2), (many, 2.4)]
    assert lines["vectorized, eager"] == [(few, 0.8), (some, 8.0), (many, 16.0)]
    assert lines["factorized, compiled"] == [(few, pytest.approx(0.3)), (some, 3.0), (many, 6.0)]
    assert AGAIN not in lines


def test_a_rival_is_shown_by_its_nearest_pair_and_ours_not_beside_itself() -> None:
    found = nearest({"crystal_encoder": {"rows": ROWS}})
    assert found["crystal encoder, forward, 1024 crystals, degree 12, bf16"] == [("factorized, compiled", 2.5), ("vectorized, eager", 7.5)]


def test_the_roofline_shows_the_best_of_each_part() -> None:
    best = best_of_parts({"crystal_encoder": {"rows": ROWS}, "other": {"rows": []}})
    assert {one["part"]: one["ours"] for one in best["crystal_encoder"]} == {"batches": 1.0, "edges": 2.0}
    assert "other" not in best


def test_rows_of_other_scripts_and_failures_are_passed_over(results: Path) -> None:
    assert len(timed(documents("h200", results))) == len(ROWS)


def test_every_picture_is_drawn_and_is_the_same_file_again(results: Path, tmp_path: Path) -> None:
    found = documents("h200", results)
    for picture in PICTURES:
        first, second = (picture(found, tmp_path / place) for place in ("a", "b"))
        assert first is not None
        assert second is not None
        assert first.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert first.read_bytes() == second.read_bytes()


def test_what_was_not_measured_is_not_drawn(results: Path, tmp_path: Path) -> None:
    found = {"neighbors_gpu": documents("h200", results)["neighbors_gpu"]}
    assert [picture(found, tmp_path) for picture in PICTURES] == [None] * len(PICTURES)
    with pytest.raises(SystemExit, match="no results; measure some"):
        documents("a100", results)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8).map(sorted), st.floats(0.01, 3))
def test_names_keep_their_order_their_distance_and_their_middle(places: list[float], gap: float) -> None:
    moved = apart(places, gap)
    assert all(b - a >= gap * (1 - 1e-6) - 1e-9 for a, b in pairwise(moved))
    assert sum(moved) == pytest.approx(sum(places), abs=1e-6)
    if all(b - a >= gap for a, b in pairwise(places)):
        assert moved == pytest.approx(places)
