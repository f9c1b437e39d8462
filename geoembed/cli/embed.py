"""``geoembed embed``: files or a store to a table of vectors."""

from __future__ import annotations

from typing import Annotated

import typer

from geoembed.cli.options import AsJson, Cluster, Columns, Memory, Precision, PrecisionName, Seconds, Workers


def embed(
    files: Annotated[list[str], typer.Argument(help="Files, folders, URLs (a folder ends in /), or stores made by geoembed build.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder or URL of the table.")] = "table",
    encoder: Annotated[str | None, typer.Option(help="Encoder by name (geoembed list); by default that of each sort of graph.")] = None,
    weights: Annotated[str | None, typer.Option(help="Name or folder of saved weights; without, weights are random.")] = None,
    workers: Workers = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …; by default a GPU where there is one.")] = None,
    precision: Precision = PrecisionName.fp32,
    seconds: Seconds = 300.0,
    memory: Memory = 4.0,
    columns: Columns = None,
    cluster: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Files or a store to a table of unit vectors; what is broken is listed with its reason.

    Example: geoembed embed crystals/ events.root -o table --workers 2

    On a GPU: geoembed embed graphs -o table --device cuda --precision bf16

    On several: torchrun --nproc-per-node 4 -m geoembed embed graphs -o table
    """
    if cluster is None:
        from geoembed.cli.warm import warm_up

        warm_up()
    from geoembed.cli.console import console, finish, parsing, progress_bar, quiet_libraries
    from geoembed.pipeline import Limits
    from geoembed.pipeline import embed as run
    from geoembed.pipeline.ranks import Ranks

    ranks = Ranks.of_torchrun()
    quiet_libraries()
    limits = Limits(seconds=seconds, memory_gib=memory)
    if ranks is not None and ranks.rank > 0:  # rank 0 speaks for all
        run(files, encoder, weights, out, workers=workers, limits=limits, device=device, columns=columns, ranks=ranks,
            precision=precision.value)
        raise typer.Exit(0)
    with parsing(workers, cluster, memory) as executor, progress_bar("embedding") as progress:
        report = run(files, encoder, weights, out, workers=workers, limits=limits, progress=progress, device=device, columns=columns,
                     executor=executor, ranks=ranks, precision=precision.value)
    if any("random" in state for state in report.encoders.values()):
        console(stderr=True).print("Weights are random: distances show structure, not learned meaning. Give trained ones with --weights.")
    raise typer.Exit(finish(report, out, as_json))
