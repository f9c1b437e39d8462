"""What the verbs share: one progress bar, one summary table, JSON on stdout and all else on stderr, the exit status."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from rich.console import Console

    from geoembed.pipeline import Report

LISTED = 20
"""Quarantined records that are shown in full; all of them are in the JSON document."""

Progress = Callable[[int, int, int], None]


def console(stderr: bool = False) -> Console:
    """A console for people, plain where the output is no terminal."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=not sys.stdout.isatty())


def print_json(document: object) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def quiet_libraries() -> None:
    """Keep what libraries say off the screen; what geoembed leaves out is listed in the report."""
    import warnings

    logging.getLogger("geoembed").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


@contextmanager
def parsing(workers: int, cluster: str | None, gib: float) -> Iterator[Executor | None]:
    """Where files are parsed: here (None), or on a cluster; what that may take is said on stderr before it begins."""
    if cluster is None:
        console(stderr=True).print(f"Parsing takes at most {workers} × {gib:g} GiB; what wants more is listed and left out.")
        yield None
        return
    from geoembed.pipeline import dask_cluster

    with dask_cluster(cluster) as executor:
        threads = executor.threads
        there = f"Parsing takes at most {threads} × {gib:g} GiB on the cluster" if threads else "Waiting for a first worker"
        console(stderr=True).print(f"{there}; what wants more is listed and left out.")
        yield executor


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """A bar on stderr with rate and time left; yields the callback of the pipeline."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("files · {task.fields[records]}"),
               TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with _saying_how_to_go_on(), Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, records="starting")

        def advance(done: int, total: int, records: int) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            rate = f"{records:,} records, {records / elapsed:,.0f}/s" if elapsed else f"{records:,} records"
            bar.update(task, completed=done, total=total, records=rate)

        yield advance


@contextmanager
def _saying_how_to_go_on() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        console(stderr=True).print("geoembed: interrupted; run the same command again to go on where it stopped")
        raise


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on stdout; numbers to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold")
    body = [tuple(row) for row in rows]
    for i, column in enumerate(columns):
        numeric = bool(body) and all(isinstance(row[i], int | float) for row in body)
        shown.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in body:
        shown.add_row(*map(_cell, row))
    console().print(shown)


def _cell(value: object) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def finish(report: Report, out: str, as_json: bool) -> int:
    """Show what became of every record; exit status 1 where some were quarantined."""
    if as_json:
        print(report.to_json())
        return 1 if report.quarantined else 0
    rate = report.records_in / report.seconds if report.seconds else 0.0
    rows = [("records in", f"{report.records_in:,}"), (report.verb, f"{report.done:,}"), ("quarantined", f"{len(report.quarantined):,}"),
            ("time", f"{report.seconds:.1f} s ({rate:,.0f} records/s)"), ("written to", out)]
    if report.resumed:
        rows.append(("there already", f"{report.resumed:,}"))
    if report.ignored:
        rows.append(("passed over", ", ".join(f"{count} {reason}" for reason, count in report.ignored.items())))
    rows += [(f"encoder {name}", state) for name, state in report.encoders.items()]
    rows += [(name, value) for name, value in report.backends.items()]
    table("", ("what", "how many"), rows)
    if report.quarantined:
        table("quarantined", ("file", "record", "step", "reason"),
              [(bad.source, bad.record, bad.stage, bad.reason) for bad in report.quarantined[:LISTED]])
        if len(report.quarantined) > LISTED:
            console().print(f"… and {len(report.quarantined) - LISTED:,} more; --json lists all.")
    return 1 if report.quarantined else 0
