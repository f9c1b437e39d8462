"""How long do a weather state's steps on the sphere take, forward and in training?

``processor``: 16 interaction networks on the multi-mesh of level 5 (10,242 nodes, 81,900 edges) with 512 channels, one state.
``one-degree``: ``WeatherStateEncoder`` of that size on a grid of 181 × 360 points; ``training``: forward, backward and AdamW.
``quarter-degree``: 721 × 1440 points, a mesh of level 6, with peak memory. All in bf16. Rivals, on the same parameters: the naive form
(concatenated edge features) eager and compiled; the factorized form compiled, default and max-autotune, one layer compiled and used by
all (:mod:`benchmarks.mesh_forms`), its static edges embedded once where nothing learns.
Run: ``python -m benchmarks.mesh [--only PART …] [--cpu]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from geoembed.encoders.weather import WeatherConfig, WeatherStateEncoder
from geoembed.graphs.sphere import icosahedral_mesh
from geoembed.nn import InteractionNetwork, unit_length
from geoembed.ops import ptr_from_sorted
from torch import Tensor, nn

from benchmarks.contest import Candidate, Case, Goal, contest
from benchmarks.gate import precision
from benchmarks.mesh_forms import Field, PlainInteraction, PlainWeather, Step, factorized, field_of, in_pieces, kept, naive
from benchmarks.script import Part, Run, compiled, run_parts

HIDDEN, LAYERS = 512, 16
SLACK = 2.0
"""Each of 16 layers rounds nodes and edges once more when it adds to them: every form is at 0.8 % in bf16 after them."""
GOALS = {"processor": Goal("≤ 5.2 ms", most_ms=5.2), "processor-training": Goal("≤ 22 ms", most_ms=22.0),
         "one-degree": Goal("≤ 7.5 ms", most_ms=7.5), "training": Goal("≤ 30 ms", most_ms=30.0),
         "quarter-degree": Goal("≤ 50 ms, ≤ 12 GB", most_ms=50.0, most_gb=12.0)}


def sizes(run: Run) -> tuple[int, int]:
    """Channels and layers."""
    return (32, 2) if run.small else (HIDDEN, LAYERS)


def steps_of(run: Run, *, tuned: bool, naive_too: bool = True) -> dict[str, Step]:
    """The rivals' ways to do one layer: each is compiled for a layer and serves all of its shape."""
    steps: dict[str, Step] = {"naive, eager": naive} | ({"factorized, eager": factorized} if run.small else {})
    if naive_too:
        steps |= {f"naive, {name}": step for name, step in compiled(run, naive, tuned=False).items()}
    return steps | {f"factorized, {name}": step for name, step in compiled(run, factorized, tuned=tuned).items()}


def layer_flop(nodes: int, edges: int, hidden: int) -> float:
    """FLOP of a layer in factorized form: two products of H × H an edge, five a node."""
    return 2.0 * hidden * hidden * (2 * edges + 5 * nodes)


def gradients(parameters: Sequence[tuple[str, nn.Parameter]]) -> Tensor:
    """Every gradient in one vector, by the names of parameters."""
    return torch.cat([value.grad.flatten() for _, value in sorted(parameters) if value.grad is not None])


def candidate(name: str, function: Callable[[], Tensor], module: nn.Module, weight: Tensor | None, step: bool = False) -> Candidate:
    """The forward pass; with ``weight`` also the backward of Σ weight · out, and with ``step`` the optimizer's step."""
    if weight is None:
        forward = torch.no_grad()(function)
        return Candidate(name, forward, forward, forward)
    # A rate of 0 is as much work, and the weights stay those of the reference.
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.0, fused=next(module.parameters()).is_cuda) if step else None

    def call() -> None:
        module.zero_grad(set_to_none=True)
        torch.autograd.backward((function() * weight).sum())
        if optimizer is not None:
            optimizer.step()

    def outcome() -> Tensor:
        call()
        return gradients(list(module.named_parameters()))

    return Candidate(name, call, outcome)


def processor_rows(run: Run, training: bool) -> list[dict[str, object]]:
    """The layers on the mesh alone, one state."""
    part = "processor-training" if training else "processor"
    (hidden, count), level = sizes(run), 2 if run.small else 5
    edge_index = torch.tensor(icosahedral_mesh(level).edge_index).to(run.device)
    number = int(edge_index.max()) + 1
    ptr = ptr_from_sorted(edge_index[1], number)
    with precision("bf16") as dtype:
        torch.manual_seed(0)
        own = nn.ModuleList(InteractionNetwork(hidden) for _ in range(count)).to(run.device, dtype)
        plain, exact = (nn.ModuleList(PlainInteraction(hidden) for _ in range(count)).to(run.device, kind)
                        for kind in (dtype, torch.float64))
        for other in (plain, exact):
            other.load_state_dict(own.state_dict())
        nodes, edges = (torch.randn(rows, hidden, device=run.device, dtype=dtype) for rows in (number, edge_index.shape[1]))
        weight = torch.randn(hidden, device=run.device, dtype=dtype) if training else None

    def ours() -> Tensor:
        x, e = nodes, edges
        for layer in own:
            x, e = layer(x, x, e, edge_index, ptr)
        return x

    def form(layers: nn.ModuleList, step: Step, kind: torch.dtype) -> Tensor:
        x, e = nodes.to(kind), edges.to(kind)
        for layer in layers:
            x, e = step(layer, x, x, e, edge_index)
        return x

    double = torch.float64
    reference = candidate("float64", partial(form, exact, kept(naive) if training else naive, double), exact,
                          None if weight is None else weight.double()).outcome()
    rivals = [candidate(name, partial(form, plain, step, dtype), plain, weight) for name, step in steps_of(run, tuned=True).items()]
    times = 3 if training else 1
    flop = times * count * layer_flop(number, edge_index.shape[1], hidden)
    size = 2.0 * times * count * hidden * (2 * edge_index.shape[1] + 6 * number)  # edges in and out; nodes, projections and sums
    shape = {"graphs": 1, "nodes": number, "edges": edge_index.shape[1], "hidden": hidden, "layers": count}
    what = "forward and backward" if training else "forward"
    case = Case(f"processor on the mesh of level {level}, {what}, {count} layers of {hidden}", part, "bf16", shape, flop, size, 1, "states",
                GOALS[part], gradient=training, slack=SLACK)
    return contest(case, candidate("ours", ours, own, weight), rivals, reference, run.roofs, device=run.device, **run.few)


class Weather:
    """Ours and the plain encoder with the same parameters, and one random state for both."""

    def __init__(self, run: Run, grid: tuple[int, int], level: int) -> None:
        torch.manual_seed(0)
        hidden, count = sizes(run)
        self.ours = WeatherStateEncoder(WeatherConfig(hidden_dim=hidden, layers=count, mesh_level=level))
        self.ours.to(run.device, torch.bfloat16)
        self.batch = self.ours.from_tensors(torch.randn(1, 4, *grid, device=run.device), torch.randn(1, 5, 13, *grid, device=run.device))
        self.field = field_of(self.batch.to_dict())
        self.hidden, self.count = hidden, count
        self.plain, self.exact = self._plain(run.device, torch.bfloat16), self._plain(run.device, torch.float64)

    def _plain(self, device: str, dtype: torch.dtype) -> PlainWeather:
        plain = PlainWeather(self.ours.features, self.hidden, self.count, self.ours.embedding_dim).to(device, dtype)
        plain.load_state_dict(self.ours.state_dict())
        return plain

    def needed(self) -> tuple[float, float, dict[str, object]]:
        """FLOP in factorized form with static edges at no cost, bytes, and the shape."""
        f, h = self.field, self.hidden
        points, nodes, bridge, edges = len(f.values), len(f.mesh), f.bridge.shape[1], f.inner.shape[1]
        embed = 2.0 * points * h * (2 * self.ours.features + 2 + h)
        cross = 2.0 * h * h * (points + bridge + 4 * nodes)
        size = 2.0 * (points * 2 * self.ours.features + h * (2 * points + bridge + self.count * (2 * edges + 6 * nodes)))
        shape: dict[str, object] = {"graphs": 1, "points": points, "nodes": nodes, "bridge_edges": bridge, "edges": edges, "hidden": h,
                                    "layers": self.count}
        return embed + cross + self.count * layer_flop(nodes, edges, h), size, shape


def encoder_rows(run: Run, part: str, grid: tuple[int, int], level: int, *, tuned: bool, training: bool = False) -> list[dict[str, object]]:
    """The whole encoder on one state."""
    if run.small:
        grid, level = (19, 36), 2
    with precision("bf16") as dtype:
        both = Weather(run, grid, level)
        field: Field = both.field.to(dtype)
        weight = torch.randn(both.ours.embedding_dim, device=run.device, dtype=dtype) if training else None
        # The reference is given the state as ours is: float32, which only ours rounds.
        exact = partial(both.exact, both.field.to(torch.float64), kept(in_pieces) if training else in_pieces)
        reference = candidate("float64", exact, both.exact, None if weight is None else weight.double()).outcome()
        static = None
        if not training:
            with torch.no_grad():
                static = both.plain.static(field)
    rivals = []
    for name, step in steps_of(run, tuned=tuned, naive_too=False).items():
        once = static if name.startswith("factorized") else None
        rivals.append(candidate(name, partial(both.plain, field, step, once), both.plain, weight, step=training))
    ours = candidate("ours", partial(both.ours, both.batch), both.ours, weight, step=training)
    if not training:
        embed = torch.no_grad()(lambda: unit_length(both.ours.embed(both.batch)))
        ours = Candidate("ours", ours.call, ours.outcome, embed)
    flop, size, shape = both.needed()
    times, what = (3, "training step") if training else (1, "forward")
    case = Case(f"weather encoder, {what}, {grid[0]} × {grid[1]} points, mesh of level {level}", part, "bf16", shape, times * flop,
                times * size, 1, "states", GOALS[part], gradient=training, slack=SLACK)
    return contest(case, ours, rivals, reference, run.roofs, device=run.device, **run.few)


def processor(run: Run) -> list[dict[str, object]]:
    """16 layers on the mesh of level 5, forward."""
    return processor_rows(run, training=False)


def processor_training(run: Run) -> list[dict[str, object]]:
    """16 layers on the mesh of level 5, forward and backward."""
    return processor_rows(run, training=True)


def one_degree(run: Run) -> list[dict[str, object]]:
    """The encoder at 1°, forward."""
    return encoder_rows(run, "one-degree", (181, 360), 5, tuned=True)


def training(run: Run) -> list[dict[str, object]]:
    """The encoder at 1°, a training step."""
    return encoder_rows(run, "training", (181, 360), 5, tuned=False, training=True)


def quarter_degree(run: Run) -> list[dict[str, object]]:
    """The encoder at 0.25° with a mesh of level 6, forward, with peak memory."""
    return encoder_rows(run, "quarter-degree", (721, 1440), 6, tuned=False)


PARTS: dict[str, Part] = {"processor": processor, "processor-training": processor_training, "one-degree": one_degree, "training": training,
                          "quarter-degree": quarter_degree}


if __name__ == "__main__":
    run_parts("mesh", __doc__, PARTS)
