"""How fast are periodic neighbors, from arrays to edges sorted by target, and with whole shells of the 12 nearest?

CPU: 300 random crystals of 1 to 60 sites, one thread, beside pymatgen (its raw compiled call and ``get_neighbor_list``), vesin,
matscipy and ASE, as far as they are installed. GPU: 512 systems of 64 atoms at 5 Å beside brute force and nvalchemi-toolkit-ops
(where installed), and all crystals of a file at 8 Å. Every row passes a gate first: equal pairs.

Run: ``python -m benchmarks.neighbors [--crystals FILE.npz]`` (arrays positions [N, 3], ptr [B+1], cell [B, 3, 3]).
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from geoembed.ops import (
    Crystals,
    Neighbors,
    backends,
    batched_neighbors,
    cell_list_neighbors,
    nearest_shells,
    periodic_neighbors_torch,
    wrap_sites,
)
from geoembed.ops.triton_neighbors import KERNEL, count_pairs, fill_pairs, prepare

from benchmarks.record import write

K, REPEATS = 12, 9
Row = dict[str, object]


def random_crystals(count: int, seed: int = 7) -> Crystals:
    """Crystals of 1 to 60 sites, angles 50 to 130 degrees, 9 to 30 Å³ a site."""
    rng = np.random.default_rng(seed)
    positions, cells, sizes = [], [], []
    while len(cells) < count:
        a, b, c = np.cos(np.radians(rng.uniform(50, 130, 3)))
        room = 1 + 2 * a * b * c - a * a - b * b - c * c
        if room < 0.04:
            continue
        sine = np.sqrt(1 - c * c)
        cell = np.array([[1, 0, 0], [c, sine, 0], [b, (a - b * c) / sine, np.sqrt(room) / sine]]) * rng.uniform(0.5, 2.0, 3)[:, None]
        n = int(rng.integers(1, 61))
        cell *= (n * rng.uniform(9, 30) / np.linalg.det(cell)) ** (1 / 3)
        positions.append(rng.random((n, 3)) @ cell)
        cells.append(cell)
        sizes.append(n)
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    return Crystals(torch.tensor(np.concatenate(positions)), ptr, torch.tensor(np.array(cells)), torch.ones(count, 3, dtype=torch.bool))


Call = Callable[[], object]


def interleaved(calls: dict[str, Call], repeats: int, clock: Callable[[Call], float]) -> dict[str, list[float]]:
    """Seconds of each call, one of each a round; the first round warms up and is left out."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(repeats + 1):
        for name, call in calls.items():
            seconds = clock(call)
            if round_:
                times[name].append(seconds)
    return times


def on_cpu(call: Callable[[], object]) -> float:
    """CPU seconds of this process: other work on the machine counts less than in wall time."""
    start = time.process_time()
    call()
    return time.process_time() - start


def on_gpu(calls: dict[str, Call], repeats: int) -> dict[str, list[float]]:
    """Seconds of each call on the card, one of each a round; nothing waits between them, so that launches are not measured twice."""
    marks: dict[str, list[tuple[torch.cuda.Event, torch.cuda.Event]]] = {name: [] for name in calls}
    for _ in range(repeats + 3):
        for name, call in calls.items():
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            call()
            end.record()
            marks[name].append((start, end))
    torch.cuda.synchronize()
    return {name: [start.elapsed_time(end) / 1e3 for start, end in pairs[3:]] for name, pairs in marks.items()}


def spread(times: list[float]) -> float:
    """Interquartile range over the median."""
    low, middle, high = statistics.quantiles(times, n=4)
    return (high - low) / middle


def row(question: str, ours: list[float], rival: list[float], name: str, scale: float, unit: str, goal: float | None) -> Row:
    """A row: medians in ``unit``, their ratio (time of the rival over ours), and whether ours takes at most ``goal`` × the rival's."""
    mine, other = statistics.median(ours), statistics.median(rival)
    return {
        "question": question, "unit": unit, "ours": mine * scale, "rival": name, "rival_value": other * scale, "ratio": other / mine,
        "iqr": max(spread(ours), spread(rival)), "n": len(ours), "goal": None if goal is None else f"at most {goal} × the rival's time",
        "met": None if goal is None else mine <= goal * other, "raw_seconds": {"ours": ours, name: rival},
    }


def rows_of(found: Neighbors) -> np.ndarray[Any, Any]:
    """Pairs [E, 5] as (target, shift, source), sorted."""
    source, target = found.edge_index.cpu().numpy()
    table = np.column_stack([target, found.shift.cpu().numpy(), source])
    return table[np.lexsort(table.T[::-1])]


def rivals(crystals: Crystals, cutoff: float) -> dict[str, Callable[[], int]]:
    """Calls that search every crystal of a batch and return the number of pairs, by the name of the library."""
    from pymatgen.core import Structure
    from pymatgen.optimization.neighbors import find_points_in_spheres

    bounds, every = crystals.ptr.tolist(), np.array([1, 1, 1])
    arrays = [(np.ascontiguousarray(crystals.positions[a:b].numpy()), crystals.cell[i].numpy())
              for i, (a, b) in enumerate(pairwise(bounds))]
    structures = [Structure(cell, ["Si"] * len(x), x, coords_are_cartesian=True) for x, cell in arrays]
    calls: dict[str, Callable[[], int]] = {
        "pymatgen find_points_in_spheres": lambda: sum(
            len(find_points_in_spheres(x, x, r=cutoff, pbc=every, lattice=cell, tol=1e-8)[0]) - len(x) for x, cell in arrays),
        "pymatgen get_neighbor_list": lambda: sum(len(s.get_neighbor_list(cutoff)[0]) for s in structures),
    }
    if importlib.util.find_spec("vesin"):
        import vesin

        search = vesin.NeighborList(cutoff=cutoff, full_list=True)
        calls["vesin"] = lambda: sum(len(search.compute(points=x, box=cell, periodic=True, quantities="ijSd")[0]) for x, cell in arrays)
    import ase
    from ase.neighborlist import neighbor_list as ase_list

    atoms = [ase.Atoms(f"Si{len(x)}", positions=x, cell=cell, pbc=True) for x, cell in arrays]
    if importlib.util.find_spec("matscipy"):
        from matscipy.neighbours import neighbour_list

        calls["matscipy"] = lambda: sum(len(neighbour_list("ijSd", a, cutoff)[0]) for a in atoms)
    some = atoms[:20]  # a hundred times slower: the first crystals stand for all
    calls["ase (20 crystals)"] = lambda: sum(len(ase_list("ijSd", a, cutoff)[0]) for a in some)
    return calls


def cpu_rows() -> list[Row]:
    """Whole shells of 12 from arrays to sorted edges, and all pairs, beside the libraries."""
    torch.set_num_threads(1)
    crystals = random_crystals(300)
    count, table = len(crystals.cell), []
    for cutoff in (5.0, 6.0, 8.0):
        radius = torch.full((count,), cutoff, dtype=torch.float64)
        calls: dict[str, Callable[[], object]] = {
            "shells": lambda cutoff=cutoff: nearest_shells(crystals, K, cutoff),
            "all": lambda radius=radius: batched_neighbors(crystals, radius), **rivals(crystals, cutoff),
        }
        pairs = len(batched_neighbors(crystals, radius).distance)
        for name, call in list(calls.items())[2:]:
            if "20" not in name and (theirs := call()) != pairs:
                raise SystemExit(f"{name} finds {theirs} pairs at {cutoff} Å, we find {pairs}")
        times = interleaved(calls, REPEATS, on_cpu)
        for name in list(calls)[2:]:
            part = 20 / count if "20" in name else 1.0
            rival = [seconds / part for seconds in times[name]]
            goal = 1.25 if "find_points" in name else None
            for ours, what, limit in (("shells", f"shells of {K}", goal), ("all", "all", None)):
                question = f"arrays → sorted edges, {what} within {cutoff:g} Å"
                table.append(row(question, times[ours], rival, name, 1e6 / count, "µs a crystal", limit))
    return table


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


def gpu_systems(dtype: torch.dtype, systems: int = 512, sites: int = 64, cutoff: float = 5.0) -> list[Row]:
    """512 systems of 64 atoms: two passes with the size read back, with it known, and as a CUDA graph."""
    generator = torch.Generator().manual_seed(0)
    cell = torch.eye(3, dtype=torch.float64) * 9.7 + 0.4 * torch.randn(systems, 3, 3, generator=generator, dtype=torch.float64)
    x = (torch.rand(systems, sites, 3, generator=generator, dtype=torch.float64) @ cell).view(-1, 3)
    exact = Crystals(x, torch.arange(systems + 1) * sites, cell, torch.ones(systems, 3, dtype=torch.bool))
    exact = Crystals(*(part.cuda() for part in exact))
    crystals = exact._replace(positions=exact.positions.to(dtype))
    wrapped, _ = wrap_sites(crystals)
    radius = torch.full((systems,), cutoff, dtype=torch.float64, device="cuda")
    expected = rows_of(brute(wrap_sites(exact)[0], cutoff, sites))

    def passes(total: int | None = None) -> Neighbors:
        ready = prepare(wrapped, radius, largest=None if total is None else sites)
        end = count_pairs(ready).cumsum(0)
        return fill_pairs(ready, end, int(end[-1]) if total is None else total)

    found = passes()
    total = len(found.distance)
    differing = len({*map(tuple, rows_of(found).tolist())} ^ {*map(tuple, expected.tolist())})
    if differing > (0 if dtype == torch.float64 else 4):
        raise SystemExit(f"{differing} of {len(expected)} pairs differ from brute force in float64")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            passes(total)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        passes(total)
    calls: dict[str, Callable[[], object]] = {
        "size read back": passes, "size known": lambda: passes(total), "size known, CUDA graph": graph.replay,
        "cell list in torch": lambda: cell_list_neighbors(wrapped, radius),
    }
    own = list(calls)
    plain = wrapped._replace(cell=wrapped.cell.to(dtype))
    calls |= {"brute force": lambda: brute(plain, cutoff, sites), **alchemi(plain, cutoff, sites)}
    times = on_gpu(calls, 30)
    name = str(dtype).removeprefix("torch.")
    table = []
    for ours in own:
        for rival in [name for name in calls if name not in own]:
            entry = row(f"{systems} × {sites} atoms at {cutoff:g} Å, {name}, {ours}", times[ours], times[rival], rival, 1e3, "ms", None)
            table.append(entry | {"edges": total, "differing": differing, "goal": "≤ 0.16 ms", "met": bool(entry["ours"] <= 0.16)})  # type: ignore[operator]
    return table


def alchemi(systems: Crystals, cutoff: float, sites: int) -> dict[str, Callable[[], object]]:
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


def gpu_file(path: Path, cutoff: float = 8.0) -> list[Row]:
    """All crystals of a file: whole shells of 12 on the GPU, beside the compiled search of one core on the first 500."""
    data = np.load(path)
    pbc = torch.ones(len(data["cell"]), 3, dtype=torch.bool)
    crystals = Crystals(torch.tensor(data["positions"]), torch.tensor(data["ptr"]), torch.tensor(data["cell"]), pbc)
    few = 500
    first = Crystals(crystals.positions[: int(crystals.ptr[few])], crystals.ptr[: few + 1], crystals.cell[:few], pbc[:few])
    there = Crystals(*(part.cuda() for part in crystals))
    found = nearest_shells(there, K, cutoff)
    on_card = nearest_shells(Crystals(*(part.cuda() for part in first)), K, cutoff)
    if not np.array_equal(rows_of(on_card), rows_of(cpu_shells(first, cutoff))):
        raise SystemExit("the GPU's shells differ from those of the CPU")
    ours = on_gpu({"ours": lambda: nearest_shells(there, K, cutoff)}, 8)["ours"]
    rival = [on_cpu(lambda: cpu_shells(first, cutoff)) * len(pbc) / few for _ in range(4)][1:]
    core = "compiled search, one core" if importlib.util.find_spec("pymatgen") else "brute force in torch, CPU"
    entry = row(f"{len(pbc)} crystals, shells of {K} within {cutoff:g} Å", ours, rival, core, 1.0, "s", None)
    return [entry | {"edges": len(found.distance), "goal": "≤ 1.0 s", "met": bool(entry["ours"] <= 1.0)}]  # type: ignore[operator]


def cpu_shells(crystals: Crystals, cutoff: float) -> Neighbors:
    """Compiled search where pymatgen is installed, else every pair by brute force."""
    if importlib.util.find_spec("pymatgen"):
        return nearest_shells(crystals, K, cutoff)
    from geoembed.ops import shell_complete

    parts = []
    for b, (low, high) in enumerate(pairwise(crystals.ptr.tolist())):
        one = periodic_neighbors_torch(crystals.positions[low:high], crystals.cell[b], crystals.pbc[b], cutoff)
        kept = shell_complete(one, high - low, K)
        parts.append(kept._replace(edge_index=kept.edge_index + low))
    edges, shifts, distances = zip(*parts, strict=True)
    return Neighbors(torch.cat(edges, 1), torch.cat(shifts), torch.cat(distances))


def main() -> None:
    """Run what this machine can, print a line a row, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crystals", type=Path, help="npz with positions, ptr, cell")
    options = parser.parse_args()
    if torch.cuda.is_available():
        table = [*(gpu_systems(torch.float32) + gpu_systems(torch.float64) if backends.runs(KERNEL, torch.device("cuda")) else []),
                 *(gpu_file(options.crystals) if options.crystals else [])]
    else:
        table = cpu_rows()
    for entry in table:
        print(f"{entry['question']}: {entry['ours']:.4g} {entry['unit']}; {entry['rival']} {entry['rival_value']:.4g}; "
              f"× {entry['ratio']:.3g} (iqr {entry['iqr']:.0%}); goal {entry['goal']}: {entry['met']}")
    print(write("neighbors", table))


if __name__ == "__main__":
    main()
