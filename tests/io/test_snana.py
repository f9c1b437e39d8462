"""SNANA text files: dialects, counts that disagree, files that are cut, and letters that are no passbands."""

from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from geoembed.errors import EmptyGraphError, GeoembedError, TruncatedFileError, UnknownNameError, UnreadableFileError, ValueRangeError
from geoembed.graphs.passbands import PASSBANDS
from geoembed.io.reader import stream
from geoembed.io.record import BadRecord, Record
from geoembed.io.snana import Snana
from geoembed.io.snana_filters import filter_meanings
from geoembed.schema import Graph

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
READER = Snana()
HEAD = "SURVEY: DES\nSNID: {snid}   # name\nFILTERS: griz\nREDSHIFT_FINAL: 0.35 +- 0.05 (CMB)\nNOBS: {nobs}\nNVAR: 5\n"
ROWS = "VARLIST: MJD FLT FIELD FLUXCAL FLUXCALERR\nOBS: 56000.5 g NULL 100.0 2.0\nOBS: 56001.5 r NULL -3.5 1.5\nOBS: 56002.5 i E2 50 2\n"


def supernova(snid: str = "17", nobs: int = 3, rows: str = ROWS, end: str = "END:\n") -> str:
    return HEAD.format(snid=snid, nobs=nobs) + rows + end


def read(folder: Path, text: str) -> list[Record | BadRecord]:
    path = folder / "sn.dat"
    path.write_text(text)
    assert READER.can_open(text.encode()[:4096], "sn.dat")
    return list(READER.records(path))


def one(folder: Path, text: str) -> tuple[Record, Graph]:
    [record] = read(folder, text)
    if isinstance(record, BadRecord):
        raise record.error
    return record, READER.to_graph(record)


def same(one: Graph, other: Graph) -> bool:
    return all(torch.equal(one[name], other[name]) for name in ("x", "pos", "token", "measured", "edge_index", "edge_attr"))


def test_a_supernova_has_a_sample_a_row_in_asinh_magnitudes(tmp_path: Path) -> None:
    record, graph = one(tmp_path, supernova())
    assert (record.key, dict(record.notes)) == ("17", {})
    assert graph.pos[:, 0].tolist() == [56000.5, 56001.5, 56002.5]
    # Lupton, Gunn & Szalay 1999, eq. 3 with b = 5: 27.5 − 1.0857 (asinh(f/10) + ln 5)
    assert graph.x[:, 0].tolist() == pytest.approx([22.497302, 26.125224, 23.241877], abs=2e-5)


def test_the_dialects_are_the_same_light_curve(tmp_path: Path) -> None:
    _, graph = one(tmp_path, supernova())
    _, band = one(tmp_path, supernova(rows=ROWS.replace("FLT", "BAND")))
    _, epoch = one(tmp_path, supernova(rows=ROWS.replace("OBS:", "EPOCH:")))
    _, comments = one(tmp_path, supernova(rows="# =====\n\nfree text here\n" + ROWS.replace("2.0\n", "2.0 # cloudy\n")))
    assert same(graph, band)
    assert same(graph, epoch)
    assert same(graph, comments)


def test_marks_of_missing_values_are_absent_samples(tmp_path: Path) -> None:
    rows = "VARLIST: MJD FLT MAG MAGERR\n" + "".join(f"OBS: {56000 + i} g {mag} 0.1\n" for i, mag in enumerate([20.5, -9, 99, 128, 21.5]))
    _, graph = one(tmp_path, supernova(nobs=5, rows=rows))
    assert graph.x[:, 0].tolist() == [20.5, 21.5]
    assert graph.notes["missing_dropped"] == 3


def test_a_flux_of_minus_nine_with_an_error_of_minus_nine_is_missing(tmp_path: Path) -> None:
    _, graph = one(tmp_path, supernova(rows=ROWS.replace("-3.5 1.5", "-9.000e+00 -9.000e+00")))
    assert graph.pos[:, 0].tolist() == [56000.5, 56002.5]


@pytest.mark.parametrize("nobs", [2, 4])
def test_a_count_that_disagrees_with_the_rows_is_noted_and_the_rows_are_kept(nobs: int, tmp_path: Path) -> None:
    record, graph = one(tmp_path, supernova(nobs=nobs))
    assert record.notes == {"nobs_mismatch": f"NOBS {nobs}, 3 rows"}
    assert graph.num_nodes == 3


def test_a_missing_end_mark_is_tolerated_where_all_rows_are_there(tmp_path: Path) -> None:
    record, graph = one(tmp_path, supernova(end=""))
    assert (dict(record.notes), graph.num_nodes) == ({"no_end_mark": True}, 3)


@pytest.mark.parametrize("text", [supernova(nobs=5, end=""), supernova(end="")[:-8], supernova()[: len(supernova()) // 2]])
def test_fewer_rows_than_declared_and_no_end_mark_is_a_cut_file(text: str, tmp_path: Path) -> None:
    with pytest.raises(TruncatedFileError, match="Fetch the file again"):
        one(tmp_path, text)


def test_a_name_in_varlist_that_no_row_and_no_count_knows_is_noted(tmp_path: Path) -> None:
    record, graph = one(tmp_path, supernova(rows=ROWS.replace("FLUXCALERR", "FLUXCALERR NITE")))
    assert (dict(record.notes), graph.num_nodes) == ({"varlist_without_values": "NITE"}, 3)


def test_a_file_may_hold_several_supernovae_of_which_one_is_broken(tmp_path: Path) -> None:
    broken = supernova("18", rows=ROWS.replace("-3.5 1.5", "1.5"))
    text = supernova("17") + broken + supernova("19", end="") + supernova("20")
    found = read(tmp_path, text)
    assert [record.key for record in found] == ["17", "18", "19", "20"]
    assert [isinstance(record, BadRecord) for record in found] == [False, True, False, False]
    with pytest.raises(ValueRangeError, match=r"4 values in OBS row 1; expected 5 \(VARLIST\)"):
        raise found[1].error  # type: ignore[union-attr]


@pytest.mark.parametrize(("text", "error", "match"), [
    ("SURVEY: LSST FILTERS: ugrizY\nBEGIN LIBGEN\nLIBID: 519\nNOBS: 2\nS: 49353.1 1 g 1.0\n", UnreadableFileError, "observing library"),
    ("SURVEY: DES\nSNID: 1\nRA: 3\n", UnreadableFileError, "VARLIST: absent; expected MJD with FLUXCAL or MAG"),
    ("SURVEY: DES\nPIXSIZE: 0.3\nDECL: 3\n", EmptyGraphError, "no OBS rows"),
    (supernova(rows=ROWS.replace("FLUXCAL FLUXCALERR", "COUNTS X")), UnreadableFileError, "expected MJD with FLUXCAL or MAG"),
    (supernova(rows=ROWS.replace("FLUXCAL FLUXCALERR", "A B FLUXCAL")), UnreadableFileError, "MJD FLT FIELD A B; expected MJD with FLUXCAL"),
    (supernova(rows=ROWS.replace("VARLIST: MJD FLT", "VARLIST: MJD MJD")), UnreadableFileError, "MJD twice in VARLIST"),
    (supernova(rows=ROWS.replace("-3.5", "12x")), ValueRangeError, "FLUXCAL: found '12x' in row 1"),
    (supernova(rows=ROWS.replace("-3.5", "inf")), ValueRangeError, "FLUXCAL: found 'inf' in row 1"),
    (supernova(rows=ROWS.replace(" r ", " q ")), UnknownNameError, "'q'; expected one of .*Rename the band"),
])
def test_files_of_another_kind_and_damage_say_so(text: str, error: type[GeoembedError], match: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=match):
        one(tmp_path, text)


@pytest.mark.parametrize("header", ["SURVEY: NEWSURVEY\nFILTERS: abcd", "SURVEY: KAITW\nFILTERS: BVRIbvri", "SURVEY: LOWZ_COMBINED(CFA3K)"])
def test_letters_that_a_survey_gives_its_own_meaning_are_refused(header: str, tmp_path: Path) -> None:
    """In the combined low-redshift sets "g" stands for the B of another telescope."""
    text = supernova().replace("SURVEY: DES", header.split("\n")[0]).replace("FILTERS: griz\n", "".join(header.split("\n")[1:]) + "\n")
    with pytest.raises(UnknownNameError, match=r"filter codes of the survey .* itself.*after the filter table of the survey"):
        one(tmp_path, text)


@pytest.mark.parametrize(("header", "letters", "bands"), [
    ("SURVEY: CSP\nFILTERS: ugriBnmoJjYyH", "mjy", ["V", "J", "Y"]),
    ("SURVEY: PS1_LOWZ_COMBINED(CFA3K)\nFILTERS: abcdefghijklmnopqrstuvwxyzABCDEFGHIJK # UBVri -> fghij", "ghj", ["B", "V", "i"]),
    ("SURVEY: PS1_HST_COMBINED(SNAP)\nFILTERS: abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL # 046 -> CDE", "ECD", ["F850LP", "F110W", "F775W"]),
    ("SURVEY: KAIT\nFILTERS: ABCDEFGHIJKLMNOP", "MOP", ["B", "R", "I"]),
    ("SURVEY: SOMEBODY\nFILTERS: abc # BVI -> abc", "cab", ["I", "B", "V"]),  # the header's own table
])
def test_letters_that_a_published_table_or_the_header_explains_are_passbands(
    header: str, letters: str, bands: list[str], tmp_path: Path
) -> None:
    rows = "".join(f"OBS: {5000 + i} {letter} 10.0 1.0\n" for i, letter in enumerate(letters))
    path = tmp_path / "x.dat"
    path.write_text(f"{header}\nSNID: 1\nNOBS: 3\nNVAR: 4\nVARLIST: MJD FLT FLUXCAL FLUXCALERR\n{rows}END:\n")
    (graph,) = stream(path)
    assert isinstance(graph, Graph), graph
    assert [PASSBANDS[token] for token in graph.token[:, 0].tolist()] == bands
    codes = zip(sorted(letters), [bands[letters.index(letter)] for letter in sorted(letters)], strict=True)
    assert graph.notes["filter_codes_replaced"] == " ".join(f"{code}={band}" for code, band in codes)


def test_a_header_that_contradicts_the_published_table_is_refused() -> None:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJK"
    with pytest.raises(UnknownNameError, match="'f': V by the header, U by the published table"):
        filter_meanings("PS1_LOWZ_COMBINED(CFA3K)", letters, "x.dat", "VBUri -> fghij")


def test_a_band_that_is_in_no_vocabulary_is_called_by_its_name(tmp_path: Path) -> None:
    text = supernova(rows=ROWS.replace(" r ", " s ").replace(" g ", " s ").replace(" i ", " s ")).replace("SURVEY: DES", "SURVEY: PS1_HST_COMBINED(CANDELS)")
    with pytest.raises(UnknownNameError, match="'F127M'; expected one of FUV"):
        one(tmp_path, text.replace("FILTERS: griz", "FILTERS: abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL"))


def test_values_behind_those_that_varlist_names_are_left_out_and_counted(tmp_path: Path) -> None:
    lines = supernova().splitlines()
    longer = "\n".join(f"{line} 25.947" if line.startswith("OBS:") else line for line in lines)
    first, second = one(tmp_path, supernova()), one(tmp_path, longer)
    assert second[0].notes["values_beyond_varlist"] == 3
    assert torch.equal(first[1].x, second[1].x)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
def test_the_supernova_challenge_is_read_whole_and_its_cut_file_is_found(tmp_path: Path) -> None:
    archive = SHARED / "astronomy" / "spcc" / "raw_dat.tar.xz"
    with tarfile.open(archive) as tar:
        names = ["DES_SN480562.DAT", "DES_SN366413.DAT", "DES_SN339932.DAT", "DES_SN396420.DAT", "DES_SN592729.DAT", "DES_SN899894.DAT"]
        chosen = [tar.getmember(name) for name in names]  # the last one ends inside a row
        texts = {member.name: tar.extractfile(member).read() for member in chosen}  # type: ignore[union-attr]
    outcomes: Counter[str] = Counter()
    for name, text in texts.items():
        path = tmp_path / Path(name).name
        path.write_bytes(text)
        for item in stream(path):
            if isinstance(item, Graph):
                assert item.num_nodes == text.count(b"\nOBS:") - item.notes.get("missing_dropped", 0)
                outcomes["graph"] += 1
            else:
                outcomes[item[0].error] += 1
    assert outcomes["graph"] == 5
    assert outcomes["TruncatedFileError"] == 1
