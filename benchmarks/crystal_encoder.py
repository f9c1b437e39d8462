"""How many crystals a second become vectors, and how long does a training step take, beside eager and compiled forms?

``CrystalGraphEncoder`` with its defaults (hidden 256, 4 layers, 10 bond features) on random crystals of 30 atoms with 12 in-edges
each, sources in the same crystal; ragged: degrees 4 to 20 with as many edges. Rivals, on the same parameters in the same process and
precision: vectorized eager; the factorized form compiled, default and max-autotune, with the best aggregation that the edges allow
(:mod:`benchmarks.forms`). Every output is compared with the plain form in float64 first.
Run: ``python -m benchmarks.crystal_encoder [--only PART …] [--cpu] [--quick] [--out FOLDER]``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from geoembed import CrystalGraphEncoder
from geoembed.encoders.crystal import CrystalGraphConfig
from geoembed.nn import unit_length
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from benchmarks.contest import Candidate, Case, Goal, contest
from benchmarks.forms import Aggregate, PlainCrystalEncoder, by_segment_reduce, by_view
from benchmarks.gate import precision
from benchmarks.script import Part, Run, compiled, run_parts

ATOMS, DEGREE, WHOLE = 30, 12, 2048
GOALS = {"forward": Goal("≥ 1,000,000 crystals/s", most_ms=WHOLE / 1e3), "256": Goal("≥ 700,000 crystals/s", most_ms=256 / 700),
         "tf32": Goal("≤ 4.6 ms", most_ms=4.6),
         "training": Goal("≤ 8.5 ms, ≤ 1 GB, same bits", most_ms=8.5, most_gb=1.0, bitwise=True)}
RAGGED = Goal("≤ 1.15 × fixed degree")


@dataclass(frozen=True)
class Crystals:
    """Random crystals, edges sorted by target."""

    numbers: Tensor  # [N]
    edge_index: Tensor  # [2, E]
    edges: Tensor  # [E, 10] float32
    graph: Tensor  # [N]
    count: int

    @property
    def degrees(self) -> Tensor:
        """In-edges of each atom [N]."""
        return torch.bincount(self.edge_index[1], minlength=len(self.numbers))


def crystals(count: int, device: str, *, degree: int = DEGREE, ragged: bool = False, atoms: int = ATOMS) -> Crystals:
    """``count`` crystals; ``ragged`` draws degrees from 4 to 20 in pairs that add up to 24, so that E is that of degree 12."""
    generator = torch.Generator().manual_seed(count)
    nodes = count * atoms
    degrees = torch.full((nodes,), degree)
    if ragged:
        half = torch.randint(4, 21, (nodes // 2,), generator=generator)
        degrees = torch.cat([half, 24 - half])[torch.randperm(nodes, generator=generator)]
    target = torch.repeat_interleave(torch.arange(nodes), degrees)
    source = target // atoms * atoms + torch.randint(0, atoms, (len(target),), generator=generator)
    numbers, edges = torch.randint(1, 93, (nodes,), generator=generator), torch.rand(len(target), 10, generator=generator)
    graph = torch.arange(count).repeat_interleave(atoms)
    return Crystals(numbers.to(device), torch.stack([source, target]).to(device), edges.to(device), graph.to(device), count)


def sized(run: Run, count: int) -> int:
    """Crystals of a batch: few on a CPU."""
    return max(1, count // 512) if run.small else count


class Models:
    """Ours and the plain forms with the same random parameters, in one dtype."""

    def __init__(self, data: Crystals, device: str, dtype: torch.dtype, small: bool) -> None:
        torch.manual_seed(0)
        config = CrystalGraphConfig(hidden_dim=32, layers=2, embedding_dim=16) if small else CrystalGraphConfig()
        self.ours = CrystalGraphEncoder(config).to(device, dtype)
        self.plain = PlainCrystalEncoder(self.ours.atom_embed.num_embeddings, config.bond_features, config.hidden_dim, config.layers,
                                         config.embedding_dim).to(device, dtype)
        self.plain.load(self.ours.state_dict())
        self.config, self.data = config, data
        self.inputs = (data.numbers, data.edge_index, data.edges.to(dtype), data.graph)
        self.batch = self.ours.from_tensors(*self.inputs)

    def exact(self) -> PlainCrystalEncoder:
        """The plain forms in float64, with the parameters as they are rounded."""
        plain = PlainCrystalEncoder(self.ours.atom_embed.num_embeddings, self.config.bond_features, self.config.hidden_dim,
                                    self.config.layers, self.config.embedding_dim).to(self.batch.edge_attr.device, torch.float64)
        plain.load(self.ours.state_dict())
        for conv in plain.convs:  # computed again in the backward pass: in float64 the whole takes 46 GB
            conv.forward = partial(checkpoint, conv.forward, use_reentrant=False)
        return plain

    def exact_inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
        """Inputs as they are rounded, in float64."""
        return (*self.inputs[:2], self.inputs[2].double(), self.inputs[3], self.data.count)

    def needed(self, training: bool = False) -> tuple[float, float]:
        """FLOP of the factorized form and bytes that must move: edge features and sources, and eight arrays of N × H a layer.

        Training is three times the forward pass and the edge stage once more, which is cheaper to compute than to keep.
        """
        h, layers = self.config.hidden_dim, self.config.layers
        nodes, (edges, width), item = len(self.data.numbers), self.data.edges.shape, self.inputs[2].element_size()
        edge_stage = 2.0 * edges * h * (h + width)
        readout = 2.0 * self.data.count * h * (h + self.config.embedding_dim)
        flop = layers * (edge_stage + 10.0 * nodes * h * h) + readout
        size = layers * (edges * (width * item + 4.0) + 8.0 * nodes * h * item)
        return (3 * flop + layers * edge_stage, 3 * size) if training else (flop, size)

    def shape(self) -> dict[str, object]:
        """What the size of a question is made of."""
        return {"graphs": self.data.count, "nodes": len(self.data.numbers), "edges": self.data.edge_index.shape[1],
                "hidden": self.config.hidden_dim, "layers": self.config.layers}


Form = Callable[..., Tensor]


def forward_of(name: str, function: Form, inputs: tuple[Any, ...], graph: Form | None = None) -> Candidate:
    """A forward pass without gradients; ``graph`` is what a CUDA graph captures, if it is not the same."""
    @torch.no_grad()
    def call(run: Form = function) -> Tensor:
        return run(*inputs)

    return Candidate(name, call, call, partial(call, graph or function))


def ours_of(models: Models, name: str = "ours") -> Candidate:
    """The public call, which checks the batch and so waits for the card once; a CUDA graph holds all that comes after the check."""
    return forward_of(name, models.ours, (models.batch,), lambda batch: unit_length(models.ours.embed(batch)))


def step_of(name: str, function: Form, inputs: tuple[Any, ...], model: torch.nn.Module, weight: Tensor) -> Candidate:
    """Forward and backward of Σ weight · vectors; the outcome is every gradient in one vector."""
    used = dict(sorted((key, value) for key, value in model.named_parameters()))

    def call() -> None:
        model.zero_grad(set_to_none=True)
        torch.autograd.backward((function(*inputs) * weight).sum())

    def outcome() -> Tensor:
        call()
        return torch.cat([value.grad.flatten() for value in used.values() if value.grad is not None])

    return Candidate(name, call, outcome)


def rivals_of(run: Run, models: Models, aggregate: Aggregate, make: Callable[..., Candidate], *, tuned: bool) -> list[Candidate]:
    """Eager, and compiled."""
    plain, inputs = models.plain, (*models.inputs, models.data.count)

    def form(numbers: Tensor, edge_index: Tensor, edges: Tensor, graph: Tensor, count: int) -> Tensor:
        return plain.factorized(numbers, edge_index, edges, graph, count, aggregate)

    return [make("vectorized, eager", plain.vectorized, inputs),
            *(make(f"factorized, {name}", way, inputs) for name, way in compiled(run, form, tuned=tuned).items())]


def forward_rows(
    run: Run, part: str, kind: str, count: int, goal: Goal | None = None, *, tuned: bool = False, ragged: bool = False, **size: int
) -> list[dict[str, object]]:
    """Rows of one forward question."""
    data = crystals(sized(run, count), run.device, ragged=ragged, **size)
    with precision(kind) as dtype, torch.no_grad():
        models = Models(data, run.device, dtype, run.small)
        reference = models.exact().vectorized(*models.exact_inputs())
    rivals = rivals_of(run, models, by_segment_reduce(data.degrees) if ragged else by_view, forward_of, tuned=tuned)
    flop, moved = models.needed()
    degrees = "degrees 4 to 20" if ragged else f"degree {size.get('degree', DEGREE)}"
    case = Case(f"crystal encoder, forward, {data.count:,} crystals, {degrees}", part, kind, models.shape() | {"degrees": degrees}, flop,
                moved, data.count, "crystals", goal)
    return contest(case, ours_of(models), rivals, reference, run.roofs, device=run.device, **run.few)


def forward(run: Run) -> list[dict[str, object]]:
    """2,048 crystals in bf16, with max-autotune."""
    return forward_rows(run, "forward", "bf16", WHOLE, GOALS["forward"], tuned=True)


def precisions(run: Run) -> list[dict[str, object]]:
    """2,048 crystals in tf32 and fp32; ours in tf32 beside eager in fp32 too, and the row says so."""
    tf32 = forward_rows(run, "precisions", "tf32", WHOLE, GOALS["tf32"])
    fp32 = forward_rows(run, "precisions", "fp32", WHOLE)
    return tf32 + fp32 + across(tf32, fp32)


def across(tf32: list[dict[str, object]], fp32: list[dict[str, object]]) -> list[dict[str, object]]:
    """Ours in tf32 beside vectorized eager in fp32: another precision on each side, measured one after the other."""
    found = []
    for one in tf32:
        other = next((row for row in fp32 if row["rival_name"] == one["rival_name"] == "vectorized, eager"
                      and row.get("launch") == one.get("launch") and "failure" not in row), None)
        if other and "failure" not in one:
            rival = float(str(other["rival"]))
            found.append(one | {
                "question": f"{one['question']}, beside fp32", "rival": rival, "rival_name": "vectorized, eager, in fp32",
                "ratio": rival / float(str(one["ours"])), "rival_iqr": other["rival_iqr"], "rival_rate": other["rival_rate"],
                "rival_error": other["rival_error"], "rival_peak_gb": other["rival_peak_gb"],
                "raw": {"ours": one["raw"]["ours"], "rival": other["raw"]["rival"]}})  # type: ignore[index]
    return found


def batches(run: Run) -> list[dict[str, object]]:
    """64, 256 and 1,024 crystals in bf16, with max-autotune at 256."""
    return [row for count in (64, 256, 1024)
            for row in forward_rows(run, "batches", "bf16", count, GOALS.get(str(count)), tuned=count == 256)]


def edges(run: Run) -> list[dict[str, object]]:
    """1,024 crystals in bf16 with 6, 24 and 48 edges an atom."""
    return [row for degree in (6, 24, 48) for row in forward_rows(run, "edges", "bf16", 1024, degree=degree)]


def ragged(run: Run) -> list[dict[str, object]]:
    """2,048 crystals in bf16 with degrees 4 to 20, and what that costs ours beside 12 everywhere."""
    rows = forward_rows(run, "ragged", "bf16", WHOLE, ragged=True)
    return [*rows, ragged_cost(run)]


def ragged_cost(run: Run) -> dict[str, object]:
    """Ours on ragged degrees beside ours on 12 everywhere, in turns."""
    with precision("bf16") as dtype, torch.no_grad():
        uneven, even = (Models(crystals(sized(run, WHOLE), run.device, ragged=flag), run.device, dtype, run.small)
                        for flag in (True, False))
        reference = uneven.exact().vectorized(*uneven.exact_inputs())
    flop, moved = uneven.needed()
    case = Case(f"crystal encoder, forward, {uneven.data.count:,} crystals, degrees 4 to 20 beside 12 everywhere", "ragged", "bf16",
                uneven.shape(), flop, moved, uneven.data.count, "crystals")
    fixed = ours_of(even, "ours, 12 everywhere")
    rows = contest(case, ours_of(uneven), [fixed], reference, run.roofs, device=run.device, **run.few)
    last = [one for one in rows if one["rival_name"] == fixed.name][-1]  # replayed where there is a card: no check in between
    cost = 1 / float(str(last["ratio"]))
    return last | {"goal": RAGGED.text, "met": cost <= 1.15 if run.device == "cuda" else None, "cost": cost}


def training(run: Run) -> list[dict[str, object]]:
    """Forward and backward of 2,048 crystals in bf16, with max-autotune where it compiles in time."""
    data = crystals(sized(run, WHOLE), run.device)
    with precision("bf16") as dtype:
        models = Models(data, run.device, dtype, run.small)
        # One direction for all crystals: their gradients add up, and the noise of rounding across the kinks of ReLUs averages out.
        weight = torch.randn(models.config.embedding_dim, device=run.device, dtype=dtype)
        exact = models.exact()
        reference = step_of("float64", exact.vectorized, models.exact_inputs(), exact, weight.double()).outcome()
    flop, moved = models.needed(training=True)
    case = Case(f"crystal encoder, forward and backward, {data.count:,} crystals, degree {DEGREE}", "training", "bf16", models.shape(),
                flop, moved, data.count, "crystals", GOALS["training"], gradient=True)
    make = partial(step_of, model=models.plain, weight=weight)
    eager = make("factorized, eager", partial(models.plain.factorized, aggregate=by_view), (*models.inputs, data.count))
    rivals = [eager, *rivals_of(run, models, by_view, make, tuned=True)]
    ours = step_of("ours", models.ours, (models.batch,), models.ours, weight)
    many = run.few if run.small else run.few | {"repeats": 5 * run.repeats}
    return contest(case, ours, rivals, reference, run.roofs, device=run.device, **many)


def plain_loop(run: Run) -> list[dict[str, object]]:
    """32 crystals in fp32 beside the plain form that pools an atom at a time: a footnote."""
    data = crystals(2 if run.small else 32, run.device)
    with precision("fp32") as dtype, torch.no_grad():
        models = Models(data, run.device, dtype, run.small)
        reference = models.exact().vectorized(*models.exact_inputs())
    flop, moved = models.needed()
    case = Case(f"crystal encoder, forward, {data.count} crystals, beside a loop over atoms", "loop", "fp32", models.shape(), flop, moved,
                data.count, "crystals")
    plain = forward_of("plain, a loop over atoms", models.plain.loop, (*models.inputs, data.count))
    few = {"rounds": min(run.rounds, 10), "repeats": 3}
    return contest(case, ours_of(models), [replace(plain, graph=None)], reference, run.roofs, device=run.device, **few)


PARTS: dict[str, Part] = {"forward": forward, "training": training, "batches": batches, "precisions": precisions, "ragged": ragged,
                          "edges": edges, "loop": plain_loop}


if __name__ == "__main__":
    run_parts("crystal_encoder", __doc__, PARTS)
