"""``geoembed build``: files to a store of graphs."""

from __future__ import annotations

from typing import Annotated

import typer


def build(
    files: Annotated[list[str], typer.Argument(help="Files, folders or URLs.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder of the store.")] = "graphs",
    workers: Annotated[int, typer.Option("--workers", "-n", min=1, help="Parsing processes.")] = 1,
    seconds: Annotated[float, typer.Option(help="Longest time that a file may take without another record.")] = 300.0,
    memory: Annotated[float, typer.Option(help="Memory that a file may take [GiB].")] = 4.0,
    columns: Annotated[
        str | None, typer.Option(help="What the columns of particle tables mean: a TOML file, or top-tagging, jetclass, hls4ml.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler whose workers parse, tcp://HOST:8786; they must share files with us.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Only a JSON document on stdout.")] = False,
) -> None:
    """Files to a store of graphs: complete, checksummed, resumable.

    Example: geoembed build cifs/ more.tar.xz -o graphs --workers 2
    """
    if cluster is None:
        from geoembed.cli.warm import warm_up

        warm_up()
    from geoembed.cli.console import finish, parsing, progress_bar, quiet_libraries
    from geoembed.pipeline import Limits
    from geoembed.pipeline import build as run

    quiet_libraries()
    limits = Limits(seconds=seconds, memory_gib=memory)
    with parsing(workers, cluster, memory) as executor, progress_bar("building") as progress:
        report = run(files, out, workers=workers, limits=limits, progress=progress, columns=columns, executor=executor)
    raise typer.Exit(finish(report, out, as_json))
