"""Run by the tests of EdgeConv and of neighbors with Triton's interpreter: each kernel against its specification in float64."""

from __future__ import annotations

import sys

import torch
from geoembed.ops import fused_edgeconv
from geoembed.ops.edgeconv import folded_mean, normed_mean
from geoembed.ops.fused_edgeconv import Tile, _centered, folded_messages, launch_folded, normed_messages
from torch import Tensor

GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=GENERATOR)


def table_of(nodes: int, k: int) -> Tensor:
    """Neighbors with holes anywhere; node 0 has none, the last all."""
    table = torch.randint(-1, nodes, (nodes, k), generator=GENERATOR)
    table[0], table[-1] = -1, 0
    return table


def close(found: Tensor, expected: Tensor, most: float, what: str) -> None:
    error = float((found.double() - expected).norm() / expected.norm())
    assert error <= most, f"{what}: {error:.1e}"


def folded() -> None:
    """Widths that are and are not powers of two, tables that are and are not, one weight block and streams of them."""
    torch.set_float32_matmul_precision("highest")
    for h, k, nodes, dtype, most in ((16, 16, 9, torch.float32, 1e-6), (48, 5, 7, torch.float32, 1e-6), (64, 1, 70, torch.float16, 2e-3)):
        table = table_of(nodes, k)
        projected, w1, w2, b = normal(nodes, 3 * h), normal(h, h) / h**0.5, normal(h, h) / h**0.5, normal(2, h)
        parts = [part.to(dtype) for part in (projected, w1, b[0], w2, b[1])]
        found = folded_messages(parts[0], table, *parts[1:])
        wide = [part.double() for part in parts]
        expected = folded_mean(wide[0], table, (wide[1], wide[2]), (wide[3], wide[4]))
        close(found, expected, most, f"{h} columns, {k} neighbors, {dtype}")
        shortcut = wide[0][0, 2 * h :].relu()
        assert torch.equal(found[0].double(), shortcut), "a node without neighbors has its shortcut"


def streamed() -> None:
    """256 and 192 columns, whose weights pass through shared memory in blocks, give the same."""
    for h in (192, 256):
        table = table_of(5, 3)
        parts = [part.half() for part in (normal(5, 3 * h), normal(h, h) / h**0.5, normal(h), normal(h, h) / h**0.5, normal(h))]
        wide, out = [part.double() for part in parts], parts[0].new_full((5, h), torch.nan)
        launch_folded(out, parts[0], table, *parts[1:], tile=Tile(16, 4, 1))
        close(out, folded_mean(wide[0], table, (wide[1], wide[2]), (wide[3], wide[4])), 2e-3, f"{h} columns")


def normed() -> None:
    """The norms of centered maps are layer norms; a node without neighbors has nothing."""
    torch.set_float32_matmul_precision("highest")
    for h, k, nodes, dtype, most in ((16, 16, 9, torch.float32, 2e-6), (48, 5, 7, torch.float32, 2e-6), (64, 3, 20, torch.float16, 3e-3)):
        table = table_of(nodes, k)
        both = normal(nodes, 3, h)
        projected = (both - both.mean(2, keepdim=True)).view(nodes, 3 * h).to(dtype)
        weight, bias = _centered((normal(h, h).to(dtype) / h**0.5, normal(h).to(dtype)))
        vectors = normal(4, h).to(dtype)
        found = normed_messages(projected, table, vectors[0], vectors[1], weight, bias, vectors[2], vectors[3])
        v = vectors.double()
        expected = normed_mean(projected.double(), table, (v[0], v[1]), (weight.double(), bias.double()), (v[2], v[3]))
        close(found, expected, most, f"{h} columns, {k} neighbors, {dtype}")
        assert not found[0].any()


def checks() -> None:
    """What runs before a kernel is first used finds nothing."""
    assert fused_edgeconv.disagreement(torch.device("cpu")) == ""


if __name__ == "__main__":
    {"folded": folded, "streamed": streamed, "normed": normed, "checks": checks}[sys.argv[1]]()
