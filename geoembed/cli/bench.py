"""``geoembed bench``: the benchmarks of the checkout, one question a script, their results compared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from geoembed.cli.options import AsJson


def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Questions to measure; 'all' for every one.")] = None,
    quick: Annotated[bool, typer.Option(help="Short runs, kept apart from the committed results.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; by default benchmarks/results.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="A part of a script that has some; may be repeated.")] = None,
    compare: Annotated[tuple[Path, Path] | None, typer.Option(help="Two results, OLD and NEW: exit status 1 where one got worse.")] = None,
    force: Annotated[bool, typer.Option(help="Compare results of different devices.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the questions, as without a name.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure what geoembed is asked to be fast at, each question beside its rivals; without a name, list the questions.

    Example: geoembed bench crystal_encoder --quick
    """
    folder = checkout()
    flags = {"--quick": quick, "--force": force, "--list": listed, "--json": as_json}
    arguments = [*(names or []), *(flag for flag, given in flags.items() if given)]
    if out is not None:
        arguments += ["--out", str(out.resolve())]
    if only:
        arguments += ["--only", *only]
    if compare is not None:
        arguments += ["--compare", *(str(path.resolve()) for path in compare)]
    raise typer.Exit(subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=folder, check=False).returncode)


def checkout() -> Path:
    """The folder that holds ``geoembed`` and ``benchmarks`` beside each other; :class:`MissingExtraError` where there is none."""
    import geoembed
    from geoembed.errors import MissingExtraError

    folder = Path(geoembed.__file__).parents[1]
    if not (folder / "benchmarks" / "catalog.py").is_file():
        raise MissingExtraError(where="geoembed bench", found=f"no benchmarks beside {folder / 'geoembed'}",
                                expected="a checkout of the repository",
                                remedy="The benchmarks come with the repository: clone it and install it with pip install -e .")
    return folder
