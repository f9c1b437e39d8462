"""The verbs, registered; their modules import what they need when they run."""

from __future__ import annotations

import sys
from io import TextIOWrapper

import typer

from geoembed.cli.bench import bench
from geoembed.cli.build import build
from geoembed.cli.demo import demo
from geoembed.cli.doctor import doctor
from geoembed.cli.embed import embed
from geoembed.cli.export import export
from geoembed.cli.index import index
from geoembed.cli.inspect import inspect
from geoembed.cli.merge import merge
from geoembed.cli.names import names
from geoembed.cli.search import search
from geoembed.cli.verify import verify
from geoembed.errors import GeoembedError

USAGE = 2
"""Exit status of a wrong call; 1 is for quarantined records, 0 for all well."""

app = typer.Typer(
    name="geoembed", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Scientific files to graphs, graphs to unit vectors, vectors to a table that can be searched.",
    epilog="Start with: geoembed demo",
)
for _verb in (demo, inspect, embed, search, index, build, merge, verify, export, bench, doctor):
    app.command()(_verb)
app.command("list")(names)


def main() -> None:
    """Run the command line; a typed error becomes its message and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name may hold bytes that are no text
    try:
        app()
    except GeoembedError as error:
        print(f"geoembed: {error}", file=sys.stderr)
        sys.exit(USAGE)
