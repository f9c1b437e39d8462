"""Fault 4 over every format: mutated files give graphs or typed reasons, in seconds, and never end the process.

Seeds are fixed; ``make fuzz`` goes on with others for FUZZ_MINUTES.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geoembed.io import reader
from geoembed.io.record import Record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz_samples import names, sample_called
from fuzzing import MUTATIONS, Fuzzer, Sample, judge, mutated
from hostile_files import install

MUTANTS = 300
SLOW = {"dna-barcodes.fasta": 100}
"""Of a file that takes 36 ms there are fewer; the others take 1 to 12 ms, all together a minute."""


@pytest.fixture(scope="module")
def fuzzer() -> Iterator[Fuzzer]:
    with Fuzzer() as running:
        yield running


@pytest.mark.parametrize("name", names())
def test_mutated_files_give_graphs_or_typed_reasons_and_the_process_lives(name: str, fuzzer: Fuzzer) -> None:
    found = fuzzer.run(sample_called(name), [f"ci:{number}" for number in range(SLOW.get(name, MUTANTS))])
    assert not found.defects, found.defects[:5]
    assert sum(found.outcomes.values()) >= SLOW.get(name, MUTANTS)
    assert len(found.outcomes) > 1  # the mutations do something


@pytest.mark.parametrize("name", names())
def test_the_whole_file_is_read(name: str, tmp_path: Path) -> None:
    whole = sample_called(name)
    (tmp_path / name).write_bytes(whole.data)
    outcomes, defect = judge(tmp_path / name)
    assert not defect
    assert outcomes["graph"] >= 1
    assert set(outcomes) <= {"graph", "EmptyGraphError"}  # BOLD writes None where there is no sequence


# The harness itself


def test_mutations_depend_on_the_seed_alone_and_each_changes_the_file() -> None:
    data = bytes(range(256)) * 20 + b" 12.5 nan 7e3 "
    for mutation in MUTATIONS:
        first, second = (mutation(data, random.Random(3)) for _ in range(2))
        assert first == second
    assert sum(mutated(data, f"s{number}") != data for number in range(200)) > 190
    assert len({mutated(data, f"s{number}") for number in range(200)}) > 190


@pytest.mark.parametrize(("wrong", "what"), [
    (KeyError("tree"), "KeyError left the reader at read"),
    (ZeroDivisionError(), "ZeroDivisionError left the reader"),
])
def test_an_exception_that_is_not_ours_is_a_finding(wrong: Exception, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, path: Path) -> Iterator[Record]:
        raise wrong
        yield

    monkeypatch.setattr(type(reader.readers()["sequences"]), "records", broken)
    (tmp_path / "x.fasta").write_bytes(b">a\nACGT\n")
    assert judge(tmp_path / "x.fasta")[1].startswith(what)


class Whole(Sample):
    """A sample that is not mutated: the seed is its content."""

    def mutation(self, seed: str) -> tuple[str, bytes]:
        return self.name, f"HOSTILE\n{seed}\n".encode()


def test_a_process_that_dies_or_hangs_is_a_finding_and_the_next_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(install(tmp_path / "plugin"))
    monkeypatch.setattr("fuzzing.SECONDS", 1.0)
    with Fuzzer() as running:
        found = running.run(Whole("x.hostile", b""), ["record a", "sleep 60", "record b", "kill SIGSEGV"])
    assert found.outcomes == Counter(graph=2)
    assert found.defects == [("sleep 60", "nothing for 6 s"), ("kill SIGSEGV", "the process died with code -11")]


# Texts that are nearly right: structure from a grammar, content from anywhere

CELLS = st.one_of(
    st.floats(allow_nan=True, width=32).map(repr), st.integers(-10**30, 10**30).map(str), st.text(max_size=6),
    st.sampled_from(["", "nan", "inf", "-999", "99.99", "1e400", "0x10", "1,5", "g", "r", "ztfg", '"', "'", "None", "−1", "１２"]),
)
COLUMNS = st.sampled_from([
    "mjd", "jd", "time", "mag", "magerr", "flux", "flux_err", "band", "filter", "object_id", "zp", "wavelength", "loglam", "ivar", "z",
    "processid", "nucraw", "species", "pt", "eta", "phi", "lat", "lon", "t2m", "cif", "x", "",
])
WORD = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)


@st.composite
def tables(draw: Any) -> bytes:
    columns = draw(st.lists(COLUMNS, min_size=1, max_size=6))
    rows = draw(st.lists(st.lists(CELLS, min_size=max(0, len(columns) - 1), max_size=len(columns) + 1), max_size=8))
    separator, end = draw(st.sampled_from([",", "\t", ";", " "])), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    return end.join(separator.join(line) for line in [columns, *rows]).encode("utf-8", "surrogatepass")


@st.composite
def sequences(draw: Any) -> bytes:
    letters = st.text(st.sampled_from("ACGTUNRYKMacgtn-.* \tEFLQ0!>@+"), max_size=40)
    if draw(st.booleans()):
        lines = [line for _ in range(draw(st.integers(0, 4))) for line in (f">{draw(WORD)}", draw(letters), draw(letters))]
    else:
        lines = [line for _ in range(draw(st.integers(0, 4))) for line in (f"@{draw(WORD)}", draw(letters), "+", draw(letters))]
    return draw(st.sampled_from(["\n", "\r\n", "\n\n"])).join(lines).encode("utf-8", "surrogatepass")


@st.composite
def supernovae(draw: Any) -> bytes:
    names = draw(st.lists(st.sampled_from(["MJD", "FLT", "BAND", "FLUXCAL", "FLUXCALERR", "MAG", "MAGERR", "FIELD"]), min_size=1, max_size=6))
    rows = draw(st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)), max_size=6))
    head = [f"SURVEY: {draw(WORD)}", f"SNID: {draw(WORD)}", f"FILTERS: {draw(st.sampled_from(['griz', 'abc # BVI -> abc', 'UBVRI', '']))}",
            f"NOBS: {draw(st.integers(-1, 8))}", f"NVAR: {len(names)}", "VARLIST: " + " ".join(names)]
    body = ["OBS: " + " ".join(row) for row in rows]
    return "\n".join([*head, *body, *(["END:"] if draw(st.booleans()) else [])]).encode("utf-8", "surrogatepass")


@st.composite
def structures(draw: Any) -> bytes:
    number = st.one_of(st.floats(-30, 30, width=32).map(repr), CELLS)
    vectors = "\n".join(" ".join(draw(number) for _ in range(3)) for _ in range(3))
    sites = "\n".join(" ".join(draw(number) for _ in range(3)) for _ in range(draw(st.integers(0, 4))))
    species = draw(st.lists(st.sampled_from(["Si", "O", "Na", "Xx", "D", "Fe3+", ""]), min_size=1, max_size=3))
    counts = " ".join(str(draw(st.integers(-1, 4))) for _ in species)
    return f"{draw(WORD)}\n{draw(number)}\n{vectors}\n{' '.join(species)}\n{counts}\nDirect\n{sites}\n".encode("utf-8", "surrogatepass")


@st.composite
def crystals(draw: Any) -> bytes:
    number = st.one_of(st.floats(1, 120, width=32).map(repr), CELLS)
    items = [f"_cell_length_{axis} {draw(number)}" for axis in "abc"] + [f"_cell_angle_{angle} {draw(number)}" for angle in ("alpha", "beta", "gamma")]
    loop = ["loop_", *(f"_atom_site_{name}" for name in ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy"))]
    sites = [" ".join(["A1", draw(st.sampled_from(["Si", "O2-", "Xx", "."])), *(draw(number) for _ in range(4))]) for _ in range(draw(st.integers(0, 4)))]
    operation = draw(st.sampled_from(["x,y,z", "-x,1/2+y,z", "__import__('os'),y,z", "x,y"]))
    group = [f"_symmetry_equiv_pos_as_xyz '{operation}'"]
    return "\n".join(["data_" + draw(WORD), *items, *group, *loop, *sites]).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(("name", "texts"), [
    ("x.csv", tables()), ("x.fasta", sequences()), ("x.fastq", sequences()), ("x.dat", supernovae()), ("x.vasp", structures()),
    ("x.cif", crystals()), ("x.jsonl", st.lists(st.dictionaries(COLUMNS, st.one_of(CELLS, st.lists(CELLS, max_size=3)), max_size=5)).map(
        lambda rows: "\n".join(repr(row).replace("'", '"') for row in rows).encode("utf-8", "surrogatepass"))),
])
def test_texts_that_are_nearly_right_give_graphs_or_typed_reasons(name: str, texts: st.SearchStrategy[bytes], tmp_path: Path) -> None:
    @settings(max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(texts)
    def read(text: bytes) -> None:
        (tmp_path / name).write_bytes(text)
        _, defect = judge(tmp_path / name)
        assert not defect, (text, defect)

    with np.errstate(all="ignore"):
        read()
