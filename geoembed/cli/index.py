"""``geoembed index``: an index for a table too large to be read for every question."""

from __future__ import annotations

from typing import Annotated

import typer

from geoembed.cli.options import AsJson


def index(
    table: Annotated[str, typer.Argument(help="Folder of a table made by geoembed embed.")],
    encoder: Annotated[str | None, typer.Option(help="Encoder whose rows are indexed, where the table holds several.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make the index of a large table, in TABLE/index, and measure what it finds: recall@10 on rows of the table itself.

    It is made of the table as it is now, and may be deleted and made again; after the table has changed it is not used. Up to a
    million rows every search is exact and needs none.

    Example: geoembed index table
    """
    from dataclasses import asdict

    from geoembed.cli.console import print_json, quiet_libraries
    from geoembed.cli.console import table as show
    from geoembed.store import open_table

    quiet_libraries()
    made = open_table(table).build_index(encoder)
    size = sum(made.files.values())
    if as_json:
        shown = {name: value for name, value in asdict(made).items() if name != "files"}
        print_json({"table": table, **shown, "files": len(made.files), "bytes": size})
        return
    show(f"index of {table}", ("what", "how many"), [
        ("rows", f"{made.rows:,}"), (f"recall@10 of {made.sample:,} rows", f"{made.recall:.3f}"),
        ("partitions looked into", f"{made.probes} of {made.partitions:,}"), ("files", f"{len(made.files)}, {size / 2**20:,.0f} MiB"),
        ("time", f"{made.seconds:.1f} s"),
    ])
