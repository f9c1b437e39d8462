"""``geoembed verify``: is a store or table what its list says?"""

from __future__ import annotations

from typing import Annotated

import typer

from geoembed.cli.options import AsJson


def verify(
    folder: Annotated[str, typer.Argument(help="A store or a table, in a folder or at a URL.")],
    as_json: AsJson = False,
) -> None:
    """Check every file of a store or table against its checksum and counts; exit status 1 if something is wrong.

    Example: geoembed verify graphs
    """
    from geoembed.cli.console import console, print_json
    from geoembed.cli.console import table as show
    from geoembed.store import verify as run

    findings = run(folder)
    if as_json:
        print_json({"folder": folder, "findings": [finding.__dict__ for finding in findings]})
    elif findings:
        show(f"wrong in {folder}", ("file", "found", "expected"), [(f.file, f.found, f.expected) for f in findings])
    else:
        console().print(f"{folder}: every file is what its list says")
    raise typer.Exit(1 if findings else 0)
