"""Back ends of ``ops``: one table, one rule, one self-check; ``geoembed doctor`` prints what :func:`report` says.

Rule: torch runs, and on a GPU the kernels, which are compared with it when they are first needed; where one differs torch goes on
and a warning says why. :func:`use` names another back end for the enclosed code: ``torch`` is the specification alone, without
kernels; any other is compared with it on a small ragged problem first, and refused with its reason where it differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.util import find_spec
from logging import getLogger

import torch
from torch import Tensor

from geoembed.errors import BackendError

Reduction = Callable[[Tensor, Tensor], Tensor]
"""(x [..., N, F], ptr [S+1]) -> [..., S, F]."""

Check = Callable[[torch.device], str]
"""Compares a kernel with its specification on a device: empty, or what differs."""

TOLERANCE = 1e-5
AUTO = "auto"
_active: ContextVar[str] = ContextVar("geoembed_backend", default=AUTO)
_reductions: dict[str, dict[str, Reduction]] = {}
_verdicts: dict[str, str] = {}
_kernels: dict[str, Check] = {}
_comparing: set[str] = set()


@dataclass(frozen=True)
class BackendStatus:
    """One line of ``geoembed doctor``: the back end, whether it runs, and why not."""

    name: str
    live: bool
    reason: str


def register(name: str, op: str, function: Reduction) -> None:
    """Offer ``function`` as the implementation of ``op`` by back end ``name``; forgets an earlier verdict."""
    _reductions.setdefault(name, {})[op] = function
    _verdicts.pop(name, None)


def reduction(op: str) -> Reduction:
    """The implementation of ``op`` that the active back end gives, else the specification."""
    return _reductions.get(active(), {}).get(op) or _reductions["torch"][op]


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def active() -> str:
    """Name of the back end that :func:`use` chose, or ``auto``: torch, and kernels on a GPU.

    What is compiled or exported keeps the back end that was active then.
    """
    return _active.get()


@contextmanager
def use(name: str) -> Iterator[None]:
    """Run the enclosed code on back end ``name``; :class:`BackendError` where it is absent or disagrees with torch."""
    if reason := _verdict(name):
        raise BackendError(where=f"back end {name}", found=reason, expected="agreement with torch", remedy="Use the torch back end.")
    token = _active.set(name)
    try:
        yield
    finally:
        _active.reset(token)


def register_kernel(name: str, check: Check) -> None:
    """Offer a Triton kernel for GPUs; forgets an earlier verdict."""
    _kernels[name] = check
    _verdicts.pop(name, None)


def runs(name: str, device: torch.device) -> bool:
    """Whether a kernel runs on a device: compared with its specification once, refused with a warning where it differs."""
    return device.type == "cuda" and active() != "torch" and _agrees(name, device)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _agrees(name: str, device: torch.device) -> bool:
    """The verdict on a kernel; who traces a caller for a compiler takes it and does not look into the comparison."""
    if name in _comparing:  # the comparison asks, from whichever thread autograd chose: what is compared is the kernel
        return True
    if name not in _verdicts:
        _comparing.add(name)
        try:
            _verdicts[name] = _kernel_verdict(name, device)
        finally:
            _comparing.discard(name)
        if _verdicts[name]:
            getLogger("geoembed").warning("%s does not run: %s; torch does its work", name, _verdicts[name])
    return not _verdicts[name]


def _kernel_verdict(name: str, device: torch.device) -> str:
    if find_spec("triton") is None:
        return "Triton is not installed (pip install triton)"
    # A thread of its own has no inference mode, no disabled gradients and no caller's operator around it: gradients are compared too.
    with ThreadPoolExecutor(1) as alone:
        return alone.submit(_compared, name, device).result()


def _compared(name: str, device: torch.device) -> str:
    failures: tuple[type[Exception], ...] = (RuntimeError, ImportError, OSError, ValueError, TypeError, AttributeError, *_compiler_errors())
    try:
        with torch.cuda.device(device) if torch.cuda.is_available() else nullcontext():
            return _kernels[name](device)
    except failures as error:
        return f"{type(error).__name__}: {error}"[:300]  # a compiler or driver that fails is a reason to go on without it


def _compiler_errors() -> tuple[type[Exception], ...]:
    try:
        from triton.errors import TritonError
    except ImportError:
        return ()
    return (TritonError,)


def report() -> list[BackendStatus]:
    """Every back end with its state, the specification first."""
    rows = []
    for name in ("torch", "torch_scatter"):
        reason = _verdict(name)
        rows.append(BackendStatus(name, not reason, reason or ("specification" if name == "torch" else "agrees with torch")))
    for name in _kernels:
        live = torch.cuda.is_available() and runs(name, torch.device("cuda"))
        rows.append(BackendStatus(name, live, "agrees with torch" if live else _verdicts.get(name, "no GPU here")))
    return rows


def _verdict(name: str) -> str:
    """Empty where the back end may run, else the reason why not; decided once."""
    if name == "torch":
        return ""
    if name not in _reductions:
        present = find_spec(name) is not None
        return "no reductions registered" if present else f"not installed (pip install --no-build-isolation {name.replace('_', '-')})"
    if name not in _verdicts:
        _verdicts[name] = _disagreement(name)
    return _verdicts[name]


def _disagreement(name: str) -> str:
    """Compare every reduction of ``name`` with torch, forward and backward, on 100 rows with empty segments."""
    generator = torch.Generator().manual_seed(0)
    ptr = torch.tensor([0, 0, 30, 31, 31, 99, 100, 100])
    for op, function in _reductions[name].items():
        results = []
        for candidate in (_reductions["torch"][op], function):
            x = torch.randn(100, 5, generator=generator.manual_seed(1), dtype=torch.float64).requires_grad_()
            y = candidate(x, ptr)
            (grad,) = torch.autograd.grad((y * torch.arange(1, y.numel() + 1).view_as(y)).sum(), x)
            results.append((y.detach(), grad))
        (y0, g0), (y1, g1) = results
        worst = max(float((y0 - y1).abs().max()), float((g0 - g1).abs().max()))
        if not worst <= TOLERANCE:
            return f"{op} differs from torch by {worst:.1e}"
    return ""
