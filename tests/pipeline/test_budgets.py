"""The size of batches: given, shrinking when memory runs out, or doubled on a GPU as long as that pays and there is room."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from geoembed.pipeline import budgets
from geoembed.pipeline.budgets import FixedBudget, TunedBudget, budget_for, smaller
from geoembed.store import Budget

GIB = 1 << 30


def tuned(rate: Callable[[int], float], an_edge: int, room: int = 64 * GIB, batches: int = 100) -> TunedBudget:
    """A budget after batches on a device that does ``rate(graphs)`` of load a second and needs ``an_edge`` bytes an edge."""
    budget, peak = TunedBudget(room), 0
    for _ in range(batches):
        now = budget.budget
        peak = max(peak, an_edge * now.edges)
        budget.seen(now, 1.0, now.edges, now.edges / rate(now.graphs), peak)
    return budget


def test_a_device_that_gains_by_larger_batches_gets_the_largest():
    budget = tuned(lambda graphs: graphs, 1000)
    assert budget.budget == budgets._LARGEST
    assert not budget.measures


def test_doubling_ends_where_nothing_is_gained_by_it():
    budget = tuned(lambda graphs: min(graphs, 4096), 1000)
    assert budget.budget.graphs == 4096


def test_a_device_that_larger_batches_slow_down_keeps_the_smaller():
    assert tuned(lambda graphs: graphs if graphs <= 2048 else 100.0, 1000).budget.graphs == 2048


def test_doubling_ends_where_the_next_batch_might_not_have_room():
    budget = tuned(lambda graphs: graphs, 8192, room=16 * GIB)
    assert 8192 * budget.budget.edges <= 16 * GIB
    assert budget.budget.graphs == 4096  # 8,192 would take just the 16 GiB twice


def test_a_small_card_starts_with_small_batches():
    assert TunedBudget(1 * GIB).budget.edges * budgets._AN_EDGE <= 1 * GIB
    assert TunedBudget(64 * GIB).budget == Budget()


def test_batches_that_say_nothing_are_not_counted():
    budget = TunedBudget(64 * GIB)
    for _ in range(50):
        budget.seen(budget.budget.halved(), 1.0, 1.0, 1.0, 1)  # planned before
        budget.seen(budget.budget, 0.3, 1.0, 1.0, 1)  # hardly filled
    assert budget.budget == Budget()
    assert budget.measures


def test_memory_that_ran_out_is_the_end_of_it():
    budget = TunedBudget(64 * GIB)
    budget.shrink(Budget(100, 10_000, 50))
    for _ in range(50):
        budget.seen(budget.budget, 1.0, 1e9, 1e-9, 1)
    assert budget.budget == Budget(100, 10_000, 50)
    budget.shrink(Budget())  # never back up
    assert budget.budget == Budget(100, 10_000, 50)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_budget_that_is_given_is_kept_and_a_cpu_has_its_own(device):
    given = budget_for(torch.device(device), Budget(5, 6, 7))
    assert (type(given), given.budget, given.measures) == (FixedBudget, Budget(5, 6, 7), False)
    assert budget_for(torch.device("cpu"), None).budget == budgets.ON_CPU


def test_the_smaller_of_two_is_smaller_in_everything():
    assert smaller(Budget(1, 20, 3), Budget(10, 2, 30)) == Budget(1, 2, 3)
