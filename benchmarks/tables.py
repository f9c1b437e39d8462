"""Rows of results as lines of text, for a terminal of any width and machines without a library for tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

HEAD = ("question", "ours", "rival", "ratio", "spread", "goal", "met", "error")


def print_rows(rows: Iterable[Mapping[str, object]]) -> None:
    """The columns of :data:`HEAD` of every row, the name of the rival below its question."""
    print("\n".join(lines(HEAD, [cells(one) for one in rows])), flush=True)


def cells(one: Mapping[str, object]) -> tuple[str, ...]:
    """A row of a result as text; what was not measured is a dash."""
    rival = one.get("rival_name")
    question = f"{one['question']}" + (f" | {rival}" if rival else "")
    if "failure" in one:
        return question, "failed", str(one["failure"]).splitlines()[0][:60], *["-"] * 3, said(one.get("met")), "-"
    return (question, *(number(one.get(name)) for name in ("ours", "rival", "ratio", "iqr")), number(one.get("goal"))[:34],
            said(one.get("met")), number(one.get("error")))


def number(value: object) -> str:
    """Four digits of a number; text as it is.

    >>> number(0.0123456), number(1234567.0), number(None), number("≤ 2 ms")
    ('0.01235', '1,234,567', '-', '≤ 2 ms')
    """
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def said(met: object) -> str:
    """Whether a goal is met, in a word."""
    return "-" if met is None else "yes" if met else "NO"


def lines(head: Sequence[str], body: Sequence[Sequence[str]], left: bool = False) -> list[str]:
    """Columns as wide as they need to be, the first to the left, the others to the right unless ``left``."""
    whole = [tuple(head), *map(tuple, body)]
    widths = [max(len(line[i]) for line in whole) for i in range(len(head))]
    side = "<" if left else ">"
    text = [f"{line[0]:<{widths[0]}}  " + "  ".join(f"{cell:{side}{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
            for line in whole]
    return [text[0].rstrip(), "-" * len(text[0]), *(line.rstrip() for line in text[1:])]
