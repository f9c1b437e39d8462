"""Run by the tests of EdgeConv and of neighbors with Triton's interpreter: each kernel against its specification in float64."""

from __future__ import annotations

import itertools
import sys

import torch
from geoembed.ops import fused_edgeconv, fused_features_knn
from geoembed.ops.edgeconv import folded_mean, normed_mean
from geoembed.ops.fused_edgeconv import Tile, _centered, folded_messages, launch_folded, normed_messages
from geoembed.ops.fused_features_knn import nearest_features
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


def sorted_neighbors(x: Tensor, ptr: Tensor, k: int) -> Tensor:
    """All distances in float64, sorted stably, NaN and infinity left out."""
    table = torch.full((len(x), k), -1)
    for low, high in itertools.pairwise(ptr.tolist()):
        distance = (x[low:high].double().unsqueeze(1) - x[low:high].double()).square().sum(-1).fill_diagonal_(torch.inf)
        distance = distance.nan_to_num(nan=torch.inf, posinf=torch.inf)
        value, order = torch.sort(distance, dim=1, stable=True)
        found = (order + low).where(value < torch.inf, -1)[:, :k]
        table[low:high, : found.shape[1]] = found
    return table


def features() -> None:
    """Ragged segments, more than a block of queries and of candidates, ties, coincident and far points, rows of NaN: sorted distances."""
    ptr = torch.tensor([0, 0, 1, 3, 70, 0, 135]).cumsum(0)
    whole = torch.randint(-2, 3, (int(ptr[-1]), 20), generator=GENERATOR).float()
    whole[100:103] = whole[99]
    far = normal(len(whole), 70) + 100
    holes = normal(len(whole), 6)
    holes[[2, 80]] = torch.nan
    for x, k in ((whole, 5), (whole.half(), 16), (far, 3), (holes, 16)):
        found, expected = nearest_features(x, ptr, k), sorted_neighbors(x, ptr, k)
        assert torch.equal(found, expected), f"{int((found != expected).sum())} of {x.dtype} {tuple(x.shape)} differ"


def checks() -> None:
    """What runs before a kernel is first used finds nothing."""
    assert fused_features_knn.disagreement(torch.device("cpu")) == ""
    assert fused_edgeconv.disagreement(torch.device("cpu")) == ""


if __name__ == "__main__":
    {"folded": folded, "streamed": streamed, "normed": normed, "features": features, "checks": checks}[sys.argv[1]]()
