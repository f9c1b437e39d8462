"""All benchmarks by one command: ``python -m benchmarks [NAME …]``; without a name, the questions. ``geoembed bench`` is the same."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.catalog import QUESTIONS
from benchmarks.compare import compare_files, print_changes
from benchmarks.tables import HEAD, cells, lines

FAILED = 1
USAGE = 2


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("names", nargs="*", metavar="NAME", help="questions to measure; 'all' for every one")
    options.add_argument("--list", action="store_true", help="list the questions")
    options.add_argument("--quick", action="store_true", help="short runs, kept apart from the results of the checkout")
    options.add_argument("--only", nargs="+", default=[], metavar="PART", help="parts of scripts that have some")
    options.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options.add_argument("--out", type=Path, help="folder of the results")
    options.add_argument("--compare", nargs=2, type=Path, metavar=("OLD", "NEW"), help="say what two results differ by")
    options.add_argument("--force", action="store_true", help="compare results of different devices")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 where a script failed or a figure got worse, 2 for a wrong call."""
    options = parser().parse_args(arguments)
    if options.compare:
        changes = compare_files(*options.compare, force=options.force)
        return print_changes(changes, options.json)
    if options.list or not options.names:
        return show_questions(options.json)
    names = list(QUESTIONS) if options.names == ["all"] else options.names
    if unknown := [name for name in names if name not in QUESTIONS]:
        print(f"No benchmark is called {', '.join(unknown)}; there are {', '.join(QUESTIONS)}.", file=sys.stderr)
        return USAGE
    from benchmarks.runner import run_all  # it imports torch, which a list does not need

    outcomes = run_all(names, quick=options.quick, out=options.out, only=options.only)
    if options.json:
        print(json.dumps([asdict(one) for one in outcomes], indent=1, ensure_ascii=False))
    else:
        print("\n".join(lines(HEAD, [cells(row) for one in outcomes for row in one.rows])))
        for one in outcomes:
            print(f"{one.name}: {one.status}, {one.seconds:.0f} s" + (f": {one.reason}" if one.reason else ""))
    return FAILED if any(one.status == "failed" for one in outcomes) else 0


def show_questions(as_json: bool) -> int:
    """Every question with one line."""
    if as_json:
        print(json.dumps([asdict(one) for one in QUESTIONS.values()], indent=1, ensure_ascii=False))
    else:
        print("\n".join(lines(("name", "where", "question"), [(one.name, one.where, one.line + (f" ({one.needs})" if one.needs else ""))
                                                             for one in QUESTIONS.values()], left=True)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
