"""``geoembed merge``: several graph stores become one."""

from __future__ import annotations

from typing import Annotated

import typer

from geoembed.cli.options import AsJson


def merge(
    stores: Annotated[list[str], typer.Argument(help="Graph stores, in folders or at URLs.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder or URL of the store that they are added to.")] = "graphs",
    as_json: AsJson = False,
) -> None:
    """Put the graphs of several stores into one, without building them again.

    Example: geoembed merge night-1 night-2 -o graphs
    """
    from geoembed.cli.console import console, print_json
    from geoembed.store import merge as run

    store = run(stores, out)
    if as_json:
        print_json({"folder": out, "records_in": store.records_in, "built": store.built, "quarantined": store.quarantined})
    else:
        console().print(f"{store}")
