"""How fast are periodic neighbors on a CPU, from arrays to sorted edges, whole shells of the 12 nearest and all within a radius?

300 random crystals of 1 to 60 sites, one thread, beside pymatgen (its raw compiled call and ``get_neighbor_list``), vesin, matscipy
and ASE, as far as they are installed. Every rival must find as many pairs as we do. Run: ``python -m benchmarks.neighbors``.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from geoembed.ops import Crystals, batched_neighbors, nearest_shells

from benchmarks.record import write
from benchmarks.timing import Call, on_cpu, quotients, row

K, REPEATS, SLOWER = 12, 9, 1.25
FEW = 20
"""Crystals that stand for all where a library takes a hundred times as long."""


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
    some = atoms[:FEW]
    calls[f"ase ({FEW} crystals)"] = lambda: sum(len(ase_list("ijSd", a, cutoff)[0]) for a in some)
    return calls


def rows_at(crystals: Crystals, cutoff: float) -> list[dict[str, object]]:
    """Rows of one radius: µs a crystal of whole shells and of all pairs, beside each library."""
    count = len(crystals.cell)
    radius = torch.full((count,), cutoff, dtype=torch.float64)
    others = rivals(crystals, cutoff)
    pairs = len(batched_neighbors(crystals, radius).distance)
    for name, call in others.items():
        if str(FEW) not in name and (theirs := call()) != pairs:
            raise SystemExit(f"{name} finds {theirs} pairs at {cutoff} Å, we find {pairs}")
    own: dict[str, Call] = {"shells": lambda: nearest_shells(crystals, K, cutoff), "all": lambda: batched_neighbors(crystals, radius)}
    # ASE in turns of its own: the million objects that it leaves behind slow the next allocations of whoever comes after it.
    apart = {name: call for name, call in others.items() if str(FEW) in name}
    together = on_cpu(own | {name: call for name, call in others.items() if name not in apart}, REPEATS)
    table, alone = [], on_cpu(own | apart, REPEATS)
    for name in others:
        times = alone if name in apart else together
        rival = [1e6 * seconds / (FEW if str(FEW) in name else count) for seconds in times[name]]
        for kind, what in (("shells", f"shells of {K}"), ("all", "all")):
            ours = [1e6 * seconds / count for seconds in times[kind]]
            judged = kind == "shells" and "find_points" in name
            met = statistics.median(ours) <= SLOWER * statistics.median(rival) if judged else None
            table.append(row(f"arrays → sorted edges, {what} within {cutoff:g} Å, µs a crystal, beside {name}", ours, rival,
                             quotients(rival, ours), goal=f"at most {SLOWER} × the rival's time" if judged else None, met=met))
    return table


def main() -> None:
    """Measure, print a line a row, write the JSON."""
    torch.set_num_threads(1)
    crystals = random_crystals(300)
    table = [one for cutoff in (5.0, 6.0, 8.0) for one in rows_at(crystals, cutoff)]
    for one in table:
        print(f"{one['question']}: {one['ours']:.4g}, rival {one['rival']:.4g}, ratio {one['ratio']:.3g}, met {one['met']}")
    print(write("neighbors", table))


if __name__ == "__main__":
    main()
