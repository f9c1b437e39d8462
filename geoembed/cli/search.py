"""``geoembed search``: the nearest rows of a table."""

from __future__ import annotations

from typing import Annotated

import typer

from geoembed.cli.options import AsJson


def search(
    table: Annotated[str, typer.Argument(help="Folder of a table made by geoembed embed.")],
    query: Annotated[str, typer.Argument(help="A file, or a source that is in the table.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Neighbors of each record.")] = 5,
    encoder: Annotated[str | None, typer.Option(help="Saved encoder of the table to use, where several fit.")] = None,
    as_json: AsJson = False,
) -> None:
    """Nearest neighbors of a file's records, by cosine, among vectors of the same encoder.

    Example: geoembed search table crystal.cif -k 5
    """
    from geoembed.cli.console import print_json, quiet_libraries
    from geoembed.cli.console import table as show
    from geoembed.pipeline import search as run

    quiet_libraries()
    hits = run(table, query, k, encoder=encoder)
    if as_json:
        print_json(hits.to_dict("records"))
        return
    columns = [str(column) for column in hits.columns]
    rows = [tuple(round(v, 6) if isinstance(v, float) else v for v in row) for row in hits.itertuples(index=False)]
    show(f"nearest to {query}", columns, rows)
