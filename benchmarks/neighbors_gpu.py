"""How fast are periodic neighbors on a GPU?

512 systems of 64 atoms at 5 Å beside brute force and nvalchemi-toolkit-ops (where installed), gated on the pairs of brute force in
float64; and all crystals of a file, whole shells of the 12 nearest within 8 Å, gated on a search of the CPU.
Run: ``python -m benchmarks.neighbors_gpu [--crystals FILE.npz]``; where the readers are, ``--pack SOURCE`` writes that file of
any source of crystals and ends (a machine with a GPU needs no readers).
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from geoembed.ops import Crystals, Neighbors, cell_list_neighbors, nearest_shells, periodic_neighbors_torch, shell_complete, wrap_sites
from geoembed.ops.fused_pairs import count_pairs, fill_pairs, prepare

from benchmarks.record import write
from benchmarks.timing import Call, on_card, on_cpu, quotients, row

K, SYSTEM_MS, FILE_SECONDS = 12, 0.16, 1.0
FEW = 500
"""Crystals of a file that the CPU searches."""


def rows_of(found: Neighbors) -> np.ndarray[Any, Any]:
    """Pairs [E, 5] as (target, shift, source), sorted."""
    source, target = found.edge_index.cpu().numpy()
    table = np.column_stack([target, found.shift.cpu().numpy(), source])
    return table[np.lexsort(table.T[::-1])]


def brute(crystals: Crystals, cutoff: float, sites: int, images: int = 1) -> Neighbors:
    """Every image of every site, for B crystals of equal size, in difference form."""
    count = len(crystals.cell)
    x = crystals.positions.view(count, sites, 3)
    steps = torch.cartesian_prod(*[torch.arange(-images, images + 1, device=x.device)] * 3)
    moved = x.unsqueeze(1) + (steps.to(x.dtype) @ crystals.cell).unsqueeze(2)  # [B, M, N, 3]
    near = torch.linalg.vector_norm(moved.unsqueeze(2) - x.view(count, 1, sites, 1, 3), dim=-1)  # [B, M, target, source]
    hit = near <= cutoff + 1e-8
    hit[:, len(steps) // 2].diagonal(dim1=1, dim2=2).fill_(False)
    b, m, target, source = torch.nonzero(hit, as_tuple=True)
    return Neighbors(torch.stack([source, target]) + b * sites, steps[m], near[b, m, target, source])


def systems_of(dtype: torch.dtype, systems: int, sites: int) -> tuple[Crystals, Crystals]:
    """Random systems on the card, in float64 and with positions in ``dtype``, wrapped."""
    generator = torch.Generator().manual_seed(0)
    cell = torch.eye(3, dtype=torch.float64) * 9.7 + 0.4 * torch.randn(systems, 3, 3, generator=generator, dtype=torch.float64)
    x = (torch.rand(systems, sites, 3, generator=generator, dtype=torch.float64) @ cell).view(-1, 3)
    parts = (x, torch.arange(systems + 1) * sites, cell, torch.ones(systems, 3, dtype=torch.bool))
    exact, _ = wrap_sites(Crystals(*(part.cuda() for part in parts)))
    return exact, exact._replace(positions=exact.positions.to(dtype))


def graphed(call: Call) -> Call:
    """The replay of a CUDA graph of a call."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    replay: Call = graph.replay
    return replay


def system_rows(dtype: torch.dtype, systems: int = 512, sites: int = 64, cutoff: float = 5.0) -> list[dict[str, object]]:
    """Two passes with the size read back, with it known, as a CUDA graph; the cell list in torch; beside the rivals."""
    exact, crystals = systems_of(dtype, systems, sites)
    radius = torch.full((systems,), cutoff, dtype=torch.float64, device="cuda")

    def passes(total: int | None = None) -> Neighbors:
        ready = prepare(crystals, radius, largest=None if total is None else sites)
        end = count_pairs(ready).cumsum(0)
        return fill_pairs(ready, end, int(end[-1]) if total is None else total)

    found, expected = passes(), rows_of(brute(exact, cutoff, sites))
    total = len(found.distance)
    differing = len({*map(tuple, rows_of(found).tolist())} ^ {*map(tuple, expected.tolist())})
    if differing > (0 if dtype == torch.float64 else 4):  # float32 rounds a pair or two across the cutoff
        raise SystemExit(f"{differing} of {len(expected)} pairs differ from brute force in float64")
    own: dict[str, Call] = {
        "size read back": passes, "size known": lambda: passes(total), "size known, CUDA graph": graphed(lambda: passes(total)),
        "cell list in torch": lambda: cell_list_neighbors(crystals, radius),
    }
    plain = crystals._replace(cell=crystals.cell.to(dtype))
    others = {"brute force": lambda: brute(plain, cutoff, sites), **alchemi(plain, cutoff, sites)}
    times = {name: [1e3 * seconds for seconds in values] for name, values in on_card(own | others, 30).items()}
    kind = str(dtype).removeprefix("torch.")
    return [row(f"{systems} × {sites} atoms at {cutoff:g} Å, {kind}, {ours}, ms, beside {rival}", times[ours], times[rival],
                quotients(times[rival], times[ours]), goal=SYSTEM_MS, met=statistics.median(times[ours]) <= SYSTEM_MS,
                pairs=total, differing=differing) for ours in own for rival in others]


def alchemi(systems: Crystals, cutoff: float, sites: int) -> dict[str, Call]:
    """nvalchemi-toolkit-ops on the same systems, where it is installed."""
    if not importlib.util.find_spec("nvalchemiops"):
        print("nvalchemi-toolkit-ops is not installed: no row for it")
        return {}
    from nvalchemiops.torch.neighbors import neighbor_list

    batch = torch.repeat_interleave(torch.arange(len(systems.cell), device="cuda", dtype=torch.int32), sites)

    def call() -> object:
        return neighbor_list(systems.positions, cutoff, cell=systems.cell, pbc=systems.pbc, batch_idx=batch,
                             batch_ptr=systems.ptr.int(), return_neighbor_list=True)

    call()
    return {"nvalchemi-toolkit-ops": call}


def file_rows(path: Path, cutoff: float = 8.0) -> list[dict[str, object]]:
    """All crystals of a file on the card, beside a search of the CPU scaled up from the first :data:`FEW`."""
    data = np.load(path)
    count = len(data["cell"])
    crystals = Crystals(torch.tensor(data["positions"]), torch.tensor(data["ptr"]), torch.tensor(data["cell"]),
                        torch.ones(count, 3, dtype=torch.bool))
    bounds = crystals.ptr[: FEW + 1]
    first = Crystals(crystals.positions[: int(bounds[-1])], bounds, crystals.cell[:FEW], crystals.pbc[:FEW])
    there, few = (Crystals(*(part.cuda() for part in some)) for some in (crystals, first))
    if not np.array_equal(rows_of(nearest_shells(few, K, cutoff)), rows_of(on_host(first, cutoff))):
        raise SystemExit("the shells of the card differ from those of the CPU")
    ours = on_card({"ours": lambda: nearest_shells(there, K, cutoff)}, 8)["ours"]
    rival = [seconds * count / FEW for seconds in on_cpu({"rival": lambda: on_host(first, cutoff)}, 3)["rival"]]
    name = "compiled search, one core" if importlib.util.find_spec("pymatgen") else "brute force in torch, CPU"
    found = nearest_shells(there, K, cutoff)
    return [row(f"{count} crystals, shells of {K} within {cutoff:g} Å, s, beside {name}", ours, rival,
                [statistics.median(rival) / seconds for seconds in ours], goal=FILE_SECONDS,
                met=statistics.median(ours) <= FILE_SECONDS, pairs=len(found.distance))]


def on_host(crystals: Crystals, cutoff: float) -> Neighbors:
    """Compiled search where pymatgen is installed, else every pair by brute force."""
    if importlib.util.find_spec("pymatgen"):
        return nearest_shells(crystals, K, cutoff)
    parts = []
    for b, (low, high) in enumerate(pairwise(crystals.ptr.tolist())):
        one = periodic_neighbors_torch(crystals.positions[low:high], crystals.cell[b], crystals.pbc[b], cutoff)
        kept = shell_complete(one, high - low, K)
        parts.append(kept._replace(edge_index=kept.edge_index + low))
    edges, shifts, distances = zip(*parts, strict=True)
    return Neighbors(torch.cat(edges, 1), torch.cat(shifts), torch.cat(distances))


def pack(source: str, path: Path) -> None:
    """Write positions [N, 3], ptr [B+1] and cell [B, 3, 3] of the crystals of a source, those periodic along all axes."""
    from geoembed import read

    crystals = [graph for graph in read(source) if bool(graph.pbc.all())]
    sizes = np.cumsum([0, *(len(graph.pos) for graph in crystals)])
    positions, cell = (np.concatenate([graph[name].numpy() for graph in crystals]) for name in ("pos", "cell"))
    np.savez(path, positions=positions, ptr=sizes, cell=cell)


def main() -> None:
    """Measure, print a line a row, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crystals", type=Path, help="npz with positions, ptr, cell")
    parser.add_argument("--pack", metavar="SOURCE", help="write --crystals from this source, and end")
    options = parser.parse_args()
    if options.pack:
        pack(options.pack, options.crystals)
        return
    if not torch.cuda.is_available():
        raise SystemExit("There is no GPU here; python -m benchmarks.neighbors measures a CPU.")
    table = [*system_rows(torch.float32), *system_rows(torch.float64), *(file_rows(options.crystals) if options.crystals else [])]
    for one in table:
        print(f"{one['question']}: {one['ours']:.4g}, rival {one['rival']:.4g}, ratio {one['ratio']:.3g}, met {one['met']}")
    print(write("neighbors_gpu", table))


if __name__ == "__main__":
    main()
