"""``geoembed demo``: the whole road on the shipped samples of all domains, with a table, a search and a picture."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from os.path import relpath
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geoembed.cli.options import AsJson

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.table import Table

    from geoembed.cli.console import Progress
    from geoembed.pipeline import Report
    from geoembed.schema import Graph

NEIGHBORS = 3
SAME = 0.9999
"""A cosine from here on means: the same object to the encoder."""


@dataclass(frozen=True)
class Domain:
    """A group of samples, all files that begin with ``prefix``.

    ``query`` is (file, record) of the search; ``twin`` says what its neighbor of cosine 1 is: the same object in another form,
    which an encoder with the right symmetries cannot tell apart. ``by_record``: what a graph shows is named by its record
    (one file has many objects), and not by the second word of its file.
    """

    prefix: str
    title: str
    query: tuple[str, str]
    twin: str = ""
    by_record: bool = False

    def label(self, source: str, record: str) -> str:
        """What a graph shows, in a word, for colors and legends.

        >>> DOMAINS[0].label("samples/crystal-ionic-NaCl.cif", "ionic-NaCl"), DOMAINS[-1].label("dna-barcodes.fasta", "moth_2")
        ('ionic', 'moth')
        """
        name = record if self.by_record else PurePath(source).name.removeprefix(f"{self.prefix}-")
        return re.split(r"[-_.]", name)[0]


DOMAINS = (
    Domain("crystal", "crystals", ("crystal-ionic-NaCl-P1.cif", "ionic-NaCl-P1"), "the same crystal, with its symmetry"),
    Domain("event", "collisions", ("event-Zmumu.root", "0")),
    Domain("jet", "jets", ("jet-3prong.parquet", "0"), "the same jet, turned round the beam"),
    Domain("weather", "weather", ("weather-wave4.nc", "2001-01-01T00:00:00")),
    Domain("galaxy", "galaxies", ("galaxy-spiral-1.fits.gz", "u+g+r+i+z"), "the same galaxy, turned by 90°"),
    Domain("lightcurve", "light curves", ("lightcurve-nine.csv", "RRLyrae_1"), "the same star, by JD instead of MJD", True),
    Domain("spectrum", "spectra", ("spectrum-galaxy-1.fits", "COADD")),
    Domain("scene", "scenes", ("scene-forest-1.tif", "0,0")),
    Domain("photo", "photographs", ("photo-butterfly-1.png", "0")),
    Domain("sound", "sounds", ("sound-bird-1.wav", "0.000s"), "the same sound as FLAC"),
    Domain("dna", "DNA barcodes", ("dna-barcodes.fasta", "moth_1"), "the same gene, from the other strand", True),
)


@dataclass
class Outcome:
    """What became of one domain; the first rows are those of the summary."""

    domain: str
    files: int
    records: int = 0
    kind: str = ""
    nodes_median: float = 0.0
    edges_median: float = 0.0
    encoder: str = ""
    dimension: int = 0
    seconds: float = 0.0
    quarantined: list[dict[str, str]] = field(default_factory=list)
    query: str = ""
    nearest: list[dict[str, Any]] = field(default_factory=list)


def demo(
    out: Annotated[str, typer.Option("--out", "-o", help="Folder for the graphs, the table and the picture.")] = "demo",
    as_json: AsJson = False,
) -> None:
    """Samples of all domains: files to graphs, graphs to vectors, vectors to a table, a search in it, and a picture.

    Example: geoembed demo
    """
    from geoembed.cli.console import print_json, progress_bar, quiet_libraries

    started = time.perf_counter()
    quiet_libraries()
    folder = Path(out)
    with progress_bar("samples to vectors") as progress:
        outcomes = run_domains(folder, progress)
    picture = _picture(folder, outcomes)
    seconds = time.perf_counter() - started
    bad = [reason for outcome in outcomes for reason in outcome.quarantined]
    if as_json:
        print_json({"records_in": sum(o.records + len(o.quarantined) for o in outcomes), "embedded": sum(o.records for o in outcomes),
                    "quarantined": len(bad), "reasons": bad, "weights": "untrained: random weights", "table": str(folder / "table"),
                    "picture": picture, "seconds": round(seconds, 3), "domains": [asdict(outcome) for outcome in outcomes]})
    else:
        _show(folder, outcomes, picture, seconds)
    raise typer.Exit(1 if bad else 0)


def run_domains(folder: Path, progress: Progress) -> list[Outcome]:
    """Build, embed and search every domain into ``folder``/graphs and ``folder``/table; one is built while another is embedded."""
    from concurrent.futures import ThreadPoolExecutor

    from geoembed.io.shipped import sample, sample_names
    from geoembed.pipeline import build, embed

    names = sample_names()
    inputs = {domain: [str(sample(name)) for name in names if name.startswith(f"{domain.prefix}-")] for domain in DOMAINS}
    outcomes: list[Outcome] = []
    done = records = 0
    with ThreadPoolExecutor(1) as builder:
        building = {domain: builder.submit(build, files, folder / "graphs" / domain.prefix) for domain, files in inputs.items()}
        try:
            for domain, files in inputs.items():
                built = building[domain].result()
                graphs, table = folder / "graphs" / domain.prefix, folder / "table"
                embedded = embed(graphs, out=table)
                outcomes.append(_outcome(domain, files, graphs, table, built, embedded))
                done, records = done + len(files), records + embedded.records_in
                progress(done, len(names), records)
        finally:
            builder.shutdown(cancel_futures=True)
    return outcomes


def _outcome(domain: Domain, files: Sequence[str], graphs: Path, table: Path, built: Report, embedded: Report) -> Outcome:
    """Numbers of a domain, and the neighbors of its query."""
    from statistics import median

    from geoembed.pipeline import search
    from geoembed.store import ShardDataset, open_table

    outcome = Outcome(domain.title, len(files), embedded.done, seconds=round(built.seconds + embedded.seconds, 2))
    outcome.quarantined = [{"source": bad.source, "record": bad.record, "stage": bad.stage, "reason": bad.reason}
                           for bad in embedded.quarantined]
    data = ShardDataset(graphs)
    if not embedded.done:
        return outcome
    sizes = [(int(graph.num_nodes or 0), graph.num_edges) for graph in data]
    outcome.nodes_median, outcome.edges_median = (float(median(column)) for column in zip(*sizes, strict=True))
    file, record = domain.query
    source = next((name for name in files if Path(name).name == file), data[0].source)
    opened = open_table(table)
    outcome.kind = data[0].kind
    outcome.encoder, vectors, _ = next(opened.rows_of(source))
    outcome.dimension = vectors.shape[1]
    hits = search(opened, source, NEIGHBORS + 1, encoder=outcome.encoder)
    hits = hits[(hits["query"] == record) & ~((hits["source"] == source) & (hits["record"] == record))]
    outcome.query = readable(domain, file, record)
    outcome.nearest = [
        {"name": readable(domain, hit["source"], hit["record"]), "score": round(float(hit["score"]), 6), "source": hit["source"],
         "record": hit["record"], "remark": domain.twin if hit["score"] >= SAME else ""}
        for hit in hits.head(NEIGHBORS).to_dict("records")
    ]
    return outcome


def readable(domain: Domain, source: str, record: str) -> str:
    """A record as a person calls it: without folder, domain and suffixes.

    >>> readable(DOMAINS[4], "samples/galaxy-edge-2.fits.gz", "u+g+r+i+z"), readable(DOMAINS[2], "jet-3prong.parquet", "7")
    ('edge-2', '3prong [7]')
    """
    name = re.sub(r"(\.[A-Za-z]\w*)+$", "", PurePath(source).name).removeprefix(f"{domain.prefix}-")
    if domain.by_record:
        return record
    if domain.prefix in ("event", "jet"):
        return f"{name} [{record}]"
    if domain.prefix == "weather":
        return f"{name}, {record[:10]}"
    if domain.prefix == "sound":
        return PurePath(source).name.removeprefix("sound-")
    return f"{name} [{record}]" if record.startswith("frame") else name


def _picture(folder: Path, outcomes: Sequence[Outcome]) -> str:
    """Draw the overview; the path of the picture, or why there is none."""
    from geoembed.errors import MissingExtraError
    from geoembed.store import open_table
    from geoembed.viz.overview import Domain as Panel
    from geoembed.viz.overview import draw_overview

    table = open_table(folder / "table")
    rows = table.to_pandas()
    panels = []
    for domain, outcome in zip(DOMAINS, outcomes, strict=True):
        if not outcome.records:
            continue
        mine = rows[rows["encoder"] == outcome.encoder]
        labels = [domain.label(source, record) for source, record in zip(mine["source"], mine["record"], strict=True)]
        graph = _example(folder / "graphs" / domain.prefix, domain)
        panels.append(Panel(domain.title, graph, _stacked(mine["vector"]), labels, outcome.encoder))
    remark = (
        "Each pair: one graph as geoembed built it from a file,\nand all vectors of its domain, drawn in the two directions\nin which "
        "they differ most. Near = alike to the encoder.\n\nThe encoders are untrained: their weights are random.\nWhat groups, "
        "groups by structure alone; an object and\nits turned or mirrored copy lie on one point, because\nthe symmetries are "
        "built in."
    )
    try:
        return str(draw_overview(panels, folder / "geoembed-demo.png", remark))
    except MissingExtraError as error:
        return f"none: {error.remedy}"


def _example(graphs: Path, domain: Domain) -> Graph:
    """The graph of the query, or the first one of the domain."""
    from geoembed.store import ShardDataset

    data = ShardDataset(graphs)
    file, record = domain.query
    first, *rest = data
    return next((graph for graph in (first, *rest) if graph.record == record and Path(graph.source).name == file), first)


def _stacked(vectors: Any) -> NDArray[Any]:
    import numpy as np

    stacked: NDArray[Any] = np.stack(list(vectors))
    return stacked


def _show(folder: Path, outcomes: Sequence[Outcome], picture: str, seconds: float) -> None:
    """Two tables, where things are, and three commands to go on with; 80 columns are enough."""
    from geoembed.cli.console import console

    say = console().print
    say("\n[bold]From files to graphs to vectors[/bold]\n")
    say(_columns(("domain", "files", "records", "graph", "nodes / links*", "encoder", "dim", "s"), "lrrlrlrr", [
        (o.domain, f"{o.files}", f"{o.records}", o.kind, f"{o.nodes_median:,.0f} / {o.edges_median:,.0f}", o.encoder, f"{o.dimension}",
         f"{o.seconds:.1f}") for o in outcomes
    ]))
    say("\n* of the median graph. The encoders are untrained: their weights are random.\n")
    say("[bold]Nearest in the table, by cosine[/bold]\n")
    say(_columns(("domain", "query", "its three nearest"), "lll", [(o.domain, o.query, _answers(o)) for o in outcomes if o.nearest]))
    for outcome in outcomes:
        for bad in outcome.quarantined:
            say(f"left out: {bad['reason']}", markup=False)
    say(f"\n{sum(o.records for o in outcomes)} records of {sum(o.files for o in outcomes)} files in {seconds:.0f} s, one vector each.")
    say(f"Picture of it all: {picture}\n")
    source = next((hit["source"] for outcome in outcomes for hit in outcome.nearest), "FILE")
    say("[bold]Next[/bold]\n")
    say("  geoembed inspect YOUR_FILE                  its graph: words and a picture", markup=False)
    say(f"  geoembed embed YOUR_FOLDER -o {folder / 'table'}    its vectors, beside the samples", markup=False)
    say(f"  geoembed search {folder / 'table'} {min(source, relpath(source), key=len)}", markup=False)


def _answers(outcome: Outcome) -> str:
    lines = []
    for hit in outcome.nearest:
        lines.append(f"{hit['score']:7.4f}  {hit['name']}")
        if hit["remark"]:
            lines.append(f"       = {hit['remark']}")
    return "\n".join(lines)


def _columns(names: Sequence[str], sides: str, rows: Sequence[Sequence[str]]) -> Table:
    """A plain table that fits into 80 columns; ``sides``: l or r, one a column."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold cyan")
    for name, side in zip(names, sides, strict=True):
        table.add_column(name, justify="right" if side == "r" else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
