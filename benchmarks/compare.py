"""What two results of one script differ by: ``python -m benchmarks.compare OLD.json NEW.json``; exit status 1 on a regression.

A time or rate has changed where the medians differ by more than the two interquartile ranges together; less is noise. Worse is also:
bits that no longer repeat, more than 2 % more memory, a goal that is no longer met, and a call of ours that no longer runs. Results of
different devices are refused.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.tables import lines, number

MEMORY = 1.02
REGRESSIONS = frozenset({"slower", "failed", "not bitwise", "more memory", "goal lost"})
SHOWN = (*sorted(REGRESSIONS), "faster", "less memory", "goal met", "runs again", "gone", "new", "same")


@dataclass(frozen=True)
class Change:
    """One row, or one property of it, in both results."""

    kind: str
    """One of :data:`SHOWN`."""
    question: str
    rival: str
    old: float | None
    new: float | None
    ratio: float | None
    """How many times better the new figure is."""
    noise: float | None
    """The two interquartile ranges together, in the unit of the figure."""

    @property
    def is_regression(self) -> bool:
        """Whether the result got worse."""
        return self.kind in REGRESSIONS


def compare(old: Mapping[str, Any], new: Mapping[str, Any], *, force: bool = False) -> list[Change]:
    """Changes from one document to another, worst first; ``SystemExit`` where their devices differ, unless ``force``."""
    cards = [tuple(document["environment"].get(name) for name in ("device", "card")) for document in (old, new)]
    if cards[0] != cards[1] and not force:
        said = " and ".join(str(card or device) for device, card in cards)
        raise SystemExit(f"The results are of different devices, {said}: their times say nothing of each other. --force compares them.")
    before, after = keyed(old["rows"]), keyed(new["rows"])
    changes = [change for key in before.keys() & after.keys() for change in _changes(key, before[key], after[key])]
    changes += [_present("gone", key, row, None) for key, row in before.items() if key not in after]
    changes += [_present("new", key, None, row) for key, row in after.items() if key not in before]
    return sorted(changes, key=lambda change: (SHOWN.index(change.kind), change.question, change.rival))


def compare_files(old: Path, new: Path, *, force: bool = False) -> list[Change]:
    """:func:`compare` of two files; ``SystemExit`` names one that is not there or is no result."""
    documents = []
    for path in (old, new):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SystemExit(f"{path}: {error}") from error
        if not isinstance(document, dict) or not {"environment", "rows"} <= document.keys():
            raise SystemExit(f"{path}: no result of a benchmark, which has an environment and rows")
        documents.append(document)
    return compare(*documents, force=force)


def keyed(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Rows by question and rival."""
    return {(str(row["question"]), str(row.get("rival_name") or "")): row for row in rows}


def lower_is_better(row: Mapping[str, Any]) -> bool:
    """As the row says; an older row says it by its ratio, which is how many times better ours is."""
    if "better" in row:
        return bool(row["better"] == "lower")
    ours, rival, ratio = (row.get(name) for name in ("ours", "rival", "ratio"))
    if ours and rival and ratio and ours != rival:
        as_time, as_rate = (abs(math.log(ratio / expected)) for expected in (rival / ours, ours / rival))
        return as_time <= as_rate
    return not any(mark in str(row["question"]) for mark in ("/s", "a second", "recall"))


def _changes(key: tuple[str, str], old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """What happened to one row: the figure, and what else got better or worse."""
    was, now = old.get("ours"), new.get("ours")
    if was is None or now is None:
        broke = new.get("failed") == "ours" and old.get("failed") != "ours"
        kind = "failed" if broke else "runs again" if was is None and now is not None else "same"
        return [Change(kind, *key, was, now, None, None)]
    noise = float(old.get("iqr") or 0.0) + float(new.get("iqr") or 0.0)
    above, below = (was, now) if lower_is_better(new) else (now, was)
    better = above / below if below else None
    kind = "same" if abs(now - was) <= noise else "faster" if above > below else "slower"
    found = [Change(kind, *key, was, now, better, noise)]
    if old.get("bitwise") is True and new.get("bitwise") is False:
        found.append(Change("not bitwise", *key, None, None, None, None))
    held, holds = old.get("peak_gb"), new.get("peak_gb")
    if held and holds and not 1 / MEMORY <= holds / held <= MEMORY:
        found.append(Change("more memory" if holds > held else "less memory", *key, held, holds, held / holds, None))
    if kind != "same" and isinstance(old.get("met"), bool) and isinstance(new.get("met"), bool) and old["met"] != new["met"]:
        found.append(Change("goal met" if new["met"] else "goal lost", *key, was, now, better, noise))
    return found


def _present(kind: str, key: tuple[str, str], old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Change:
    return Change(kind, *key, old.get("ours") if old else None, new.get("ours") if new else None, None, None)


def print_changes(changes: list[Change], as_json: bool = False) -> int:
    """A table of the changes, those that stay the same counted; the exit status."""
    regressions = sum(change.is_regression for change in changes)
    if as_json:
        print(json.dumps({"regressions": regressions, "changes": [asdict(change) for change in changes]}, indent=1, ensure_ascii=False))
        return int(regressions > 0)
    body = [(change.question + (f" | {change.rival}" if change.rival else ""), change.kind, number(change.old), number(change.new),
             number(change.ratio), number(change.noise)) for change in changes if change.kind != "same"]
    if body:
        print("\n".join(lines(("question", "what", "old", "new", "times better", "noise"), body)))
    same = sum(change.kind == "same" for change in changes)
    print(f"{regressions} worse, {sum(change.kind == 'faster' for change in changes)} faster, {same} within their spread")
    return int(regressions > 0)


def main() -> int:
    """Compare two files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--force", action="store_true", help="compare results of different devices")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    return print_changes(compare_files(options.old, options.new, force=options.force), options.json)


if __name__ == "__main__":
    sys.exit(main())
