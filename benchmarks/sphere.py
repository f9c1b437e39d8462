"""How fast are the multi-mesh and the edges between it and a grid, beside anemoi-graphs on the same machine?

Each measurement is a process of its own, so nothing is warm or cached; imports are not counted. Ours and the rival's take
turns. Seconds are CPU time of the process with all its threads (wall time beside it), one thread asked for. Mesh: vertices,
faces and sorted multi-scale edges of a level; the rival's ``TriNodes`` and ``MultiScaleEdges``. Edges both ways between a
regular grid and the mesh: the rival's ``CutOffEdges`` (0.6) and ``KNNEdges`` (3). With geometry: length and direction of all
edges on both sides, the rival's ``EdgeLength`` and ``EdgeDirection``; ours has the exact areas of all cells besides.
The rival lives in an environment of its own; without
``--rival-python`` its columns are empty. Run: ``python -m benchmarks.sphere --rival-python PATH``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys

from benchmarks.record import write
from benchmarks.timing import spread

CASES = ((5, 1.0, "edges"), (6, 0.25, "graph"), (7, 0.25, "edges"), (7, 0.25, "graph"), (7, 1.0, "edges"), (8, None, "edges"))
"""Mesh level, spacing of the grid in degrees, and what is made of it."""

WORK = {"edges": "edges both ways", "graph": "edges both ways with geometry"}

MESH_SECONDS = {6: (0.035, 0.015), 7: (0.12, 0.06), 8: (0.8, 0.35)}
"""Level: (goal, aim)."""

GRID_SECONDS = 2.0
"""A 0.25° grid both ways: grid, areas, mesh and all edges."""

RATIO = 8.0
"""Mesh and grid edges together at level 7, over the rival."""

_CLOCK = """
import json, resource, sys, time
level, step, part = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
import numpy as np
out = {}
def clock(name, work):
    wall, start = time.perf_counter(), time.process_time()
    result = work()
    out[name] = [time.process_time() - start, time.perf_counter() - wall]
    return result
def axes():
    return np.linspace(90, -90, round(180 / step) + 1), np.arange(round(360 / step)) * step
"""

_OURS = _CLOCK + """
from geoembed.graphs.bipartite import join
from geoembed.graphs.geodesy import unit_vectors
from geoembed.graphs.icosahedron import icosahedral_mesh
from geoembed.graphs.sphere_topology import corners_around, sphere_grid, topology
mesh = clock("mesh", lambda: icosahedral_mesh(level))
out["mesh_edges"] = mesh.edge_index.shape[1]
if step:
    lat, lon = axes()
    def edges():
        phi, lam = np.repeat(lat, len(lon)), np.tile(lon, len(lat))
        points = unit_vectors(phi, lam)
        return join(points, mesh.vertices, corners_around(phi, lam, points, mesh), mesh.edge_index)
    if part == "edges":
        sizes = clock("edges", edges).sizes
        out["edges_edges"] = sizes[0] + sizes[2]
    else:
        built = clock("graph", lambda: topology(sphere_grid(lat.tobytes(), lon.tobytes(), (len(lat), len(lon)), True), mesh))
        out["graph_edges"] = int((built.fields["edge_kind"] != 1).sum())
out["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps(out))
"""

_RIVAL = _CLOCK + """
import torch
from importlib.metadata import version
from torch_geometric.data import HeteroData
from anemoi.graphs.edges import CutOffEdges, KNNEdges, MultiScaleEdges
from anemoi.graphs.nodes import LatLonNodes, TriNodes
torch.set_num_threads(1)
GEOMETRY = {name: {"_target_": f"anemoi.graphs.edges.attributes.{name}"} for name in ("EdgeLength", "EdgeDirection")}
def mesh():
    graph = TriNodes(level, "mesh").update_graph(HeteroData(), {})
    return MultiScaleEdges("mesh", "mesh", x_hops=1).update_graph(graph, {})
graph = clock("mesh", mesh)
out["mesh_edges"] = graph["mesh", "to", "mesh"].edge_index.shape[1]
if step:
    lat, lon = (axis.ravel() for axis in np.meshgrid(*axes(), indexing="ij"))
    attributes = GEOMETRY if part == "graph" else {}
    def grid():
        both = LatLonNodes(lat, lon, "grid").update_graph(graph, {})
        both = CutOffEdges("grid", "mesh", cutoff_factor=0.6).update_graph(both, attributes)
        if part == "graph":
            MultiScaleEdges("mesh", "mesh", x_hops=1).register_attributes(both, attributes)
        return KNNEdges("mesh", "grid", num_nearest_neighbours=3).update_graph(both, attributes)
    both = clock(part, grid)
    out[part + "_edges"] = sum(both[name].edge_index.shape[1] for name in (("grid", "to", "mesh"), ("mesh", "to", "grid")))
out["peak"], out["version"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, version("anemoi-graphs")
print(json.dumps(out))
"""

Measured = dict[str, float | str | list[float]]


def once(python: str, code: str, level: int, step: float | None, part: str) -> Measured:
    """One process: CPU and wall seconds of ``mesh`` and of the ``part`` of the grid, numbers of edges, peak GiB."""
    one_thread = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    arguments = [python, "-c", code, str(level), json.dumps(step), part]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, env=one_thread)
    measured: Measured = json.loads(done.stdout.splitlines()[-1])
    return measured


def seconds(runs: list[Measured], parts: tuple[str, ...], clock: int = 0) -> list[float]:
    """CPU (0) or wall (1) seconds of the parts together, of each run."""
    return [sum(part[clock] for name in parts if isinstance(part := run[name], list)) for run in runs]


def row(question: str, parts: tuple[str, ...], ours: list[Measured], rival: list[Measured], goal: dict[str, float]) -> dict[str, object]:
    """One row; ``goal`` is the most seconds of ours (``seconds``) and the least ratio to the rival's (``ratio``)."""
    mine, theirs = seconds(ours, parts), seconds(rival, parts)
    median = statistics.median(mine)
    ratios = [their / my for my, their in zip(mine, theirs, strict=False)]
    ratio = statistics.median(ratios) if ratios else None
    checks = [median <= goal["seconds"]] if "seconds" in goal else []
    checks += [ratio >= goal["ratio"]] if "ratio" in goal and ratio is not None else []
    words = {"seconds": "≤ {:g} s", "aim": "aim {:g} s", "ratio": "≥ {:g} × the rival"}
    return {
        "question": question, "ours": median, "rival": statistics.median(theirs) if theirs else None, "ratio": ratio,
        "iqr": spread(ratios) if ratios else spread(mine), "goal": ", ".join(words[key].format(goal[key]) for key in goal) or None,
        "met": all(checks) if checks else None, "aim_met": median <= goal["aim"] if "aim" in goal else None,
        "ours_iqr": spread(mine), "ours_wall": statistics.median(seconds(ours, parts, 1)),
        "rival_wall": statistics.median(seconds(rival, parts, 1)) if rival else None, "repeats": len(mine),
        "ours_peak_gib": max(float(str(run["peak"])) for run in ours),
        "rival_peak_gib": max((float(str(run["peak"])) for run in rival), default=None),
        "edges": {part: [ours[0][f"{part}_edges"], rival[0][f"{part}_edges"] if rival else None] for part in parts},
        "rival_version": rival[0]["version"] if rival else None,
    }


def rows_of(level: int, step: float | None, part: str, rival_python: str | None, repeats: int) -> list[dict[str, object]]:
    """Rows of one mesh level, one grid, and one ``part`` of the work on it: ``edges`` or ``graph``."""
    ours: list[Measured] = []
    rival: list[Measured] = []
    for _ in range(repeats):
        ours.append(once(sys.executable, _OURS, level, step, part))
        if rival_python:
            rival.append(once(rival_python, _RIVAL, level, step, part))
    rows = []
    if (level, step, part) == next(case for case in CASES if case[0] == level):  # a mesh is measured once
        goal = dict(zip(("seconds", "aim"), MESH_SECONDS[level], strict=True)) if level in MESH_SECONDS else {}
        rows.append(row(f"multi-mesh of level {level}, CPU s", ("mesh",), ours, rival, goal))
    if step:
        goal = {"seconds": GRID_SECONDS} if step == 0.25 else {}
        goal |= {"ratio": RATIO} if level == 7 else {}
        rows.append(row(f"multi-mesh of level {level} and {WORK[part]} of a {step:g}° grid, CPU s", ("mesh", part), ours, rival, goal))
    return rows


def main() -> None:
    """Measure every case, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rival-python", help="Python of an environment with anemoi-graphs")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if not options.rival_python:
        print("No --rival-python: anemoi-graphs is not measured, its columns stay empty.")
    rows: list[dict[str, object]] = []
    for level, step, part in CASES:
        fresh = rows_of(level, step, part, options.rival_python, options.repeats)
        rows += fresh
        for each in fresh:
            print(f"{each['question']:<65} {each['ours']:8.4f}  rival {each['rival']}  ratio {each['ratio']}  goal {each['goal']}"
                  f"  met {each['met']}", flush=True)
    print(write("sphere", rows))


if __name__ == "__main__":
    main()
