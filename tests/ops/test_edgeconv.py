"""EdgeConv's factorized forms against the formulas written as loops, its gradients, and its kernels in Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from geoembed.ops import FoldedWeights, NormedWeights, backends, folded_edge_conv, fused_edgeconv, normed_edge_conv
from geoembed.ops.edgeconv import folded_in_torch
from torch import Tensor
from torch.nn.functional import layer_norm

from generators import numbers

N, F, H, K = 7, 3, 8, 4
TABLE = torch.randint(-1, N, (N, K), generator=torch.Generator().manual_seed(2))
TABLE[0] = -1


def affine(rows: int, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    return numbers(rows, columns, seed=seed), numbers(rows, seed=seed + 1)


def norm(seed: int) -> tuple[Tensor, Tensor]:
    return numbers(H, seed=seed), numbers(H, seed=seed + 1)


NORMED = NormedWeights(affine(H, 2 * F, 1), norm(3), affine(H, H, 5), norm(7), affine(H, H, 9), affine(H, F, 11), norm(13))
FOLDED = FoldedWeights(affine(H, 2 * F, 1), affine(H, H, 5), affine(H, H, 9), affine(H, F, 11))


def apply(pair: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
    return pair[0] @ x + pair[1]


def pairs(x: Tensor, i: int) -> list[Tensor]:
    return [torch.cat([x[i], x[j] - x[i]]) for j in TABLE[i].tolist() if j >= 0]


def mean(rows: list[Tensor]) -> Tensor:
    return torch.stack(rows).mean(0) if rows else torch.zeros(H, dtype=torch.float64)


def normed_loop(x: Tensor, w: NormedWeights) -> Tensor:
    """One pair after the other, the last map before the mean."""
    rows = []
    for i in range(N):
        messages = []
        for pair in pairs(x, i):
            h = layer_norm(apply(w.first, pair), (H,), *w.norm0).relu()
            messages.append(apply(w.last, layer_norm(apply(w.second, h), (H,), *w.norm1).relu()))
        rows.append(layer_norm(mean(messages) + apply(w.shortcut, x[i]), (H,), *w.norm2).relu())
    return torch.stack(rows)


def folded_loop(x: Tensor, w: FoldedWeights) -> Tensor:
    rows = []
    for i in range(N):
        messages = [apply(w.third, apply(w.second, apply(w.first, pair).relu()).relu()).relu() for pair in pairs(x, i)]
        rows.append((mean(messages) + apply(w.shortcut, x[i])).relu())
    return torch.stack(rows)


FORMS = {"normed": (normed_edge_conv, normed_loop, NORMED), "folded": (folded_edge_conv, folded_loop, FOLDED)}


@pytest.mark.parametrize("form", FORMS)
def test_values_and_gradients_equal_the_loop_over_pairs(form):
    ours, loop, weights = FORMS[form]
    results = []
    for function in (lambda x, w: ours(x, TABLE, w), loop):
        x = numbers(N, F).requires_grad_()
        leaves = type(weights)(*(tuple(part.clone().requires_grad_() for part in pair) for pair in weights))
        out = function(x, leaves)
        results.append([out, *torch.autograd.grad((out * numbers(N, H, seed=20)).sum(), [x, *(part for pair in leaves for part in pair)])])
    for mine, plain in zip(*results, strict=True):
        torch.testing.assert_close(mine, plain, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_a_node_alone_keeps_its_shortcut_and_junk_in_row_zero_is_not_seen(form):
    ours, _, weights = FORMS[form]
    x = numbers(N, F)
    alone = torch.full((N, K), -1)
    kept = x @ weights.shortcut[0].T + weights.shortcut[1]
    kept = layer_norm(kept, (H,), *weights.norm2) if form == "normed" else kept
    torch.testing.assert_close(ours(x, alone, weights), kept.relu())
    junk = x.clone()
    junk[0] = torch.nan  # what −1 gathers
    unseen = torch.where(TABLE == 0, -1, TABLE)
    torch.testing.assert_close(ours(junk, unseen, weights)[1:], ours(x, unseen, weights)[1:], atol=0, rtol=0)


def test_the_gradient_of_the_gather_is_the_count_of_a_row_in_the_table_and_has_the_same_bits_each_time():
    x = numbers(2, N, F).requires_grad_()

    def gradient() -> Tensor:
        (grad,) = torch.autograd.grad(folded_in_torch(x, TABLE, FOLDED).sum(), x)
        return grad

    assert all(torch.equal(gradient(), gradient()) for _ in range(3))
    from geoembed.ops.edgeconv import _Gather

    rows = numbers(N, 1).requires_grad_()
    (grad,) = torch.autograd.grad(_Gather.apply(rows, TABLE).sum(), rows)
    assert grad.flatten().tolist() == torch.bincount(TABLE.clamp(min=0).flatten(), minlength=N).tolist()


def test_the_kernel_is_left_where_gradients_are_wanted_and_for_shapes_it_has_no_tile_for(monkeypatch):
    monkeypatch.setattr(backends, "runs", lambda name, device: True)

    def weights(h: int, dtype: torch.dtype = torch.float32) -> FoldedWeights:
        shapes = ((h, 2 * F), (h, h), (h, h), (h, F))
        return FoldedWeights(*((torch.zeros(shape, dtype=dtype), torch.zeros(h, dtype=dtype)) for shape in shapes))

    x, table = torch.zeros(N, F), TABLE
    assert fused_edgeconv.serves(x, table, weights(64))
    assert not fused_edgeconv.serves(x.clone().requires_grad_(), table, weights(64))
    with torch.no_grad():
        assert fused_edgeconv.serves(x.clone().requires_grad_(), table, weights(64))
    assert not fused_edgeconv.serves(x, table, weights(24))
    assert not fused_edgeconv.serves(x, table, weights(208))
    assert not fused_edgeconv.serves(x, table, weights(512))
    assert not fused_edgeconv.serves(x.double(), table, weights(64, torch.float64))
    assert not fused_edgeconv.serves(x.expand(2, N, F), table, weights(64))
    assert not fused_edgeconv.serves(x, torch.zeros(N, 0, dtype=torch.int64), weights(64))


@pytest.mark.parametrize("case", ["folded", "streamed", "normed", "features", "checks"])
def test_a_kernel_gives_what_the_specification_gives(case):
    """In a process of its own: the interpreter is chosen when Triton is imported."""
    pytest.importorskip("triton", reason="Triton is not installed: its kernels are not compared")
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run([sys.executable, here / "triton_edgeconv_cases.py", case], capture_output=True, text=True, check=False,
                         env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": paths})
    assert ran.returncode == 0, ran.stderr[-2000:]
