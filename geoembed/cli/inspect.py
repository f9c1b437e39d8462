"""``geoembed inspect``: the graphs of a file in words, and one picture."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from geoembed.schema import Graph

SHOWN = 10
"""Further graphs of the file that get a line each."""


def inspect(
    file: Annotated[str, typer.Argument(help="File, archive or URL.")],
    picture: Annotated[str | None, typer.Option("--picture", "-p", help="File of the picture; by default NAME.png here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Only a JSON document on stdout, no picture.")] = False,
) -> None:
    """The first graph of a file in words and as a picture, and a line for each of the others.

    Example: geoembed inspect crystal.cif
    """
    from geoembed.cli.console import console, print_json, quiet_libraries
    from geoembed.cli.console import table as show
    from geoembed.io import read

    quiet_libraries()
    reading = read(file)
    first = next(reading, None)
    others, count = [], 0
    for graph in reading:
        count += 1
        if count <= SHOWN:
            others.append(repr(graph))
    bad = [{"record": q.record, "stage": q.stage, "reason": q.reason} for q in reading.quarantined]
    if as_json:
        print_json({"source": file, "records_in": reading.records_in, "graphs": count + (first is not None), "quarantined": bad,
                    "first": None if first is None else describe(first)})
    else:
        if first is not None:
            show(repr(first), ("what", "value"), [(name, _words(value)) for name, value in describe(first).items()])
            where = picture or f"{Path(file).stem}.png"
            _draw(first, where)
            console().print(f"picture: {where}")
        for line in others:
            console().print(line)
        if count > SHOWN:
            console().print(f"… and {count - SHOWN:,} more graphs")
        if bad:
            show("left out", ("record", "step", "reason"), [(q["record"], q["stage"], q["reason"]) for q in bad[:SHOWN]])
    raise typer.Exit(1 if bad else 0)


def describe(graph: Graph) -> dict[str, Any]:
    """What a person wants to know of a graph, as plain data."""
    from torch import Tensor

    from geoembed.schema import FIELDS
    from geoembed.viz import topology

    shape = topology(graph)
    fields = {name: f"{list(value.shape)} {value.dtype}: {FIELDS[name].meaning if name in FIELDS else 'own field'}".replace("torch.", "")
              for name, value in graph.items() if isinstance(value, Tensor)}
    measured = f"{float(graph.measured.float().mean()):.1%} of the entries" if "measured" in graph else "all"
    return {
        "kind": graph.kind, "modality": graph.provenance.modality, "source": graph.source, "record": graph.record,
        **asdict(shape), "measured": measured, "settings": dict(graph.provenance.settings), "notes": dict(graph.notes), "fields": fields,
    }


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {entry}" for name, entry in value.items()) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _draw(graph: Graph, where: str) -> None:
    from geoembed.viz import save_graph_picture

    save_graph_picture(graph, where)
