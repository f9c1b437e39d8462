"""A thread beside the caller keeps the order, the context and the first error."""

from __future__ import annotations

import contextvars
import threading

import pytest
from geoembed.store.prefetch import Thread

WORD = contextvars.ContextVar("WORD", default="none")


def test_work_is_done_in_order_in_one_other_thread_with_the_context_of_the_caller():
    token = WORD.set("chosen")
    try:
        with Thread("t") as thread:
            found = [future.result() for future in [thread.do(lambda i=i: (i, threading.get_ident(), WORD.get())) for i in range(5)]]
    finally:
        WORD.reset(token)
    assert [i for i, _, _ in found] == list(range(5))
    assert len({ident for _, ident, _ in found}) == 1
    assert threading.get_ident() not in {ident for _, ident, _ in found}
    assert {word for *_, word in found} == {"chosen"}


def test_after_an_error_nothing_is_done_and_all_that_follows_has_that_error():
    done = []
    with Thread("t") as thread:
        first = thread.do(lambda: 1 / 0)
        second = thread.do(lambda: done.append(2))
        for future in (first, second):
            with pytest.raises(ZeroDivisionError):
                future.result()
    assert done == []


def test_leaving_waits_for_what_runs_and_forgets_the_rest():
    entered, go, done = threading.Event(), threading.Event(), []

    def first() -> None:
        entered.set()
        go.wait(5)
        done.append(1)

    with Thread("t") as thread:
        thread.do(first)
        thread.do(done.append, 2)
        entered.wait(5)
        threading.Timer(0.02, go.set).start()
    assert done == [1]
