"""``geoembed build``: files to a store of graphs."""

from __future__ import annotations

from typing import Annotated

import typer

from geoembed.cli.options import AsJson, Cluster, Columns, Memory, Seconds, Workers


def build(
    files: Annotated[list[str], typer.Argument(help="Files, folders or URLs; a URL that ends in / is a folder.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder or URL of the store.")] = "graphs",
    workers: Workers = 1,
    seconds: Seconds = 300.0,
    memory: Memory = 4.0,
    columns: Columns = None,
    cluster: Cluster = None,
    as_json: AsJson = False,
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
