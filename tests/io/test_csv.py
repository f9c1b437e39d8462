"""Text tables: dialects that mean the same, and texts that are damaged, cut or no tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from geoembed.errors import BudgetError, GeoembedError, MissingColumnError, TruncatedFileError, UnreadableFileError, ValueRangeError
from geoembed.io.csv import Csv
from geoembed.io.reader import pick, stream
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Graph

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
READER = Csv()


def write(folder: Path, text: str | bytes, name: str = "star.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path: Path) -> list[tuple[Record, Graph]]:
    found = []
    for record in READER.records(path):
        if isinstance(record, BadRecord):
            raise record.error
        found.append((record, READER.to_graph(record)))
    return found


DIALECTS = {
    "comma.csv": "time,mag,magerr\n1,17.5,0.1\n2,18.5,0.2\n",
    "crlf.csv": "time,mag,magerr\r\n1,17.5,0.1\r\n2,18.5,0.2\r\n",
    "mac.csv": "time,mag,magerr\r1,17.5,0.1\r2,18.5,0.2\r",
    "bom.csv": "\ufefftime,mag,magerr\n1,17.5,0.1\n2,18.5,0.2\n",
    "tab.tsv": "time\tmag\tmagerr\n1\t17.5\t0.1\n2\t18.5\t0.2\n",
    "semicolon.csv": "time;mag;magerr\n1;17.5;0.1\n2;18.5;0.2\n",
    "bar.txt": "time|mag|magerr\n1|17.5|0.1\n2|18.5|0.2\n",
    "space.dat": "  time   mag magerr\n 1.0 17.5   0.1\n 2.0 18.5 0.2\n",
    "spaces after.csv": "time, mag, magerr\n1, 17.5, 0.1\n2, 18.5, 0.2\n",
    "trailing.csv": "time,mag,magerr\n1,17.5,0.1,\n2,18.5,0.2,\n",
    "index.csv": ",time,mag,magerr\n0,1,17.5,0.1\n1,2,18.5,0.2\n",
    "comment.dat": "# made by hand\n# time mag magerr\n1 17.5 0.1\n# the second night\n2 18.5 0.2\n",
    "comment with a quotation mark.csv": '# 5" aperture\ntime,mag,magerr\n1,17.5,0.1\n2,18.5,0.2\n',
    "enhanced.ecsv": "# %ECSV 1.0\n# ---\n# delimiter: ','\n# datatype:\n# - {name: time, datatype: float64}\ntime,mag,magerr\n"
                     "1,17.5,0.1\n2,18.5,0.2\n",
    "quoted.csv": '"time","mag","magerr"\n"1","17.5","0.1"\n"2","18.5","0.2"\n',
    "empty lines.csv": "\n\ntime,mag,magerr\n1,17.5,0.1\n\n2,18.5,0.2\n\n",
}


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_of_a_table_is_the_same_light_curve(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, DIALECTS[name], name)
    assert READER.can_open(path.read_bytes()[:4096], name)
    [(record, graph)] = read(path)
    torch.testing.assert_close(graph.x, torch.tensor([[17.5, 0.1], [18.5, 0.2]]))
    assert graph.pos[:, 0].tolist() == [1.0, 2.0]
    assert (record.key, dict(record.notes)) == (path.stem, {})


def test_the_dialect_of_salt_names_its_columns_in_comments(tmp_path: Path) -> None:
    text = "@INSTRUMENT MEGACAM\n@BAND r\n#Date : MJD\n#Flux : ADU\n#Fluxerr : error\n#ZP : zero point\n#end\n53081.6 1000 10 27.5\n"
    [(_, graph)] = read(write(tmp_path, text, "lc_r.dat"))
    [(_, plain)] = read(write(tmp_path, "mjd,fluxcal,fluxcalerr,band\n53081.6,1000,10,r\n"))
    assert all(torch.equal(graph[name], plain[name]) for name in ("x", "pos", "token"))


def test_two_columns_of_numbers_rising_through_wavelengths_are_a_spectrum(tmp_path: Path) -> None:
    [(_, graph)] = read(write(tmp_path, "4000 1 0.1\n5000 2 0.1\n6000 3 0.1\n", "sn.dat"))
    assert graph.provenance.modality == "spectrum"
    assert graph.x[:, 0].tolist() == [0.5, 1.0, 1.5]
    assert (10 ** graph.pos[:, 0]).tolist() == pytest.approx([4000, 5000, 6000])


@pytest.mark.parametrize("rows", ["1 1\n2 2\n", "5000 1\n4000 2\n", "4000 1\n4000 2\n", "4000 1\n90000 2\n", "4000 1 1 1\n5000 1 1 1\n"])
def test_other_numbers_without_a_header_are_refused(rows: str, tmp_path: Path) -> None:
    with pytest.raises(MissingColumnError, match="Write the names of the columns in the first line"):
        read(write(tmp_path, rows, "x.dat"))


def test_columns_that_mean_nothing_are_listed(tmp_path: Path) -> None:
    with pytest.raises(MissingColumnError, match=r"'apple', 'pear'.*light_curves: time"):
        read(write(tmp_path, "apple,pear\n1,2\n"))


def test_names_of_objects_stay_text(tmp_path: Path) -> None:
    found = read(write(tmp_path, "object_id,mjd,mag\n007,1,17\n7,2,18\n007,3,19\n"))
    assert [(record.key, graph.num_nodes) for record, graph in found] == [("007", 2), ("7", 1)]


def test_a_table_of_no_rows_is_legal_and_has_no_records(tmp_path: Path) -> None:
    assert read(write(tmp_path, "time,mag\n")) == []


@pytest.mark.parametrize(("text", "error", "match"), [
    ("time,mag,magerr\n1,2,3\n4,5", TruncatedFileError, "last line of 2 fields without an end of line; expected 3"),
    ("time,mag,mag", TruncatedFileError, "Fetch the file again"),
    ("time,mag\n1,2\n3,4,5\n", UnreadableFileError, "Correct the row"),
    ("time,mag\na,1,2\nb,3,4\n", UnreadableFileError, "a row of 3 fields; expected 2.*Name every column"),
    ("time,mag\n1,2,3,4\n", UnreadableFileError, "Name every column"),
    ('time,mag\n"1,2\n3,4\n', UnreadableFileError, "EOF inside string"),
    (b"time,mag\n1,2\n3,\xff\n", UnreadableFileError, "0xff at 15.*Save the table as UTF-8"),
    ("# only\n# comments\n", UnreadableFileError, "no line of data"),
    ("time,mag\n1,2\n# not a row,\n", ValueRangeError, "'# not a row' in row 1"),
    ("time;mag\n1,5;17\n", ValueRangeError, "'1,5' in row 0"),
])
def test_a_damaged_table_says_what_is_wrong(text: str | bytes, error: type[GeoembedError], match: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=match):
        read(write(tmp_path, text))


def test_row_names_without_a_header_do_not_shift_the_columns(tmp_path: Path) -> None:
    """R writes a header one name short; read by position, the row number would become the time."""
    with pytest.raises(UnreadableFileError, match="a row of 3 fields"):
        read(write(tmp_path, "time mag\n1 58000 17.5\n2 58001 17.6\n", "r.dat"))


def test_a_missing_last_end_of_line_is_noted(tmp_path: Path) -> None:
    [(record, graph)] = read(write(tmp_path, "time,mag\n1,17.5\n2,18.5"))
    assert record.notes == {"no_final_newline": True}
    assert graph.num_nodes == 2


def test_a_prologue_without_end_is_over_the_budget(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="Shorten the comments"):
        read(write(tmp_path, "# comment\n" * 120_000))


def test_a_long_table_is_checked_before_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "time,mag\n1,2\n")
    with open(path, "r+b") as file:
        file.truncate(1 << 30)  # a sparse file: 1 GiB of text would need 10 GiB
        file.seek((1 << 30) - 1)
        file.write(b"\n")
    with pytest.raises(BudgetError, match=r"10\.0 GiB"):
        read(path)


@pytest.mark.parametrize(("name", "content"), [
    ("a.txt", b">seq1\nACGT\n"), ("a.txt", b"data_NaCl\n_cell_length_a 5.6\n"), ("a.csv", b"<html>\n"), ("a.txt", b'{"a": 1}\n'),
    ("a.dat", b"SURVEY: DES\nSNID: 1\nOBS: 1 2\n"), ("a.csv", b"time\0,mag\n"), ("a.txt", b"Si2 Te\n1.0\n3 0 0\n"),
    ("a.jpg", b"time,mag\n1,2\n"),
])
def test_other_texts_are_left_to_their_readers(name: str, content: bytes) -> None:
    assert not READER.can_open(content, name)


def test_a_compressed_table_is_read_through_the_front_door(tmp_path: Path) -> None:
    import gzip

    import geoembed

    path = tmp_path / "star.csv.gz"
    path.write_bytes(gzip.compress(DIALECTS["comma.csv"].encode()))
    [graph] = geoembed.read(path, on_error="raise")
    assert graph.x[:, 0].tolist() == [17.5, 18.5]


def test_the_content_decides_between_snana_and_a_table() -> None:
    assert type(pick(b"SURVEY: DES\nSNID: 1\nNVAR: 3\n", "a.dat")).__name__ == "Snana"
    assert isinstance(pick(b"time mag\n1 17\n2 18\n", "a.dat"), Csv)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("final", [True, False])
def test_lines_may_end_as_on_any_computer_there_was(end: str, final: bool, tmp_path: Path) -> None:
    text = end.join(["mjd,mag,magerr,band", "1.0,19.0,0.1,g", "2.0,19.5,0.1,r"]) + (end if final else "")
    (tmp_path / "curve.csv").write_bytes(text.encode())
    (graph,) = stream(tmp_path / "curve.csv")
    assert isinstance(graph, Graph)
    assert graph.x[:, 0].tolist() == [19.0, 19.5]
