"""How many jets a second pass a network of ParticleNet's size that finds its neighbors anew in every layer?

1,024 jets of 128 particles, 16 neighbors, widths 64, 128 and 256. ParticleNet itself, batch norms folded, beside the published form
under autocast and the factorized form eager, compiled and tuned; the layers of our ``JetEncoder``, with layer norms, beside the same
forms of theirs; and the search for neighbors alone, in features of 2, 64 and 128 columns.
Run: ``python -m benchmarks.particle_net [--only PART …] [--cpu]``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from geoembed.nn import EdgeConv
from geoembed.ops import knn
from geoembed.ops.fused_features_knn import ROUNDING
from torch import Tensor, nn

from benchmarks.contest import Candidate, Case, Goal, contest
from benchmarks.particle_forms import FEATURES, WIDTHS, Factorized, FoldedNet, K, ParticleNet, normed, topk_neighbors
from benchmarks.script import Part, Run, compiled, run_parts

JETS, PARTICLES = 1_024, 128
RATE, KNN_MS = 250e3, 0.22
"""Jets a second, and milliseconds of one search."""

Form = Callable[..., Tensor]


def jets_of(run: Run) -> tuple[int, int]:
    """Jets, and particles of each."""
    return (3, 20) if run.small else (JETS, PARTICLES)


def bounds(run: Run) -> Tensor:
    """ptr [B+1] of equal jets."""
    jets, n = jets_of(run)
    return torch.arange(jets + 1, device=run.device) * n


def without_gradient(name: str, function: Form, *inputs: object) -> Candidate:
    """A candidate that is called, compared and captured on the same inputs."""
    call = torch.no_grad()(partial(function, *inputs))
    return Candidate(name, call, call, call)


def clouds(run: Run) -> tuple[Tensor, Tensor]:
    """Places [B, n, 2] and features [B, n, 7]: numbers that bfloat16 holds, so that all forms see the same."""
    jets, n = jets_of(run)
    generator = torch.Generator(run.device).manual_seed(3)
    places, features = (torch.randn(jets, n, width, device=run.device, generator=generator).bfloat16().float() for width in (2, FEATURES))
    return places, features


def needed(run: Run, products: int) -> tuple[float, float]:
    """FLOP of the factorized form with so many products a pair and layer, and bytes of features and scores."""
    jets, n = jets_of(run)
    nodes, flop = jets * n, 0.0
    for inputs, outputs in pairwise((FEATURES, *WIDTHS)):
        flop += 2.0 * nodes * (3 * inputs * outputs + products * K * outputs**2 + n * (2 if inputs == FEATURES else inputs))
        flop += 2.0 * nodes * outputs**2 * (2 - products)  # the map after the mean
    return flop, nodes * 2.0 * (FEATURES + 2)


def network_case(run: Run, question: str, part: str, products: int) -> Case:
    """The question of a whole network, in bfloat16."""
    jets, n = jets_of(run)
    flop, size = needed(run, products)
    goal = Goal(f"≥ {RATE:,.0f} jets/s", most_ms=1e3 * jets / RATE)
    shape = {"jets": jets, "particles": n, "k": K, "widths": list(WIDTHS)}
    # Scores are small differences of large sums, and a neighbor that rounding exchanges changes them: as far off as autocast is
    return Case(f"{question}, {jets:,} jets of {n}", part, "bf16", shape, flop, size, jets, "jets", goal, slack=2.0)


def particle_net(run: Run) -> list[dict[str, object]]:
    """ParticleNet at inference, batch norms folded, beside its published form and the factorized one."""
    torch.manual_seed(0)
    net = ParticleNet().as_if_trained().to(run.device)
    places, features = clouds(run)
    with torch.no_grad():
        reference = copy.deepcopy(net).double()(places.double(), features.double())
    ours = FoldedNet(copy.deepcopy(net)).to(run.device, torch.bfloat16).eval()
    flat, largest = (places.flatten(0, 1), features.flatten(0, 1).bfloat16()), places.shape[1]
    plain = Factorized(ours)

    def autocast(a: Tensor, b: Tensor) -> Tensor:
        with torch.autocast(run.device, torch.bfloat16):
            return net(a, b)  # type: ignore[no-any-return]

    rivals = [without_gradient("published form, autocast", autocast, places, features),
              without_gradient("factorized, eager", plain, places, features)]
    rivals += [without_gradient(f"factorized, {name}", way, places, features) for name, way in compiled(run, plain, tuned=True).items()]
    rivals += [without_gradient(f"published form, autocast, {name}", way, places, features)
               for name, way in compiled(run, autocast, tuned=False).items()]
    mine = without_gradient("ours", ours, *flat, bounds(run), largest)
    case = network_case(run, "ParticleNet at inference", "particle_net", 2)
    return contest(case, mine, rivals, reference, run.roofs, device=run.device, **run.few)


class Layers(nn.Module):
    """The layers of ``JetEncoder`` on places [B, n, 2] and features [B, n, 7]: means over the particles [B, H]."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(EdgeConv(a, b) for a, b in pairwise((FEATURES, *WIDTHS)))

    def forward(self, places: Tensor, features: Tensor, ptr: Tensor) -> Tensor:
        b, n, _ = places.shape
        x = features.flatten(0, 1)
        for i, conv in enumerate(self.convs):
            x = conv(x, knn(places.flatten(0, 1), ptr, K, largest=n) if i == 0 else knn(x, ptr, K))
        return mean_of_particles(x, b)


def mean_of_particles(x: Tensor, jets: int) -> Tensor:
    """Means [B, H] of rows [B · n, H]."""
    return x.view(jets, -1, x.shape[-1]).mean(1, dtype=torch.promote_types(x.dtype, torch.float32))


class ArrayLayers(nn.Module):
    """The same with arrays of pairs, for equal jets."""

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, places: Tensor, features: Tensor) -> Tensor:
        b, n, _ = places.shape
        first = torch.arange(b, device=places.device)[:, None, None] * n
        x = features.flatten(0, 1)
        for i, conv in enumerate(self.layers.convs):
            number = (topk_neighbors(places if i == 0 else x.view(b, n, -1), K) + first).flatten()
            x = normed(conv, x, number)  # type: ignore[arg-type]
        return mean_of_particles(x, b)


def jet_layers(run: Run) -> list[dict[str, object]]:
    """The layers of our JetEncoder, layer norms instead of batch norms, beside the same with arrays of pairs."""
    torch.manual_seed(0)
    layers = Layers().to(run.device).eval()
    places, features = clouds(run)
    with torch.no_grad():
        reference = ArrayLayers(copy.deepcopy(layers).double())(places.double(), features.double())
    half = features.bfloat16()
    ours = layers.to(torch.bfloat16)
    plain = ArrayLayers(ours)
    rivals = [without_gradient("factorized, eager", plain, places, half)]
    rivals += [without_gradient(f"factorized, {name}", way, places, half) for name, way in compiled(run, plain, tuned=True).items()]
    mine = without_gradient("ours", ours, places, half, bounds(run))
    case = network_case(run, "layers of JetEncoder at inference", "jet_layers", 1)
    return contest(case, mine, rivals, reference, run.roofs, device=run.device, **run.few)


def neighbors(run: Run, columns: int) -> list[dict[str, object]]:
    """One search: ours beside distances by products or differences and topk. What is compared is the distances of the neighbors."""
    jets, n = jets_of(run)
    generator = torch.Generator(run.device).manual_seed(4)
    x = torch.randn(jets, n, columns, device=run.device, generator=generator).bfloat16()
    points = x.float() if columns == 2 else x.relu()
    exact = points.double()
    every = (exact.unsqueeze(2) - exact.unsqueeze(1)).square_().sum(-1) if run.small else _squares(exact)
    every.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    reference = every.topk(K, dim=-1, largest=False).values  # [B, n, k]
    first = torch.arange(jets, device=run.device)[:, None, None] * n

    def candidate(name: str, search: Callable[[], Tensor]) -> Candidate:
        def outcome() -> Tensor:
            return every.gather(-1, search()).sort(dim=-1).values

        return Candidate(name, search, outcome, search)

    flat, ptr = points.flatten(0, 1), bounds(run)
    ours = candidate("ours", lambda: knn(flat, ptr, K, largest=n))
    mine = Candidate("ours", ours.call, lambda: every.gather(-1, knn(flat, ptr, K, largest=n).view(jets, n, K) - first).sort(dim=-1).values,
                     ours.graph)
    off = float((mine.outcome() - reference).abs().max())
    if not off <= float(exact.square().sum(-1).max()) * ROUNDING:
        raise SystemExit(f"a neighbor in {columns} columns is {off:.1e} farther than the right one, more than rounding explains")
    rivals = [candidate("products and topk", partial(topk_neighbors, points, K)),
              candidate("cdist and topk", lambda: _cdist_neighbors(points))]
    rivals += [candidate(f"products and topk, {name}", partial(way, points, K))
               for name, way in compiled(run, topk_neighbors, tuned=False).items()]
    case = Case(f"{K} nearest of {n} in {columns} columns, {jets:,} jets", f"knn{columns}", "fp32" if columns == 2 else "bf16",
                {"jets": jets, "particles": n, "k": K, "columns": columns}, 2.0 * jets * n * n * columns,
                jets * n * (columns * points.element_size() + 8.0 * K), jets, "jets", Goal(f"≤ {KNN_MS} ms", most_ms=KNN_MS))
    return contest(case, mine, rivals, reference, run.roofs, device=run.device, **run.few)


def _squares(exact: Tensor) -> Tensor:
    """Squared distances in float64, jet after jet's worth of memory: [B, n, P] -> [B, n, n]."""
    return torch.cat([torch.cdist(part, part, compute_mode="donot_use_mm_for_euclid_dist").square_() for part in exact.split(64)])


def _cdist_neighbors(points: Tensor) -> Tensor:
    distance = torch.cdist(points.float(), points.float())
    distance.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    return distance.topk(K, dim=-1, largest=False, sorted=False).indices


def knn2(run: Run) -> list[dict[str, object]]:
    """Neighbors among places, in float64 inside."""
    return neighbors(run, 2)


def knn64(run: Run) -> list[dict[str, object]]:
    """Neighbors among 64 features in bfloat16."""
    return neighbors(run, 64)


def knn128(run: Run) -> list[dict[str, object]]:
    """Neighbors among 128 features in bfloat16."""
    return neighbors(run, 128)


PARTS: dict[str, Part] = {"particle_net": particle_net, "jet_layers": jet_layers, "knn2": knn2, "knn64": knn64, "knn128": knn128}


if __name__ == "__main__":
    run_parts("particle_net", __doc__, PARTS)
