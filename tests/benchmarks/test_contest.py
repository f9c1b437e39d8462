"""What a comparison may say: gates, time limits, failures of rivals, goals from numbers."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from benchmarks.ceilings import ceilings, floor_ms
from benchmarks.contest import AGAIN, Candidate, Case, Goal, OverTime, contest, within
from benchmarks.gate import bitwise, gate, precision, relative_error

ROOFS = {"copy": 1e12, "fp32": 1e12, "tf32": 4e12, "bf16": 8e12}
CASE = Case("a product", "only", "fp32", {"side": 64}, flop=2.0 * 64**3, size=3.0 * 64 * 64 * 4, count=64, unit="rows",
            goal=Goal("≤ 1 s", most_ms=1e3))
FACTORS = tuple(torch.randn(64, 64, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
EXACT = FACTORS[0].double() @ FACTORS[1].double()


def product(name: str, scale: float = 1.0) -> Candidate:
    def call() -> torch.Tensor:
        return FACTORS[0] @ FACTORS[1] * scale

    return Candidate(name, call, call)


def rows(ours: Candidate, *rivals: Candidate, case: Case = CASE, **options: Any) -> list[dict[str, Any]]:
    return contest(case, ours, rivals, EXACT, ROOFS, **{"device": "cpu", "rounds": 5, "repeats": 3, **options})


def test_a_row_holds_what_the_contract_asks_for_computed_from_its_raw_numbers() -> None:
    first, again = rows(product("ours"), product("rival"))
    assert again["rival_name"] == AGAIN
    needed = {"question", "shape", "precision", "ours", "rival", "rival_name", "ratio", "iqr", "n", "flop", "bytes", "floor", "of_roof",
              "error", "bitwise", "peak_gb", "goal", "met", "raw", "launch"}
    assert needed <= first.keys()
    assert first["n"] == len(first["raw"]["ours"]) == len(first["raw"]["rival"]) == 5
    assert first["ours"] == sorted(first["raw"]["ours"])[2]
    assert first["floor"] == pytest.approx(1e3 * 2 * 64**3 / 1e12)
    assert first["of_roof"] == pytest.approx(first["floor"] / first["ours"])
    assert first["rate"] == pytest.approx(64 / first["ours"] * 1e3)
    assert first["bitwise"] is True
    assert 0 < first["error"] < 1e-6
    assert first["goal"] is first["met"] is None  # goals are those of a GPU


def test_ours_is_not_timed_where_it_is_wrong() -> None:
    with pytest.raises(SystemExit, match=r"a product in fp32 differs from float64 by 0\.001"):
        rows(product("ours", scale=1.001), product("rival"))


def test_a_rival_that_is_wrong_is_timed_beside_its_error() -> None:
    first, _ = rows(product("ours"), product("rival", scale=1.001))
    assert first["rival_error"] == pytest.approx(1e-3, rel=1e-2)


def test_a_rival_that_fails_or_takes_too_long_becomes_a_row_and_the_others_go_on() -> None:
    def fails() -> torch.Tensor:
        raise RuntimeError("out of shared memory")

    def sleeps() -> torch.Tensor:
        time.sleep(10)
        return EXACT

    start = time.perf_counter()
    table = rows(product("ours"), Candidate("broken", fails, fails), Candidate("slow", sleeps, sleeps), product("good"), limit=0.2)
    assert time.perf_counter() - start < 5
    said = {row["rival_name"]: row.get("failure") for row in table}
    assert said == {"broken": "RuntimeError: out of shared memory", "slow": "stopped: its first call took more than 0.2 s", "good": None,
                    AGAIN: None}
    assert all(row["ours"] is None and row["met"] is None for row in table if "failure" in row)


def test_ours_that_does_not_run_is_a_failure_of_ours() -> None:
    def fails() -> torch.Tensor:
        raise RuntimeError("no kernel")

    (row,) = rows(Candidate("ours", fails, fails), product("rival"))
    assert (row["failed"], row["met"], row["failure"]) == ("ours", False, "RuntimeError: no kernel")


def test_a_backward_that_takes_too_long_is_stopped_too() -> None:
    class Slow(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
            time.sleep(10)
            return grads[0]

    x = torch.ones(2, requires_grad=True)
    with pytest.raises(OverTime), within(0.1):
        Slow.apply(x).sum().backward()


def test_a_goal_is_met_by_numbers_alone() -> None:
    goal = Goal("≤ 2 ms, ≤ 1 GB, same bits", most_ms=2.0, most_gb=1.0, bitwise=True)
    found = {"peak_gb": 0.5, "bitwise": True, "error": 1e-7, "of_roof": 0.98}
    assert goal.met(2.0, found)
    assert not goal.met(2.01, found)
    assert not goal.met(1.0, found | {"peak_gb": 1.1})
    assert not goal.met(1.0, found | {"bitwise": False})
    assert not goal.met(1.0, found | {"peak_gb": None})
    assert Goal("97 % of the copy rate", least_of_roof=0.97).met(9.0, found)
    assert not Goal("99 % of the copy rate", least_of_roof=0.99).met(9.0, found)
    assert not replace(goal, most_error=1e-8).met(1.0, found)


def test_the_floor_is_the_slower_of_arithmetic_and_memory_and_three_products_are_three() -> None:
    assert floor_ms(8e9, 0, ROOFS, "bf16") == pytest.approx(1.0)
    assert floor_ms(8e9, 5e9, ROOFS, "bf16") == pytest.approx(5.0)
    assert floor_ms(4e9, 0, ROOFS, "tf32x3") == pytest.approx(3.0)


def test_ceilings_are_rates_of_this_machine() -> None:
    found = ceilings("cpu", quick=True)
    assert found.keys() == {"copy", "bf16", "tf32", "fp32"}
    assert all(isinstance(rate, float) and 1e6 < rate < 1e15 for rate in found.values())


def test_the_gate_refuses_nan_another_shape_and_a_reference_that_is_not_float64() -> None:
    reference = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert gate(torch.tensor([3.0, 4.00002]), reference, "tf32") == pytest.approx(4e-6, rel=0.05)
    for wrong in (torch.tensor([3.0, torch.nan]), torch.tensor([3.0, torch.inf]), torch.tensor([3.0])):
        assert relative_error(wrong, reference) == float("inf")
        with pytest.raises(SystemExit, match="differs from float64 by inf"):
            gate(wrong, reference, "bf16")
    with pytest.raises(SystemExit, match=r"torch\.float32, not float64"):
        gate(reference.float(), reference.float(), "fp32")


def test_a_gradient_may_be_five_times_further_off() -> None:
    reference = torch.tensor([1.0], dtype=torch.float64)
    off = torch.tensor([1.004], dtype=torch.float64)
    assert gate(off, reference, "tf32", gradient=True) == pytest.approx(4e-3)
    with pytest.raises(SystemExit):
        gate(off, reference, "tf32")


def test_bits_that_change_are_seen() -> None:
    values = iter([1.0, 1.0, 1.0000001])
    assert not bitwise(lambda: torch.tensor(next(values)), 3)
    assert bitwise(lambda: torch.tensor(1.0), 3)


def test_precision_is_set_for_the_enclosed_code_only() -> None:
    before = torch.get_float32_matmul_precision()
    with precision("tf32") as dtype:
        assert (torch.get_float32_matmul_precision(), dtype) == ("high", torch.float32)
    assert torch.get_float32_matmul_precision() == before
