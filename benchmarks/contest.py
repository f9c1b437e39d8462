"""Ours beside its rivals in one process: each compiled within a limit, compared with float64, then timed in turns, bare and replayed.

A rival that fails, or takes too long to compile, becomes a row that says so; the others go on. What one call leaves in the caches of
the card, those of the others between two of its own push out.
"""

from __future__ import annotations

import hashlib
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

import torch
from torch import Tensor

from benchmarks.ceilings import floor_ms
from benchmarks.gate import bitwise, gate, poison, precision, relative_error
from benchmarks.timing import Call, in_turns, peak_gb, quotients, replayed, row, spread

AGAIN = "ours, the same call again"
"""Ours is timed twice in each run; what the two differ by is noise."""


@dataclass(frozen=True)
class Goal:
    """What one GPU must reach; judged on the numbers of a row, and on GPUs alone."""

    text: str
    most_ms: float | None = None
    most_gb: float | None = None
    most_error: float | None = None
    least_of_roof: float | None = None
    bitwise: bool = False

    def met(self, ms: float, found: Mapping[str, object]) -> bool:
        """Whether a median and the other figures of a row reach it."""
        def most(limit: float | None, value: object) -> bool:
            return limit is None or (isinstance(value, float) and value <= limit)

        roof = found["of_roof"]
        return (most(self.most_ms, ms) and most(self.most_gb, found["peak_gb"]) and most(self.most_error, found["error"])
                and (self.least_of_roof is None or (isinstance(roof, float) and roof >= self.least_of_roof))
                and (not self.bitwise or found["bitwise"] is True))


@dataclass(frozen=True)
class Case:
    """A question at one size and precision: what the work needs at least, how many things it makes, what is asked of us."""

    question: str
    part: str
    precision: str
    shape: Mapping[str, object]
    flop: float
    size: float
    """Bytes that must be read and written at least."""
    count: int = 1
    unit: str = "calls"
    goal: Goal | None = None
    gradient: bool = False
    slack: float = 1.0
    """Allowed times the tolerance of the precision; its reason stands where it is set."""


@dataclass(frozen=True)
class Candidate:
    """A way to compute: ``call`` is timed, ``outcome`` gives the tensor that the gate reads."""

    name: str
    call: Call
    outcome: Callable[[], Tensor]
    graph: Call | None = None
    """What a CUDA graph captures; None where that makes no sense."""


@dataclass
class _State:
    """What is known of a candidate that is ready to be timed, or why it is not."""

    first: float = 0.0
    failure: str = ""
    uncaptured: str = ""
    digest: str | None = None
    error: float | None = None
    bitwise: bool | None = None
    peak: float | None = None
    calls: dict[str, Call] = field(default_factory=dict)


class OverTime(BaseException):
    """A limit has passed. No Exception, so that a compiler that goes on after errors does not go on after this one."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise :class:`OverTime` in the enclosed code after ``seconds``; backward runs in this thread, so that it is stopped too."""
    def stop(number: int, frame: FrameType | None) -> None:
        raise OverTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with torch.autograd.set_multithreading_enabled(False):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def contest(
    case: Case, ours: Candidate, rivals: Sequence[Candidate], reference: Tensor, roofs: Mapping[str, object], *,
    device: str, rounds: int = 30, repeats: int = 20, limit: float = 120.0,
) -> list[dict[str, object]]:
    """Rows of ours beside every rival.

    Args:
        reference: outcome in float64. Ours must agree with it (``SystemExit``); the error of a rival is recorded.
        roofs: of :func:`benchmarks.ceilings.ceilings`, measured in this run.
        repeats: how often ours must give the same bits.
        limit: seconds that the first call of a candidate may take.
    """
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()  # a function that was compiled for eight shapes would run uncompiled from then on, in silence
    with precision(case.precision):
        states = {one.name: _ready(case, one, reference, device, repeats if one is ours else 3, limit, one is ours)
                  for one in (ours, *rivals)}
        if states[ours.name].failure:
            return [_failed(case, ours.name, "bare", states[ours.name].failure, of_ours=True)]
        calls = {f"{name}\n{launch}": call for name, state in states.items() for launch, call in state.calls.items()}
        again = {f"{AGAIN}\n{launch}": call for launch, call in states[ours.name].calls.items()}
        times = in_turns(calls | again, rounds, device)
    states[AGAIN] = states[ours.name]
    table = []
    for name in (*(one.name for one in rivals), AGAIN):
        if states[name].failure:
            table.append(_failed(case, name, "bare", states[name].failure))
        if states[name].uncaptured:
            table.append(_failed(case, name, "graph", states[name].uncaptured))
        table += [_row(case, states, ours.name, name, launch, times, roofs, device)
                  for launch in states[name].calls.keys() & states[ours.name].calls.keys()]
    return sorted(table, key=lambda one: str(one.get("launch", "")))


def _ready(case: Case, one: Candidate, reference: Tensor, device: str, repeats: int, limit: float, is_ours: bool) -> _State:
    """A candidate compiled, compared and captured; ``SystemExit`` where ours is wrong."""
    state = _State()
    start = time.perf_counter()
    try:
        with within(limit):
            one.call()
            if device == "cuda":
                torch.cuda.synchronize()
        state.first = time.perf_counter() - start
        poison(device)
        out = one.outcome()
        state.error = (gate(out, reference, case.precision, what=case.question, gradient=case.gradient, slack=case.slack) if is_ours
                       else relative_error(out, reference))
        state.digest = hashlib.sha256(out.detach().double().cpu().numpy().tobytes()).hexdigest()[:16] if is_ours else None
        del out
        state.bitwise, state.peak = bitwise(one.outcome, repeats), peak_gb(one.call)
        state.calls["bare"] = one.call
    except OverTime:
        state.failure = f"stopped: its first call took more than {limit:g} s"
    except Exception as error:  # noqa: BLE001 (whatever a rival's compiler raises: it costs its own row)
        state.failure = f"{type(error).__name__}: {error}"[:300]
    if device == "cuda" and one.graph is not None and not state.failure:
        try:
            state.calls["graph"] = replayed(one.graph)
        except RuntimeError as error:
            state.uncaptured = f"no CUDA graph: {error}"[:300]
    return state


def _question(case: Case, launch: str) -> str:
    return f"{case.question}, {case.precision}, {'CUDA graph' if launch == 'graph' else 'bare calls'}, ms"


def _failed(case: Case, name: str, launch: str, failure: str, of_ours: bool = False) -> dict[str, object]:
    """The row of what did not run."""
    return {
        "question": _question(case, launch), "part": case.part, "shape": dict(case.shape), "precision": case.precision, "launch": launch,
        "ours": None, "rival": None,
        "rival_name": None if of_ours else name, "ratio": None, "iqr": None, "n": 0, "goal": case.goal.text if case.goal else None,
        "met": False if of_ours and case.goal else None, "failure": failure, "failed": "ours" if of_ours else "rival",
    }


def _row(
    case: Case, states: Mapping[str, _State], ours: str, rival: str, launch: str, times: Mapping[str, list[float]],
    roofs: Mapping[str, object], device: str,
) -> dict[str, object]:
    own, other = times[f"{ours}\n{launch}"], times[f"{rival}\n{launch}"]
    mine, theirs = states[ours], states[rival]
    median, floor = statistics.median(own), floor_ms(case.flop, case.size, roofs, case.precision)
    found: dict[str, object] = {
        "part": case.part, "shape": dict(case.shape), "precision": case.precision, "launch": launch, "unit": "ms", "better": "lower",
        "rival_name": rival, "rival_iqr": spread(other), "n": len(own), "fastest": min(own), "rival_fastest": min(other),
        "rate": 1e3 * case.count / median, "rival_rate": 1e3 * case.count / statistics.median(other), "rate_unit": f"{case.unit}/s",
        "flop": case.flop, "bytes": case.size, "floor": floor, "of_roof": floor / median, "error": mine.error, "rival_error": theirs.error,
        "bitwise": mine.bitwise, "digest": mine.digest, "rival_bitwise": theirs.bitwise, "peak_gb": mine.peak, "rival_peak_gb": theirs.peak,
        "first_call_s": mine.first, "rival_first_call_s": theirs.first,
    }
    goal = case.goal if device == "cuda" else None
    return row(_question(case, launch), own, other, quotients(other, own), goal=goal.text if goal else None,
               met=goal.met(median, found) if goal else None, **found)
