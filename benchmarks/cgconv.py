"""How fast is the drop-in for PyG's CGConv, forward and backward, at the accuracy of float32?

65,536 nodes with 12 in-edges each, sources among 32 neighbors in number; C = 64 with 41 edge features (a distance basis) and C = 128
with 16. Ours takes the state of PyG's layer. Rivals: that layer, eager and compiled; the factorized form compiled, with a sum over a
view, which only equal degrees allow. Three tf32 products count as float32 where the error stays below 2e-6.
Run: ``python -m benchmarks.cgconv [--only PART …] [--cpu]``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from geoembed import nn as layers
from torch import Tensor, nn
from torch.nn.functional import linear, softplus
from torch_geometric.nn import CGConv as PyGConv

from benchmarks.contest import Candidate, Case, Goal, contest
from benchmarks.script import Part, Run, compiled, run_parts

NODES, DEGREE, NEAR = 65_536, 12, 32
GOALS = {(64, "forward"): 0.31, (128, "forward"): 0.48, (64, "forward and backward"): 1.1, (128, "forward and backward"): 2.0}
"""ms."""


def edges_of(nodes: int) -> Tensor:
    """edge_index [2, E] sorted by target."""
    generator = torch.Generator().manual_seed(1)
    target = torch.arange(nodes).repeat_interleave(DEGREE)
    return torch.stack([target // NEAR * NEAR + torch.randint(0, NEAR, (len(target),), generator=generator), target])


def factorized(layer: Any, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
    """x + Σ sigmoid(W_f z) · softplus(W_s z) with z = [x_t, x_s, e], projections on nodes; for equal degrees."""
    width, both = x.shape[1], torch.cat([layer.lin_f.weight, layer.lin_s.weight])  # [2C, 2C + D]
    at_target = linear(x, both[:, :width], torch.cat([layer.lin_f.bias, layer.lin_s.bias]))
    of_edge = linear(x, both[:, width : 2 * width])[edge_index[0]] + linear(edge_attr, both[:, 2 * width :])
    gate, core = (of_edge.view(len(x), DEGREE, 2 * width) + at_target.unsqueeze(1)).chunk(2, -1)
    return x + (torch.sigmoid(gate) * softplus(core)).sum(1)


def needed(nodes: int, width: int, features: int) -> tuple[float, float]:
    """FLOP of the factorized form, and bytes: edge features and sources, x and out, four projections written and read."""
    edges = nodes * DEGREE
    return 2.0 * nodes * width * 4 * width + 4.0 * edges * features * width, 4.0 * (edges * (features + 1) + 10 * nodes * width)


def ours_of(pyg: PyGConv, width: int, features: int, edge_index: Tensor) -> tuple[nn.Module, Callable[..., Tensor]]:
    """Our layer with the state of PyG's; bounds of the sorted edges are given to it where it takes them."""
    if not hasattr(layers, "CGConv"):
        raise SystemExit("geoembed.nn has no CGConv in this version")
    layer = layers.CGConv(width, features).to(edge_index.device)
    layer.load_state_dict(pyg.state_dict())
    if "ptr" in inspect.signature(layer.forward).parameters:
        nodes = int(edge_index[1, -1]) + 1
        return layer, partial(layer, ptr=torch.arange(nodes + 1, device=edge_index.device) * DEGREE)
    return layer, layer


def candidate(
    name: str, function: Callable[..., Tensor], inputs: tuple[Tensor, ...], used: list[Tensor], weight: Tensor | None
) -> Candidate:
    """The forward pass, or with ``weight`` also the backward of Σ weight · out, whose outcome is every gradient."""
    if weight is None:
        forward = torch.no_grad()(partial(function, *inputs))
        return Candidate(name, forward, forward, forward)

    def call() -> None:
        for tensor in used:
            tensor.grad = None
        torch.autograd.backward((function(*inputs) * weight).sum())

    def outcome() -> Tensor:
        call()
        return torch.cat([tensor.grad.flatten() for tensor in used if tensor.grad is not None])

    return Candidate(name, call, outcome)


def rows_of(run: Run, width: int, features: int, training: bool) -> list[dict[str, object]]:
    """Rows of one size, forward or forward and backward."""
    nodes = 256 if run.small else NODES
    edge_index = edges_of(nodes).to(run.device)
    x, edge_attr = torch.randn(nodes, width, device=run.device), torch.rand(len(edge_index[0]), features, device=run.device)
    weight = torch.randn(nodes, width, device=run.device) if training else None
    torch.manual_seed(0)
    pyg = PyGConv(width, features).to(run.device)
    layer, ours = ours_of(pyg, width, features, edge_index)

    def made(name: str, function: Callable[..., Tensor], module: nn.Module, dtype: torch.dtype = torch.float32) -> Candidate:
        inputs = (x.to(dtype, copy=True).requires_grad_(training), edge_index, edge_attr.to(dtype))
        used = [inputs[0], *(value for _, value in sorted(module.named_parameters()))]
        return candidate(name, function, inputs, used, None if weight is None else weight.to(dtype))

    exact = PyGConv(width, features).to(run.device, torch.float64)
    exact.load_state_dict(pyg.state_dict())
    reference = made("float64", exact, exact, torch.float64).outcome()
    rivals = [made("PyG CGConv, eager", pyg, pyg)]
    for form, function in (("PyG CGConv", pyg), ("factorized", partial_form(pyg))):
        rivals += [made(f"{form}, {name}", way, pyg) for name, way in compiled(run, function, tuned=False).items()]
    flop, size = needed(nodes, width, features)
    what, times = ("forward and backward", 3) if training else ("forward", 1)
    most = GOALS[width, what]
    shape = {"nodes": nodes, "edges": nodes * DEGREE, "channels": width, "features": features}
    case = Case(f"CGConv, {what}, {nodes:,} nodes, C = {width}, D = {features}", f"c{width}-{'training' if training else 'forward'}",
                "tf32x3", shape, flop * times, size * times, nodes, "nodes", Goal(f"≤ {most} ms", most_ms=most), gradient=training)
    return contest(case, made("ours", ours, layer), rivals, reference, run.roofs, device=run.device, **run.few)


def partial_form(layer: nn.Module) -> Callable[..., Tensor]:
    """:func:`factorized` of a layer, as a function of tensors alone."""
    def form(x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        return factorized(layer, x, edge_index, edge_attr)

    return form


def narrow(run: Run) -> list[dict[str, object]]:
    """C = 64 with 41 edge features, forward."""
    return rows_of(run, 64, 41, training=False)


def wide(run: Run) -> list[dict[str, object]]:
    """C = 128 with 16 edge features, forward."""
    return rows_of(run, 128, 16, training=False)


def narrow_training(run: Run) -> list[dict[str, object]]:
    """C = 64 with 41 edge features, forward and backward."""
    return rows_of(run, 64, 41, training=True)


def wide_training(run: Run) -> list[dict[str, object]]:
    """C = 128 with 16 edge features, forward and backward."""
    return rows_of(run, 128, 16, training=True)


PARTS: dict[str, Part] = {"c64-forward": narrow, "c128-forward": wide, "c64-training": narrow_training, "c128-training": wide_training}


if __name__ == "__main__":
    run_parts("cgconv", __doc__, PARTS)
