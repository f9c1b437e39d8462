"""``geoembed search``: the nearest rows of a table."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from geoembed.cli.options import AsJson


def search(
    table: Annotated[str, typer.Argument(help="Folder or URL of a table made by geoembed embed.")],
    query: Annotated[str, typer.Argument(help="A file, or a source that is in the table.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Neighbors of each record.")] = 5,
    encoder: Annotated[str | None, typer.Option(help="Saved encoder of the table to use, where several fit.")] = None,
    where: Annotated[list[str] | None, typer.Option(
        metavar="COLUMN=VALUE", help="Only rows with this value of source, record, kind, modality, encoder or weights; * stands for any "
        "text and ? for one letter. May be repeated: several values of a column are alternatives.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every row, also where the table has an index.")] = False,
    as_json: AsJson = False,
) -> None:
    """Nearest neighbors of a file's records, by cosine, among vectors of the same encoder.

    Example: geoembed search table crystal.cif -k 5 --where modality=crystal --where "source=*oxide*"
    """
    from geoembed.cli.console import print_json, quiet_libraries
    from geoembed.cli.console import table as show
    from geoembed.pipeline import search as run
    from geoembed.store.filters import conditions_of

    quiet_libraries()
    logging.getLogger("geoembed.index").setLevel(logging.WARNING)  # why a large table is read as a whole, on stderr
    hits = run(table, query, k, encoder=encoder, where=conditions_of(where or []), exact=exact or None)
    if as_json:
        print_json(hits.to_dict("records"))
        return
    columns = [str(column) for column in hits.columns]
    rows = [tuple(round(v, 6) if isinstance(v, float) else v for v in row) for row in hits.itertuples(index=False)]
    show(f"nearest to {query}", columns, rows)
