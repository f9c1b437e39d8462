"""Pictures of results: ``python -m benchmarks.plots [FOLDER]`` draws those of the committed JSON into ``build/plots``.

``throughput``: crystals a second against the size of a batch. ``edges``: time against the number of edges. ``roofline``: what was
reached beside the ceilings that were measured in the same run. ``overview``: how many times longer every rival takes.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoembed.viz.palette import COLORS, FAINT, INK, LINE, MARKERS, VOID, new_figure, quiet_axes, save, write_title

from benchmarks.contest import AGAIN
from benchmarks.record import RESULTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
NEEDED = frozenset({"floor", "of_roof", "flop", "bytes", "part", "precision", "launch", "ours", "rival", "rival_name", "ratio", "shape"})
"""What a row must have to be drawn."""

Points = dict[str, list[tuple[float, float]]]
"""Name of a line to its (x, y), sorted by x."""

STYLE: dict[str, dict[str, Any]] = {
    "ours, CUDA graph": {"color": COLORS[0], "marker": "o", "linewidth": 2.2, "zorder": 5},
    "ours, bare calls": {"color": COLORS[0], "marker": "o", "linewidth": 1.2, "markerfacecolor": "white", "linestyle": (0, (4, 2)),
                         "zorder": 4},
    "factorized, max-autotune": {"color": COLORS[2], "marker": "^", "linewidth": 1.4},
    "factorized, compiled": {"color": COLORS[1], "marker": "s", "linewidth": 1.4},
    "vectorized, eager": {"color": COLORS[7], "marker": "v", "linewidth": 1.4},
    "the roof": {"color": FAINT, "linewidth": 1.0, "linestyle": (0, (1, 2))},
}
"""Of lines with a name that several pictures share; all marked differently, not by color alone."""

KINDS = {"eager": (COLORS[7], "v"), "compiled": (COLORS[1], "s"), "max-autotune": (COLORS[2], "^"), "a loop over atoms": (COLORS[3], "X"),
         "torch.segment_reduce": (COLORS[5], "D"), "scatter_add_": (COLORS[3], "o"), "index_add_": (COLORS[4], "P"),
         "segment_csr": (COLORS[6], "X"), "other": (COLORS[5], "*")}
"""Color and marker of rivals by what their names end with."""

FORMS = frozenset({"eager", "compiled", "max-autotune"})


def documents(device: str, results: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Results of a device by script; ``SystemExit`` where there are none."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((results / device).glob("*.json"))}
    if not found:
        raise SystemExit(f"{results / device}: no results; measure some with python -m benchmarks")
    return found


def timed(documents_: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Rows of scripts that record what their work needs, of calls that ran."""
    return [row for document in documents_.values() for row in document["rows"]
            if row.keys() >= NEEDED and row["floor"] and row["ours"] and row["rival"]]


def curves(rows: Iterable[Row], x: Callable[[Row], float], y: Callable[[float, Row], float]) -> Points:
    """A line for ours, bare and replayed, for each rival (replayed where it was, as ours is) and for the roof.

    ``y`` is given milliseconds and the row.
    """
    lines: dict[str, dict[float, tuple[int, float]]] = {}

    def add(name: str, row: Row, ms: float, rank: int) -> None:
        at = lines.setdefault(name, {})
        if rank >= at.get(x(row), (-1, 0.0))[0]:
            at[x(row)] = (rank, y(ms, row))

    for row in rows:
        graph = row["launch"] == "graph"
        add(f"ours, {'CUDA graph' if graph else 'bare calls'}", row, row["ours"], 0)
        add("the roof", row, row["floor"], 0)
        if row["rival_name"] != AGAIN:
            add(row["rival_name"], row, row["rival"], int(graph))
    return {name: sorted((at, value) for at, (_, value) in values.items()) for name, values in lines.items()}


def draw_curves(ax: Axes, lines: Points) -> None:
    """Every line with its name at its right end, names apart from each other."""
    order = [name for name in STYLE if name in lines] + [name for name in lines if name not in STYLE]
    for name in order:
        xs, ys = zip(*lines[name], strict=True)
        ax.plot(xs, ys, **{"markersize": 5, "markeredgewidth": 1.2, **STYLE.get(name, {"color": LINE, "marker": "D", "linewidth": 1.0})})
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    logs = [(math.log10(lines[name][-1][1]), name) for name in order]
    low, high = (math.log10(bound) for bound in ax.get_ylim())
    for (_, name), place in zip(sorted(logs), apart([at for at, _ in sorted(logs)], 0.052 * (high - low)), strict=True):
        ax.annotate(name, (lines[name][-1][0], 10**place), (9, 0), textcoords="offset points", va="center", fontsize=8,
                    color=STYLE.get(name, {}).get("color", FAINT), annotation_clip=False)


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Sorted places moved as little as it takes to be ``gap`` apart, about their own means.

    >>> apart([0.0, 0.0, 5.0], 1.0)
    [-0.5, 0.5, 5.0]
    """
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _middle(groups[-1]) - _middle(groups[-2]) < gap * (len(groups[-1]) + len(groups[-2])) / 2:
            last = groups.pop()
            groups[-1] += last
    return [_middle(group) + gap * (i - (len(group) - 1) / 2) for group in groups for i in range(len(group))]


def _middle(group: Sequence[float]) -> float:
    return sum(group) / len(group)


def throughput(found: Mapping[str, Mapping[str, Any]], folder: Path) -> Path | None:
    """Crystals a second against crystals a batch, bf16, degree 12."""
    rows = [row for row in timed(found) if row.get("part") in ("batches", "forward") and "graphs" in row["shape"]
            and "degrees" in row["shape"]]
    lines = curves(rows, lambda row: row["shape"]["graphs"], lambda ms, row: 1e3 * row["shape"]["graphs"] / ms)
    if len(lines.get("the roof", ())) < 2:
        return None
    figure = new_figure(7.2, 4.2)
    ax = figure.add_subplot()
    draw_curves(ax, lines)
    quiet_axes(ax, "crystals a batch", "crystals a second")
    _plain_ticks(ax, [x for x, _ in lines["the roof"]])
    _room(ax)
    write_title(ax, "Crystals to vectors", f"30 atoms × 12 edges, hidden 256, 4 layers, bf16, forward · {_card(found)}")
    return save(figure, folder / "throughput.png")


def edges(found: Mapping[str, Mapping[str, Any]], folder: Path) -> Path | None:
    """Milliseconds against edges, 1,024 crystals, bf16."""
    rows = [row for row in timed(found) if row.get("part") in ("batches", "edges") and row["shape"].get("graphs") == 1024]
    rows = rows or [row for row in timed(found) if row.get("part") == "edges"]
    lines = curves(rows, lambda row: row["shape"]["edges"], lambda ms, row: ms)
    if len(lines.get("the roof", ())) < 2:
        return None
    figure = new_figure(7.2, 4.2)
    ax = figure.add_subplot()
    draw_curves(ax, lines)
    quiet_axes(ax, "edges", "milliseconds")
    _plain_ticks(ax, [x for x, _ in lines["the roof"]])
    _room(ax)
    write_title(ax, "Time grows with edges", f"{rows[0]['shape']['graphs']:,} crystals of 30 atoms, 6 to 48 edges an atom, bf16, forward · "
                                             f"{_card(found)}")
    return save(figure, folder / "edges.png")


def roofline(found: Mapping[str, Mapping[str, Any]], folder: Path) -> Path | None:
    """FLOP a second against FLOP a byte: ours at its best in each part of a script, below the roofs of this card."""
    roofs = next((document["environment"]["ceilings"] for document in found.values() if "ceilings" in document["environment"]), None)
    best = best_of_parts(found)
    if roofs is None or not best:
        return None
    figure = new_figure(9.0, 4.8)
    ax = figure.add_subplot()
    at = [row["flop"] / row["bytes"] for rows in best.values() for row in rows]
    low, high = min(0.1, min(at) / 2), max(4000.0, max(at) * 3)
    for name in ("bf16", "tf32", "fp32"):
        ridge = roofs[name] / roofs["copy"]
        ax.plot([low, ridge, high], [low * roofs["copy"], roofs[name], roofs[name]], color=LINE, linewidth=1.4, zorder=1)
        ax.annotate(f"{name} products, {roofs[name] / 1e12:,.3g} TFLOP/s", (high, roofs[name]), (0, 4), textcoords="offset points",
                    fontsize=7.5, color=FAINT, ha="right")
    ax.annotate(f"copy, {roofs['copy'] / 1e12:.3g} TB/s", (2.0, 2.0 * roofs["copy"]), (-6, 6), textcoords="offset points",
                fontsize=7.5, color=FAINT, ha="right")
    ax.set(xscale="log", yscale="log", xlim=(low, high))
    quiet_axes(ax, "FLOP a byte that must move", "FLOP a second")
    for color, (script, rows) in zip(COLORS, best.items(), strict=False):
        ax.plot([], [], " ", label=script.replace("_", " "))
        for marker, row in zip(MARKERS, sorted(rows, key=lambda row: -row["of_roof"]), strict=False):
            ax.plot(row["flop"] / row["bytes"], 1e3 * row["flop"] / row["ours"], marker, color=color, markersize=8, markeredgecolor="white",
                    markeredgewidth=0.7, label=f"{row['of_roof']:4.0%}  {row['part']}, {row['precision']}", zorder=3, linestyle="")
    legend = ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7.5, frameon=False, labelcolor=INK, labelspacing=0.5)
    for text in legend.get_texts():
        text.set_fontweight("normal" if "%" in text.get_text() else "bold")
    write_title(ax, "How near to the roof", f"needed work over measured time, share of the ceilings of the same run · {_card(found)}")
    return save(figure, folder / "roofline.png")


def overview(found: Mapping[str, Mapping[str, Any]], folder: Path) -> Path | None:
    """A line a question: ours at 1, each rival where it is."""
    table = [(script, name, pairs) for script, document in found.items() for name, pairs in nearest({script: document}).items()]
    if not table:
        return None
    table.sort(key=lambda entry: (entry[0], min(ratio for _, ratio in entry[2])), reverse=True)
    figure = new_figure(8.6, 1.4 + 0.24 * len(table))
    ax = figure.add_subplot()
    ax.axvline(1, color=COLORS[0], linewidth=1.6)
    ax.annotate("ours", (1, len(table) - 0.35), (4, 0), textcoords="offset points", color=COLORS[0], fontsize=8, va="center")
    used = set()
    for y, (_, _, pairs) in enumerate(table):
        reach = [1.0, *(ratio for _, ratio in pairs)]
        ax.plot([min(reach), max(reach)], [y, y], color=VOID, linewidth=1.2, zorder=1)
        for rival, ratio in pairs:
            kind = next((kind for kind in KINDS if rival.endswith(kind)), "other")
            used.add(kind)
            color, marker = KINDS[kind]
            ax.plot(ratio, y, marker, color=color, markersize=6, zorder=3, markeredgewidth=1.1,
                    markerfacecolor=color if rival.startswith("factorized") or kind not in FORMS else "white")
    ax.set_xscale("log")
    ax.set_ylim(-0.6, len(table) - 0.1)
    quiet_axes(ax, "times as long as ours")
    ax.set_yticks(range(len(table)), [name for _, name, _ in table], fontsize=7.5, color=INK)
    ax.tick_params(axis="y", length=0)
    _ticks(ax, "x", " ×")
    for kind in [kind for kind in KINDS if kind in used]:
        ax.plot([], [], KINDS[kind][1], color=KINDS[kind][0], label=kind)
    ax.plot([], [], "o", color=FAINT, markerfacecolor="white", label="hollow: the form that\nothers write")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7.5, frameon=False, labelcolor=INK, labelspacing=0.7)
    write_title(ax, "Beside the rivals", f"each pair in one process, one precision, in turns · {_card(found)}")
    return save(figure, folder / "overview.png")


def nearest(found: Mapping[str, Mapping[str, Any]]) -> dict[str, list[tuple[str, float]]]:
    """Rivals and their ratios by question; of a rival's pairs, bare beside bare and replayed beside replayed, the nearer one."""
    groups: dict[str, dict[str, float]] = {}
    for row in timed(found):
        if row["rival_name"] != AGAIN and row["ratio"] and not row["rival_name"].startswith("ours"):
            ratios = groups.setdefault(_short(row), {})
            ratios[row["rival_name"]] = min(row["ratio"], ratios.get(row["rival_name"], math.inf))
    return {name: sorted(ratios.items(), key=lambda pair: pair[1]) for name, ratios in groups.items()}


def best_of_parts(found: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Row]]:
    """By script, the row of each part and precision with the greatest share of its roof."""
    scripts: dict[str, list[Row]] = {}
    for script, document in found.items():
        best: dict[tuple[str, str], Row] = {}
        for row in timed({script: document}):
            key = (row["part"], row["precision"])
            best[key] = max(best.get(key, row), row, key=lambda one: one["of_roof"])
        if best:
            scripts[script] = list(best.values())
    return scripts


def _short(row: Row) -> str:
    """A question without its launch and unit."""
    return str(row["question"]).replace(", CUDA graph", "").replace(", bare calls", "").replace(", ms", "")


def _card(found: Mapping[str, Mapping[str, Any]]) -> str:
    environment = next(iter(found.values()))["environment"]
    return f"{environment.get('card') or environment.get('processor')}, torch {environment['versions']['torch']}"


def _ticks(ax: Axes, axis: str, unit: str = "") -> None:
    """1, 2 and 5 of every decade, in words as short as they get."""
    low, high = ax.get_xlim() if axis == "x" else ax.get_ylim()
    places = [digit * 10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high))) for digit in (1, 2, 5)]
    places = [place for place in places if low <= place <= high]
    names = [f"{place / 1e6:g} M" if place >= 1e6 else f"{place / 1e3:g} k" if place >= 1e3 else f"{place:g}" for place in places]
    (ax.set_xticks if axis == "x" else ax.set_yticks)(places, [name + unit for name in names])
    ax.minorticks_off()


def _plain_ticks(ax: Axes, places: Sequence[float]) -> None:
    """Ticks where something was measured."""
    ax.set_xticks(places, [f"{place:,.0f}" for place in places])
    ax.minorticks_off()


def _room(ax: Axes) -> None:
    """Thin lines to read values by, and room at the right for names."""
    _ticks(ax, "y")
    ax.grid(axis="y", color=VOID, linewidth=0.5)
    ax.set_axisbelow(True)
    low, high = ax.get_xlim()
    ax.set_xlim(low, high * (high / low) ** 0.42)


PICTURES = (throughput, edges, roofline, overview)


def main() -> None:
    """Draw every picture that there are results for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("build/plots"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--device", default="h200")
    options = parser.parse_args()
    found = documents(options.device, options.results)
    for picture in PICTURES:
        path = picture(found, options.folder)
        print(path or f"{picture.__name__}: no results for it")


if __name__ == "__main__":
    main()
