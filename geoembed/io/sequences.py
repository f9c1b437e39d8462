"""Nucleotide sequences as FASTA and FASTQ, plain or compressed; streamed, so that whole records before a break are kept."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from geoembed.errors import BudgetError, EmptyGraphError, GeoembedError, UnreadableFileError, ValueRangeError
from geoembed.graphs.sequence import sequence_graph
from geoembed.io.budget import LIMIT
from geoembed.io.fastq import Entry, NumberedLines, fastq_entries
from geoembed.io.opener import open_stream
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Graph, Scalar

_NUCLEOTIDES = str.maketrans("", "", "ACGTUNRYSWKMBDHVacgtunryswkmbdhv-.")
_BLANKS = str.maketrans("", "", " \t\r\n\v\f")
_PROTEIN = frozenset("EFILPQZXJO*")
_FASTQ = re.compile(rb"@[^\r\n]*\r?\n[A-Za-z.*\- \t\r\n]*\r?\n?\+")
_COMMENTS = re.compile(rb"\A(?:\xef\xbb\xbf)?(?:[ \t]*(?:[#;][^\r\n]*)?[\r\n]+)*")
_LINEAGE = re.compile(r"[dk]__[^;|\s]*(?:;[pcofgst]__[^;|\s]*)+")  # as UNITE and Greengenes write it; a label
_LONGEST = LIMIT // 256  # letters; a chain graph with its edges takes some 256 bytes a base
_LONGEST_LINE = 1 << 26


class Sequences:
    """FASTA and FASTQ: one record a sequence, its key the first word of the title.

    Tolerated and noted: comments (``#``, ``;``) and blank lines, any line ends and line lengths, wrapped FASTQ, RNA, gaps, blanks
    inside a sequence. Refused: proteins, QUAL files, binary traces (.ab1), reads whose qualities do not fit.
    """

    kind = "chain"
    suffixes = (".fasta", ".fa", ".fna", ".fas", ".fsa", ".ffn", ".fastq", ".fq", ".ab1")
    streams = True

    def can_open(self, head: bytes, name: str) -> bool:
        """By the first character after comments, ``>`` or ``@``, else by the suffix of a text."""
        if head.startswith(b"ABIF"):
            return True
        body = _COMMENTS.sub(b"", head, count=1)
        if b"\0" in body.partition(b"\n")[0]:
            return False
        return body.startswith(b">") or bool(_FASTQ.match(body)) or name.endswith(self.suffixes)

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """One record a sequence; a file whose first ten records are all no nucleotides is refused as a whole."""
        items = _records(path)
        first: list[Record | BadRecord] = []
        broken: GeoembedError | None = None
        try:
            first.extend(islice(items, 10))
        except GeoembedError as error:  # a break in the stream: raised again when its place is reached
            broken = error
        others = [item for item in first if isinstance(item, BadRecord) and isinstance(item.error, NotNucleotidesError)]
        if first and len(others) == len(first):
            raise UnreadableFileError(
                where=path, found=str(others[0].error).partition("found ")[2].partition(";")[0], expected="nucleotide sequences",
                remedy="Proteins and qualities are other data; give the nucleotides.",
            ) from others[0].error
        yield from first
        if broken is not None:
            raise broken
        yield from items

    def to_graph(self, record: Record) -> Graph:
        """The sequence as a chain of bases."""
        return sequence_graph(record.payload)


class NotNucleotidesError(ValueRangeError):
    """A sequence, but not of nucleotides: amino acids or numbers."""


def _records(path: Path) -> Iterator[Record | BadRecord]:
    with open_stream(path) as stream:
        if stream.read(4) == b"ABIF":
            raise UnreadableFileError(where=path, found="a Sanger trace (ABI)", expected="FASTA or FASTQ",
                                      remedy="Export the base calls of the trace as FASTA or FASTQ.")
    with open_stream(path) as stream:
        # Every byte is a letter of latin-1, so a stray byte reaches the check of its record and not a decoder.
        text = io.TextIOWrapper(stream, encoding="latin-1")
        lines = NumberedLines(iter(lambda: text.readline(_LONGEST_LINE), ""))
        found = False
        for number, entry in enumerate(_entries(lines, str(path)), 1):
            found = True
            words = entry.title.split()
            key = words[0].encode("latin-1").decode("utf-8", "replace") if words else f"record-{number}"
            if entry.error is not None:
                yield BadRecord(key, entry.error)
                continue
            record = nucleotide_record(key, entry.letters, f"{path}: record {number} ({key}, line {entry.line})")
            labels: dict[str, Scalar] = {"no_line_end_at_the_end": True} if entry.cut else {}
            if lineage := _LINEAGE.search(entry.title):
                labels["lineage"] = ",".join(rank[3:] for rank in lineage[0].split(";"))
            yield Record(key, record.payload, {**record.notes, **labels}) if labels and isinstance(record, Record) else record
        if not found:
            raise EmptyGraphError(where=path, found="no sequence", expected="at least one", remedy="Leave the file out.")


def _entries(lines: NumberedLines, where: str) -> Iterator[Entry]:
    """(title, letters, line of the title, error) of each record, in whichever of the two formats the file is."""
    for line in lines:
        text = line.removeprefix("\xef\xbb\xbf").strip()
        if text.startswith(("#", ";")) or not text:
            continue
        lines.back(text)
        if text.startswith(">"):
            yield from _fasta(lines, where)
        elif text.startswith("@"):
            yield from fastq_entries(lines, where)
        else:
            raise UnreadableFileError(where=f"{where}: line {lines.number + 1}", found=repr(text[:40]),
                                      expected="a title that starts with > (FASTA) or @ (FASTQ)", remedy="Put a title before it.")


def _fasta(lines: NumberedLines, where: str) -> Iterator[Entry]:
    title, start, size = next(lines).strip()[1:], lines.number, 0
    parts: list[str] = []
    error: GeoembedError | None = None
    line = "\n"
    for line in lines:
        if line.startswith(">"):
            yield Entry(title, "".join(parts), start, error)
            title, start, parts, size, error = line.strip()[1:], lines.number, [], 0, None
        elif not line.startswith(";") and error is None:
            size += len(line)
            parts.append(line.rstrip("\r\n"))
            if size > _LONGEST:
                parts = []
                error = BudgetError(where=f"{where}: line {lines.number}", found=f"more than {_LONGEST} letters in one sequence",
                                    expected="a gene or a read", remedy="Split the sequence.")
    yield Entry(title, "".join(parts), start, error, not line.endswith("\n"))


def nucleotide_record(key: str, letters: str, where: str) -> Record | BadRecord:
    """The record of a sequence, blanks removed and noted, or the reason why it is none of nucleotides."""
    bases = letters.translate(_BLANKS)
    if wrong := bases.translate(_NUCLEOTIDES):
        return BadRecord(key, _no_nucleotides(bases, wrong, where))
    if not bases.strip("-."):
        return BadRecord(key, EmptyGraphError(where=where, found="no nucleotide", expected="at least one", remedy="Leave the record out."))
    notes: dict[str, Scalar] = {"blanks_removed": len(letters) - len(bases)} if len(letters) > len(bases) else {}
    return Record(key, bases, notes)


def _no_nucleotides(bases: str, wrong: str, where: str) -> ValueRangeError:
    letters, cause = "".join(sorted(set(wrong)))[:20], ValueRangeError
    kind = f"{letters!r}"
    if wrong.isdigit():
        kind, cause = "numbers, as in a QUAL file", NotNucleotidesError
    elif set(wrong.upper()) <= _PROTEIN and len(wrong) > 0.05 * len(bases):
        kind, cause = f"the amino acids {letters}", NotNucleotidesError
    place = next(i for i, letter in enumerate(bases, 1) if letter == wrong[0])
    return cause(where=where, found=f"{kind}, first at position {place}", expected="IUPAC nucleotide codes",
                 remedy="Give nucleotides; leave other records out.")
