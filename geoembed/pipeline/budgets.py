"""How much a batch holds: what the caller said, what suits a CPU, or on a GPU what measurement shows to be fastest."""

from __future__ import annotations

import statistics
from dataclasses import astuple

import torch

from geoembed.store import Budget

ON_CPU = Budget(2048, 32_768, 256)
"""Activations stay in the cache: twice as fast as batches of 10,000 nodes."""
SHARE = 0.5
"""Of the memory that is free at the start: what a batch may take, beside batches on their way, other processes and fragments."""
_START, _LARGEST = Budget(), Budget(8 * Budget.nodes, 8 * Budget.edges, 8 * Budget.graphs)  # 4 million edges × 256 < 2³¹ entries
_AN_EDGE = 8192  # bytes: eight arrays of 256 columns in float32, a guess that the first batches replace
_WARM, _MEASURED = 2, 4  # batches of each size: kernels are compiled and memory is taken in the first ones
_GAIN = 1.05


class FixedBudget:
    """A budget that only shrinks, when memory runs out."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.measures = False

    def shrink(self, budget: Budget) -> None:
        """Let no batch be larger than this from now on."""
        self.budget = smaller(self.budget, budget)
        self.measures = False

    def seen(self, planned: Budget, full: float, load: float, seconds: float, peak: int) -> None:
        """Take note of a batch: under which budget it was planned, how ``full`` of it, its load, time and peak memory [bytes]."""


class TunedBudget(FixedBudget):
    """A budget that doubles as long as a device gets faster by it, within ``room`` bytes; then it stays.

    Rows do not depend on it beyond rounding: an encoder gives a graph the same vector in any batch.
    """

    def __init__(self, room: int) -> None:
        super().__init__(_START)
        while self.budget.edges * _AN_EDGE > room and self.budget.graphs > 1:
            self.budget = self.budget.halved()
        self.measures, self.room = True, room
        self._rates: list[float] = []
        self._peak = self._met = 0
        self._best: tuple[float, Budget] = (0.0, self.budget)

    def seen(self, planned: Budget, full: float, load: float, seconds: float, peak: int) -> None:
        """Take note of a batch; of one planned before the last change, or less than half full, only its memory."""
        if not self.measures:
            return
        self._peak = max(self._peak, peak)
        if planned != self.budget or full < 0.5 or seconds <= 0:
            return
        self._met += 1
        if self._met > _WARM:
            self._rates.append(load / seconds)
        if len(self._rates) == _MEASURED:
            self._settle(statistics.median(self._rates))

    def _settle(self, rate: float) -> None:
        faster = rate > _GAIN * self._best[0]
        if faster:
            self._best = rate, self.budget
        if faster and 2 * self._peak <= self.room and self.budget != _LARGEST:
            self.budget, self._rates, self._met = smaller(self.budget.doubled(), _LARGEST), [], 0
        else:
            self.budget, self.measures = self._best[1], False


def budget_for(device: torch.device, given: Budget | None) -> FixedBudget:
    """The budget of batches for an encoder on a device; one that was given stays as it is."""
    if given is not None or device.type != "cuda":
        return FixedBudget(first_budget(device, given))
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch holds it, and nobody uses it
    torch.cuda.reset_peak_memory_stats(device)
    return TunedBudget(int(SHARE * (free + kept)))


def first_budget(device: torch.device, given: Budget | None) -> Budget:
    """What the first batch holds, as far as the memory of a GPU has room for it."""
    return given or (ON_CPU if device.type == "cpu" else _START)


def smaller(a: Budget, b: Budget) -> Budget:
    """The smaller of two budgets, entry by entry."""
    return Budget(*map(min, astuple(a), astuple(b)))
