"""FASTA and FASTQ: the letters of the file as dnaio reads them, and its dialects where dnaio stops."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from random import Random

import dnaio
import pytest
from geoembed.errors import BudgetError, EmptyGraphError, TruncatedFileError, UnreadableFileError, ValueRangeError
from geoembed.io.reader import read
from geoembed.io.record import BadRecord, Record
from geoembed.io.sequences import Sequences
from hypothesis import given
from hypothesis import strategies as st

LETTERS = "ACGTNRYSWKMBDHVacgtu"


def records(tmp_path: Path, content: str | bytes, name: str = "x.fasta") -> list[Record | BadRecord]:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(Sequences().records(path))


def pairs(found: list[Record | BadRecord]) -> list[tuple[str, str]]:
    assert all(isinstance(record, Record) for record in found), found
    return [(record.key, record.payload) for record in found if isinstance(record, Record)]


def error_of(record: Record | BadRecord) -> Exception:
    assert isinstance(record, BadRecord)
    return record.error


ENDS = st.sampled_from(["\n", "\r\n"])


@given(st.lists(st.text(LETTERS, min_size=1, max_size=200), min_size=1, max_size=8), st.integers(1, 80), ENDS)
def test_fasta_of_any_line_length_is_read_as_dnaio_reads_it(
    tmp_path_factory: pytest.TempPathFactory, sequences: list[str], width: int, end: str
) -> None:
    path = tmp_path_factory.mktemp("fasta") / "x.fasta"
    path.write_bytes("".join(f">s{i} about{end}" + "".join(text[j : j + width] + end for j in range(0, len(text), width))
                             for i, text in enumerate(sequences)).encode())
    with dnaio.open(path) as reference:
        assert pairs(list(Sequences().records(path))) == [(one.name.split()[0], one.sequence) for one in reference]


@given(st.lists(st.text(LETTERS, min_size=1, max_size=60), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_fastq_is_read_as_dnaio_reads_it_whatever_its_qualities(
    tmp_path_factory: pytest.TempPathFactory, sequences: list[str], random: Random
) -> None:
    path = tmp_path_factory.mktemp("fastq") / "x.fastq"
    qualities = ["".join(chr(random.randint(33, 126)) for _ in text) for text in sequences]
    reads = enumerate(zip(sequences, qualities, strict=True))
    path.write_text("".join(f"@r{i} x\n{text}\n+\n{quality}\n" for i, (text, quality) in reads))
    with dnaio.open(path) as reference:
        assert pairs(list(Sequences().records(path))) == [(one.name.split()[0], one.sequence) for one in reference]


def test_wrapped_fastq_is_one_read_a_title(tmp_path: Path) -> None:
    text = "@a\nACGT\nACG\n+a\n@@@@\n+++\n@b\nTT\n+\n@+\n"
    assert pairs(records(tmp_path, text, "x.fq")) == [("a", "ACGTACG"), ("b", "TT")]


def test_comments_blank_lines_and_one_base_a_line(tmp_path: Path) -> None:
    text = "# made by hand\n; old style\n\n \t\n>a first\nA\nC\n\nG\n;a remark\nT\n>b\nTTT\n"
    found = records(tmp_path, text)
    assert pairs(found) == [("a", "ACGT"), ("b", "TTT")]


def test_blanks_inside_are_removed_and_noted_gaps_and_uracil_by_the_builder(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text(">a\nAC GU\tA\n-A.\n")
    (graph,) = read(path, on_error="raise")
    assert graph.notes == {"blanks_removed": 2, "gaps_removed": 2, "uracil_as_thymine": 1}
    assert graph.token.flatten().tolist() == [0, 1, 2, 3, 0, 0]  # A C G T A A


def test_titles_give_keys_and_repeated_ones_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text(">a one\nA\n>a two\nC\n>\nG\n>κ\nT\n", encoding="utf-8")
    assert [graph.record for graph in read(path, on_error="raise")] == ["a", "a#2", "record-3", "κ"]


def two_members(data: bytes) -> bytes:
    return gzip.compress(data[:9]) + gzip.compress(data[9:])


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, two_members])
def test_any_compression_gives_the_same_records(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    content = b">a\nACGT\n>b\nTTTT\n"
    assert pairs(records(tmp_path, pack(content), "x.fa.packed")) == [("a", "ACGT"), ("b", "TTTT")]


def test_an_empty_record_is_left_out_and_the_rest_read(tmp_path: Path) -> None:
    found = records(tmp_path, ">a\nACGT\n>b\n>c\n \n>d\n--\n>e\nA\n")
    assert [type(record).__name__ for record in found] == ["Record", "BadRecord", "BadRecord", "BadRecord", "Record"]
    with pytest.raises(EmptyGraphError, match=r"record 2 \(b, line 3\): found no nucleotide.*Leave the record out"):
        raise error_of(found[1])


def test_one_protein_among_nucleotides_is_left_out_with_its_place(tmp_path: Path) -> None:
    found = records(tmp_path, ">a\nACGT\n>p\nMENLNMDLL\n")
    with pytest.raises(ValueRangeError, match=r"record 2 \(p, line 3\): found the amino acids EL, first at position 2"):
        raise error_of(found[1])


@pytest.mark.parametrize(("text", "match"), [
    (">p\nMENLNMDLLYMAAAV\n>q\nMENL*\n", "the amino acids.*give the nucleotides"),
    (">a\n1 2 3 4\n>b\n42 41\n", "numbers, as in a QUAL file"),
])
def test_a_file_of_something_else_is_one_error(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(UnreadableFileError, match=match):
        records(tmp_path, text)


def test_letters_before_a_title_a_trace_and_an_empty_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"line 1: found 'ACGT'.*Put a title before it"):
        records(tmp_path, "ACGT\n>a\nA\n")
    with pytest.raises(UnreadableFileError, match=r"Sanger trace.*Export the base calls"):
        records(tmp_path, b"ABIF\0\1", "x.ab1")
    with pytest.raises(EmptyGraphError, match="no sequence"):
        records(tmp_path, "# only a comment\n\n")


READ = "@r{0}\nACGTA\n+\nIIIII\n"
BROKEN = {
    "short qualities": ("@b\nACGTA\n+\nIII\n", ValueRangeError, "3 qualities on the first line; expected 5"),
    "long qualities": ("@b\nACGTA\n+\nIIIIIIII\n", ValueRangeError, "8 qualities on the first line; expected 5"),
    "two quality lines": ("@b\nACGTA\n+\nIIIII\nIIIII\n", ValueRangeError, "more lines after its qualities"),
    "another title": ("@b\nACGTA\n+c\nIIIII\n", ValueRangeError, r"the title 'c' on the \+ line"),
    "a zero byte": ("@b\nACGTA\n+\nII\0II\n", ValueRangeError, "byte 0x00"),
    "an escape": ("@b\nACGTA\n+\nII\x1bII\n", ValueRangeError, "byte 0x1b"),
    "blanks": ("@b\nAC GT\n+\nIIIII\n", ValueRangeError, "blanks in the letters"),
    "no plus": ("@b\nACGTA\n", TruncatedFileError, r"no \+ line"), "no letters": ("@b\n\n+\n\n", EmptyGraphError, "no nucleotide"),
    "a stray line": ("\nIIIII\n", UnreadableFileError, "a title that starts with @"),
    "a letter that is none": ("@b\nAC!TA\n+\nIIIII\n", ValueRangeError, "'!', first at position 3"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_read_costs_itself_only(tmp_path: Path, fault: str) -> None:
    text, kind, match = BROKEN[fault]
    found = records(tmp_path, READ.format(1) + READ.format(2) + text + READ.format(3) + READ.format(4), "x.fastq")
    bad = [record for record in found if isinstance(record, BadRecord)]
    good = [record.key for record in found if isinstance(record, Record)]
    assert (len(bad), good) == (1, ["r1", "r2", "r3", "r4"])
    with pytest.raises(kind, match=match):
        raise error_of(bad[0])


def test_a_read_that_the_end_cuts_is_named(tmp_path: Path) -> None:
    for cut in ("@b\nACG", "@b\nACGTA\n+", "@b\nACGTA\n+\nII"):
        found = records(tmp_path, READ.format(1) + cut, "x.fastq")
        assert [record.key for record in found] == ["r1", "b"]
        with pytest.raises(TruncatedFileError, match=r"read b \(line 5\).*Fetch the file again"):
            raise error_of(found[1])


def test_a_chromosome_is_refused_and_what_follows_is_read(tmp_path: Path) -> None:
    found = records(tmp_path, ">a\nACGT\n>chr\n" + ("ACGT" * 250_000 + "\n") * 9 + ">b\nTT\n")
    with pytest.raises(BudgetError, match=r"more than \d+ letters in one sequence.*Split the sequence"):
        raise error_of(found[1])
    assert [record.key for record in found] == ["a", "chr", "b"]
    assert isinstance(found[2], Record)


def test_content_opens_a_file_of_any_name() -> None:
    reader = Sequences()
    assert all(reader.can_open(head, "f002") for head in (b">a\nACGT", b"\n#c\n>a\nA", b"@r\nACGT\n+\nIIII\n", b"ABIF\0"))
    assert reader.can_open(b"ACGT", "x.fasta")
    assert not any(reader.can_open(head, "f002") for head in (b"@HD\tVN:1.6\n@SQ\t", b"ACGT\n", b"a > b", b">\0\1\n"))


def test_a_lineage_in_the_title_is_a_label_in_the_notes(tmp_path: Path) -> None:
    path = tmp_path / "its.fasta"
    path.write_text(">KY1|k__Fungi;p__Ascomycota;c__;o__Saccharomycetales;s__Zygo_mrakii|SH1.09FU\nACGT\n>plain k__ no\nACGT\n")
    first, second = Sequences().records(path)
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert first.notes == {"lineage": "Fungi,Ascomycota,,Saccharomycetales,Zygo_mrakii"}
    assert second.notes == {}
    assert first.payload == second.payload == "ACGT"
