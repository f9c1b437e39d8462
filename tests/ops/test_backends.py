"""Back ends: the specification runs unless another is named, and another runs only if it agrees."""

from __future__ import annotations

import logging
import logging.handlers
import re
import threading

import pytest
import torch
from geoembed.errors import BackendError
from geoembed.ops import backends, segment_max, segment_sum
from torch import Tensor

X, PTR = torch.tensor([[1.0], [3.0], [8.0]]), torch.tensor([0, 2, 2, 3])


@pytest.fixture
def offered(monkeypatch):
    """Offer reductions under a name for one test: offered(name, op=function)."""
    monkeypatch.setattr(backends, "_reductions", {name: dict(ops) for name, ops in backends._reductions.items()})
    monkeypatch.setattr(backends, "_verdicts", {})

    def offer(name: str, **functions: backends.Reduction) -> None:
        for op, function in functions.items():
            backends.register(name, op, function)

    return offer


def specification(op: str) -> backends.Reduction:
    return backends._reductions["torch"][op]


def test_torch_runs_unless_another_is_named(offered):
    def marked(x: Tensor, ptr: Tensor) -> Tensor:
        calls.append(1)
        return specification("segment_sum")(x, ptr)

    calls: list[int] = []
    offered("mine", segment_sum=marked)
    assert backends.active() == backends.AUTO
    assert segment_sum(X, PTR).flatten().tolist() == [4.0, 0.0, 8.0]
    assert not calls
    with backends.use("mine"):
        checked = len(calls)  # the comparison with torch
        assert backends.active() == "mine"
        assert segment_sum(X, PTR).flatten().tolist() == [4.0, 0.0, 8.0]
        assert len(calls) == checked + 1
        assert segment_max(X, PTR).flatten().tolist() == [3.0, 0.0, 8.0]  # an op it does not offer is torch's
    assert backends.active() == backends.AUTO


def test_a_back_end_is_left_even_when_the_code_inside_raises(offered):
    offered("mine", segment_sum=specification("segment_sum"))
    with pytest.raises(KeyError), backends.use("mine"):
        raise KeyError
    assert backends.active() == backends.AUTO


def test_the_comparison_is_made_once_and_again_after_a_new_offer(offered):
    calls: list[int] = []

    def counted(x: Tensor, ptr: Tensor) -> Tensor:
        calls.append(1)
        return specification("segment_sum")(x, ptr)

    offered("mine", segment_sum=counted)
    for _ in range(3):
        with backends.use("mine"):
            pass
    assert len(calls) == 1
    offered("mine", segment_sum=lambda x, ptr: specification("segment_sum")(x, ptr) * 2)
    with pytest.raises(BackendError, match=r"segment_sum differs from torch"), backends.use("mine"):
        pass


def test_a_back_end_with_the_right_values_and_wrong_gradients_is_refused(offered):
    def twice_in_reverse(x: Tensor, ptr: Tensor) -> Tensor:
        y = specification("segment_sum")(x, ptr)
        return 2 * y - y.detach()

    offered("mine", segment_sum=twice_in_reverse)
    with pytest.raises(BackendError, match="segment_sum differs from torch by"), backends.use("mine"):
        pass


def test_a_back_end_that_gives_nan_is_refused(offered):
    offered("mine", segment_max=lambda x, ptr: specification("segment_max")(x, ptr) * torch.nan)
    with pytest.raises(BackendError, match=re.escape("segment_max differs from torch by nan")), backends.use("mine"):
        pass


def test_an_absent_back_end_says_so(offered):
    said = r"back end no_such_thing: found not installed.*Use the torch back end"
    with pytest.raises(BackendError, match=said), backends.use("no_such_thing"):
        pass


def test_the_report_lists_the_specification_first_and_every_reason(offered):
    offered("torch_scatter", segment_sum=lambda x, ptr: specification("segment_sum")(x, ptr) + 1e-2)
    first, second, *_ = backends.report()
    assert (first.name, first.live, first.reason) == ("torch", True, "specification")
    assert (second.name, second.live) == ("torch_scatter", False)
    assert second.reason.startswith("segment_sum differs from torch by")


CARD = torch.device("cuda", 0)  # a name: nothing is put there


@pytest.fixture
def kernel(monkeypatch):
    """Offers a kernel with a check; Triton counts as installed."""
    monkeypatch.setattr(backends, "find_spec", lambda name: object())
    monkeypatch.setattr(backends, "_kernels", dict(backends._kernels))
    monkeypatch.setattr(backends, "_verdicts", dict(backends._verdicts))
    return backends.register_kernel


def test_a_kernel_that_agrees_runs_on_a_gpu_and_nowhere_else(kernel):
    asked = []
    kernel("fine", lambda device: asked.append(device) or "")
    assert not backends.runs("fine", torch.device("cpu"))
    assert asked == []
    assert backends.runs("fine", CARD)
    assert backends.runs("fine", CARD)
    assert asked == [CARD]  # compared once
    with backends.use("torch"):  # the specification alone
        assert not backends.runs("fine", CARD)


def test_a_kernel_that_differs_is_left_with_a_warning_and_its_reason_in_the_report(kernel, monkeypatch):
    log = logging.Logger("of this test")  # the package's own may have been silenced by another test
    heard = logging.handlers.BufferingHandler(10)
    log.addHandler(heard)
    monkeypatch.setattr(backends, "getLogger", lambda name: log)
    kernel("wrong", lambda device: "3 pairs differ")
    assert not backends.runs("wrong", CARD)
    assert not backends.runs("wrong", CARD)
    assert [record.getMessage() for record in heard.buffer] == ["wrong does not run: 3 pairs differ; torch does its work"]
    assert ("wrong", False, "3 pairs differ") in [(row.name, row.live, row.reason) for row in backends.report()]


def test_a_kernel_that_does_not_compile_is_left_and_the_work_goes_on(kernel):
    def broken(device: torch.device) -> str:
        raise RuntimeError("0 active drivers")

    kernel("broken", broken)
    assert not backends.runs("broken", CARD)
    assert "RuntimeError: 0 active drivers" in [row.reason for row in backends.report()]


def test_a_compiled_caller_has_the_kernel_compared_before_and_keeps_the_answer(kernel):
    asked = []
    kernel("fine", lambda device: asked.append(device) or "")

    def call(x: Tensor) -> Tensor:
        return x + 1 if backends.runs("fine", CARD) else x - 1

    compiled = torch.compile(call, fullgraph=True, backend="eager")
    assert compiled(torch.zeros(1)).tolist() == compiled(torch.zeros(1)).tolist() == [1.0]
    assert asked == [CARD]


def test_a_kernel_is_compared_with_gradients_also_where_the_caller_has_none(kernel):
    def check(device: torch.device) -> str:
        x = torch.ones(2, requires_grad=True)
        (x * x).sum().backward()
        return "" if x.grad is not None and x.grad.tolist() == [2.0, 2.0] else "no gradient"

    kernel("in inference", check)
    with torch.inference_mode():
        assert backends.runs("in inference", CARD)


def test_a_kernel_that_is_being_compared_runs_in_every_thread_that_the_comparison_starts(kernel):
    def check(device: torch.device) -> str:
        asked: list[bool] = []
        for _ in range(2):
            thread = threading.Thread(target=lambda: asked.append(backends.runs("compared", device)))
            thread.start()
            thread.join(5)
        return "" if asked == [True, True] else f"asked again: {asked}"

    kernel("compared", check)
    assert backends.runs("compared", CARD)
