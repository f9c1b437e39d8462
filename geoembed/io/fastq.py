"""FASTQ (Cock et al. 2010, Nucleic Acids Res. 38, 1767): titles, letters and qualities, each of any number of lines.

``@`` and ``+`` are qualities too, so a line says nothing alone: qualities are read until there are as many as letters.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from geoembed.errors import GeoembedError, TruncatedFileError, UnreadableFileError, ValueRangeError

_LETTERS = re.compile(r"[A-Za-z.*-]*")
_LOOK_AHEAD = 64


class Entry(NamedTuple):
    """A record of a file: its title, its letters, the line of the title, and what is wrong with it.

    ``cut``: the file ends with its last line, without a line end, and nothing else says that the letters are all.
    """

    title: str
    letters: str
    line: int
    error: GeoembedError | None = None
    cut: bool = False


class NumberedLines(Iterator[str]):
    """Lines with their number, steps back and a look ahead."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self._ahead, self.number = lines, deque[str](), 0
        self._broken: GeoembedError | None = None

    def __next__(self) -> str:
        if not self._ahead and self._broken is not None:
            raise self._broken
        line = self._ahead.popleft() if self._ahead else next(self._lines)
        self.number += 1
        return line

    def back(self, *lines: str) -> None:
        """Give ``lines`` again, in this order."""
        self._ahead.extendleft(reversed(lines))
        self.number -= len(lines)

    def ahead(self, count: int) -> list[str]:
        """Up to ``count`` lines that come next, without taking them; a break in the stream is met when its place is reached."""
        try:
            while self._broken is None and len(self._ahead) < count and (line := next(self._lines, "")):
                self._ahead.append(line)
        except GeoembedError as error:
            self._broken = error
        return [self._ahead[i] for i in range(min(count, len(self._ahead)))]


def fastq_entries(lines: NumberedLines, where: str) -> Iterator[Entry]:
    """(title, letters, line of the title, error) of each read; after a broken one the next that looks whole goes on."""
    for line in lines:
        if not line.strip():
            continue
        start = lines.number
        title = line.strip()[1:]
        place = f"{where}: read {title.split()[0] if title.split() else ''} (line {start})"
        if not line.startswith("@"):
            error: GeoembedError = UnreadableFileError(where=f"{where}: line {start}", found=repr(line.strip()[:40]),
                                                       expected="a title that starts with @", remedy="Correct that line.")
            _skip(lines)
            yield Entry(title, "", start, error)
            continue
        letters, plus = _letters(lines)
        if plus is None:
            _skip(lines)
            yield Entry(title, "", start, TruncatedFileError(where=place, found="no + line", expected="one after the letters",
                                                             remedy="Fetch the file again, or leave the read out."))
            continue
        yield Entry(title, letters, start, _qualities(lines, title, letters, plus, place))


def _letters(lines: NumberedLines) -> tuple[str, str | None]:
    """Letters up to the ``+`` line, and that line; None where a title or the end comes first."""
    parts: list[str] = []
    for line in lines:
        if line.startswith("+"):
            return "".join(parts), line
        if line.startswith("@"):
            lines.back(line)
            break
        parts.append(line.rstrip("\r\n"))
    return "".join(parts), None


def _qualities(lines: NumberedLines, title: str, letters: str, plus: str, place: str) -> GeoembedError | None:
    """Take the qualities of a read; the error where they do not fit it, with the lines given back that may be another read."""
    taken: list[str] = []
    size = 0
    for line in lines:
        taken.append(line)
        size += len(line.rstrip("\r\n"))
        if size >= len(letters):
            break
    qualities = "".join(line.rstrip("\r\n") for line in taken)
    if size != len(letters):
        lines.back(*taken)
        _skip(lines)
        return (ValueRangeError if size > len(letters) else TruncatedFileError)(
            where=place, found=f"{len(taken[0].strip()) if taken else 0} qualities on the first line", expected=f"{len(letters)} in all",
            remedy="Fetch the file again, or leave the read out.",
        )
    following = lines.ahead(1)
    if following and following[0].strip() and not following[0].startswith("@"):
        _skip(lines)
        return ValueRangeError(where=place, found="more lines after its qualities", expected=f"{len(letters)} qualities",
                               remedy="Leave the read out.")
    if plus[1:].strip() and plus[1:].strip() != title.strip():
        return ValueRangeError(where=place, found=f"the title {plus[1:].strip()[:60]!r} on the + line", expected="the same title, or none",
                               remedy="Correct the title; letters and qualities may be of two reads.")
    if " " in letters or "\t" in letters:
        return ValueRangeError(where=place, found="blanks in the letters", expected="letters", remedy="Remove the blanks.")
    if bad := next((letter for letter in qualities if not "!" <= letter <= "~"), ""):
        return ValueRangeError(where=place, found=f"the byte 0x{ord(bad):02x} in its qualities", expected="printable characters ! to ~",
                               remedy="Fetch the file again, or leave the read out.")
    return None


def _skip(lines: NumberedLines) -> None:
    """Drop lines up to one that begins a whole read: a title, letters only, a + line."""
    while upcoming := lines.ahead(_LOOK_AHEAD):
        if upcoming[0].startswith("@"):
            plus = next((i for i, line in enumerate(upcoming[1:], 1) if not _LETTERS.fullmatch(line.strip())), 0)
            if plus > 1 and upcoming[plus].startswith("+"):
                return
        next(lines)
