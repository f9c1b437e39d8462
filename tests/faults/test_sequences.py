"""Faults 1-4, 7, 16, 17, 65 and 66 for sequences."""

from __future__ import annotations

import bz2
import gzip
import logging
import lzma
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from geoembed import errors
from geoembed.errors import GeoembedError
from geoembed.graphs.sequence import reverse_complement, sequence_graph
from geoembed.io.reader import Reading, read
from geoembed.schema import Graph

RNG = np.random.default_rng(0)
SEQUENCES = ["".join(RNG.choice(list("ACGT"), 90)) for _ in range(60)]
FASTA = "".join(f">s{i}\n{text[:50]}\n{text[50:]}\n" for i, text in enumerate(SEQUENCES))
FASTQ = "".join(f"@s{i}\n{text}\n+\n{'I' * len(text)}\n" for i, text in enumerate(SEQUENCES))
OURS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, GeoembedError)} | {"NotNucleotidesError"}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "geoembed")


def load(tmp_path: Path, content: str | bytes, name: str = "x.fasta") -> tuple[list[Graph], Reading]:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    reading = read(path)
    graphs = list(reading)
    assert reading.records_in == len(graphs) + len(reading.quarantined)
    return graphs, reading


# --- 1, 2 ------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("suffix", "good"), [("fasta", ">a\nACGT\n"), ("fastq", "@a\nACGT\n+\nIIII\n")])
def test_four_broken_files_of_two_hundred_cost_four_records(tmp_path: Path, suffix: str, good: str) -> None:
    broken = {0: "", 1: good.splitlines()[0] + "\n", 100: "ACGT\n", 199: good.replace("ACGT", "AC?T")}
    found = [load(tmp_path, broken.get(i, good), f"x{i}.{suffix}") for i in range(200)]
    assert sum(len(graphs) for graphs, _ in found) == 196
    assert [i for i, (_, reading) in enumerate(found) if reading.quarantined] == [0, 1, 100, 199]
    assert len({reading.quarantined[0].reason.partition("found")[2] for _, reading in found if reading.quarantined}) == 4


# --- 3, 17: cut streams ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "name"), [(FASTA, "x.fasta"), (FASTQ, "x.fastq")])
def test_whole_records_before_a_break_in_a_gzip_stream_are_kept(tmp_path: Path, text: str, name: str) -> None:
    packed = gzip.compress(text.encode())
    for cut in np.random.default_rng(17).integers(40, len(packed) - 9, 10):
        readable = zlib.decompressobj(31).decompress(packed[:cut]).decode()
        lines = readable[: readable.rfind("\n") + 1].splitlines()
        whole = max(sum(line.startswith(">") for line in lines) - 1, 0) if name == "x.fasta" else len(lines) // 4
        graphs, reading = load(tmp_path, packed[:cut], name + ".gz")
        assert [graph.record for graph in graphs] == [f"s{i}" for i in range(whole)]
        (bad,) = reading.quarantined
        assert f"after {len(readable)} decompressed bytes" in bad.reason
        assert bad.error == "TruncatedFileError"


def test_a_gzip_stream_that_ends_before_its_checksum_keeps_its_records_and_says_so(tmp_path: Path) -> None:
    graphs, reading = load(tmp_path, gzip.compress(FASTQ.encode())[:-6], "x.fastq.gz")
    assert len(graphs) == len(SEQUENCES)
    assert len(reading.quarantined) == 1


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
def test_a_break_of_the_other_compressions_is_one_quarantine(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(FASTA.encode())
    graphs, reading = load(tmp_path, packed[: len(packed) // 2], "x.fasta.packed")
    assert [graph.record for graph in graphs] == [f"s{i}" for i in range(len(graphs))]
    assert [bad.error for bad in reading.quarantined] == ["TruncatedFileError"]


def test_members_of_bgzf_and_of_joined_gzip_files_are_read_to_the_end(tmp_path: Path) -> None:
    blocks = b"".join(gzip.compress(FASTA.encode()[i : i + 700]) for i in range(0, len(FASTA), 700))
    end = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")  # the empty block that ends BGZF
    graphs, reading = load(tmp_path, blocks + end, "x.fasta.bgz")
    assert (len(graphs), reading.quarantined) == (len(SEQUENCES), [])


def test_a_plain_text_that_is_cut_is_never_short_without_a_sign(tmp_path: Path) -> None:
    text = ">a\nACGTACGT\n>b\nACGTACGT\n"
    for cut in range(1, len(text)):
        graphs, _ = load(tmp_path, text[:cut])
        assert all(graph.num_nodes == 8 or "no_line_end_at_the_end" in graph.notes for graph in graphs), cut


# --- 4 ---------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "name"), [(FASTA[:600], "x.fasta"), (FASTQ[:800], "x.fastq")])
def test_mutated_bytes_never_raise_anything_but_a_typed_error(tmp_path: Path, text: str, name: str) -> None:
    rng = np.random.default_rng(4)
    for _ in range(100):
        mutated = bytearray(text.encode())
        for place in rng.integers(0, len(text), 3):
            mutated[place] = rng.integers(0, 256)
        start = time.monotonic()
        _, reading = load(tmp_path, bytes(mutated), name)
        assert {bad.error for bad in reading.quarantined} <= OURS, reading.quarantined
        assert time.monotonic() - start < 5


# --- 7, 16 -----------------------------------------------------------------------------------------------------------------------

def test_records_of_one_name_are_all_kept(tmp_path: Path) -> None:
    graphs, _ = load(tmp_path, ">a\nA\n>a\nCC\n>a\nGGG\n")
    assert [(graph.record, graph.num_nodes) for graph in graphs] == [("a", 1), ("a#2", 2), ("a#3", 3)]


def test_one_file_with_every_dialect_at_once(tmp_path: Path) -> None:
    text = "# remark\r\n; remark\r\n\r\n>dna ryk\r\nACGTRYSWKMBDHVN\r\n>rna\r\nacgu\r\n>gaps\r\nAC--GT..A\r\n>empty\r\n>blank\r\nAC GT\r\n"
    graphs, reading = load(tmp_path, text)
    assert [graph.record for graph in graphs] == ["dna", "rna", "gaps", "blank"]
    assert [graph.num_nodes for graph in graphs] == [15, 4, 5, 4]
    assert [dict(graph.notes) for graph in graphs] == [{}, {"uracil_as_thymine": 1}, {"gaps_removed": 4}, {"blanks_removed": 1}]
    assert [bad.record for bad in reading.quarantined] == ["empty"]
    assert graphs[1].token.flatten().tolist() == [0, 1, 2, 3]


def test_the_opposite_strand_of_every_code_is_its_complement() -> None:
    graph = sequence_graph("ACGTRYSWKMBDHVN")
    opposite = reverse_complement(graph.token, torch.tensor([0, 15]))
    assert torch.equal(opposite, sequence_graph("NBDHVKMWSRYACGT").token)
    assert torch.equal(reverse_complement(opposite, torch.tensor([0, 15])), graph.token)


# --- 65, 66 ----------------------------------------------------------------------------------------------------------------------

def test_a_bomb_is_refused_in_little_memory(tmp_path: Path) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    letters = (b"A" * 1023 + b"\n") * 1024
    bomb = packer.compress(b">a\nACGT\n>b\n") + b"".join(packer.compress(letters) for _ in range(90)) + packer.flush()
    assert len(bomb) < 1 << 19
    tracemalloc.start()
    start = time.process_time()
    graphs, reading = load(tmp_path, bomb, "x.fa.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [graph.record for graph in graphs] == ["a"]
    assert [bad.error for bad in reading.quarantined] == ["BudgetError"]
    assert time.process_time() - start < 5
    assert peak < 100 << 20


def test_a_title_never_becomes_a_path(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    graphs, _ = load(inside, ">../../a\nACGT\n")
    assert graphs[0].record == "../../a"
    assert {path.name for path in tmp_path.rglob("*")} == {"inside", "x.fasta"}
