"""Les Houches events: outgoing partons of each event, whatever the dialect; cut files are named."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from geoembed.errors import TruncatedFileError, UnreadableFileError
from geoembed.io.lhe import Lhe
from geoembed.io.record import BadRecord, Record

READER = Lhe()
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FILES = SHARED / "particles" / "files"
needs_data = pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")

EVENT = """<event>
 5 66 1.0 91.2 0.0078 0.118
 2 -1 0 0 501 0 0.0 0.0 50.0 50.0 0.0 0. 9.
 -2 -1 0 0 0 501 0.0 0.0 -50.0 50.0 0.0 0. 9.
 23 2 1 2 0 0 0.0 0.0 0.0 100.0 91.2 0. 9.
 11 1 3 3 0 0 30.0 0.0 40.0 50.0 0.000511 0. 9.
 -11 1 3 3 0 0 -3.0D+01 0.0 -4.0d+01 50.0 0.000511 0. 9.
# a comment of the generator
<rwgt><wgt id='1'> 1.0 </wgt></rwgt>
</event>
"""


def write(path: Path, *events: str, end: str = "</LesHouchesEvents>\n") -> Path:
    text = '<LesHouchesEvents version="3.0">\n<header>a < b & c</header>\n<init>\n2212 2212 6500 6500 -1 -1 -1 -1 3 1\n1 1 1 1\n</init>\n'
    path.write_text(text + "".join(events) + end)
    return path


def test_events_are_known_by_the_tag_that_opens_them() -> None:
    assert READER.can_open(b'<!-- made by us -->\n<LesHouchesEvents version="1.0">', "x.txt")
    assert not READER.can_open(b"<xml>", "x.lhe")


def test_outgoing_particles_are_the_nodes_and_the_others_are_counted(tmp_path: Path) -> None:
    first, second = READER.records(write(tmp_path / "x.lhe", EVENT, EVENT.replace("<event>", '<event npLO="1">')))
    for number, record in enumerate((first, second)):
        assert isinstance(record, Record)
        assert record.key == str(number)
        assert record.payload.pt.tolist() == [30.0, 30.0]  # Fortran's exponent in the second
        assert np.sinh(record.payload.eta).tolist() == pytest.approx([4 / 3, -4 / 3])
        assert record.payload.charge.tolist() == [-1.0, 1.0]
        assert record.notes["not_final_dropped"] == 3
    assert READER.to_graph(first).token.tolist() == [[1, 0], [1, 2]]  # type: ignore[arg-type]


@pytest.mark.parametrize(("line", "replacement", "kind", "reason"), [
    (" 5 66 1.0", " 6 66 1.0", UnreadableFileError, "13 numbers a particle|rwgt"),
    (" 5 66 1.0", " x 66 1.0", UnreadableFileError, "invalid literal"),
    ("11 1 3 3 0 0 30.0", "11 1 3 3 0 0 thirty", UnreadableFileError, "thirty"),
    ("</event>", "", TruncatedFileError, "</LesHouchesEvents>"),
])
def test_a_broken_event_is_named_and_costs_itself(
    tmp_path: Path, line: str, replacement: str, kind: type[Exception], reason: str
) -> None:
    path = write(tmp_path / "x.lhe", EVENT, EVENT.replace(line, replacement, 1), EVENT if line != "</event>" else "",
                 end="</LesHouchesEvents>\n" if line != "</event>" else "")
    found: list[Exception] = []
    good = 0
    try:
        for record in READER.records(path):
            good += isinstance(record, Record)
            if isinstance(record, BadRecord):
                found.append(record.error)
    except TruncatedFileError as error:
        found.append(error)
    assert good == 2
    with pytest.raises(kind, match=reason):
        raise found[0]


def test_an_event_with_fewer_particles_than_it_states_is_cut(tmp_path: Path) -> None:
    short = "\n".join(line for line in EVENT.splitlines() if not line.startswith((" -11", "#", "<rwgt"))) + "\n"
    (bad,) = READER.records(write(tmp_path / "x.lhe", short))
    assert isinstance(bad, BadRecord)
    with pytest.raises(TruncatedFileError, match="found 4 particles; expected 5, as the event states"):
        raise bad.error


def test_a_file_without_its_closing_tag_keeps_its_events_and_is_named_as_cut(tmp_path: Path) -> None:
    records = READER.records(write(tmp_path / "x.lhe", EVENT, EVENT, end=""))
    assert isinstance(next(records), Record)
    assert isinstance(next(records), Record)
    with pytest.raises(TruncatedFileError, match="the end of the file after 2 events; expected </LesHouchesEvents>"):
        next(records)


@pytest.mark.parametrize("length", [8, 30, 200, 260])
def test_a_file_that_breaks_off_within_an_event_names_the_break_once(tmp_path: Path, length: int) -> None:
    good, bad = READER.records(write(tmp_path / "x.lhe", EVENT, EVENT[:length], end=""))
    assert isinstance(good, Record)
    assert isinstance(bad, BadRecord)
    with pytest.raises(TruncatedFileError, match="the end of the file within an event; expected </event>"):
        raise bad.error


def test_a_closed_file_without_events_gives_none(tmp_path: Path) -> None:
    assert list(READER.records(write(tmp_path / "x.lhe"))) == []


@needs_data
@pytest.mark.parametrize(("name", "events"), [("lhef3.lhe.gz", 59), ("pythia6_ttbar.lhe.gz", 100), ("pylhe-testfile-whizard-3.1.4-eeWW.lhe", 10)])
def test_real_events_agree_with_an_independent_parser_and_balance(tmp_path: Path, name: str, events: int) -> None:
    pylhe = pytest.importorskip("pylhe")
    source = FILES / name
    path = tmp_path / "x.lhe"
    path.write_bytes(gzip.decompress(source.read_bytes()) if name.endswith(".gz") else source.read_bytes())
    records = [record for record in READER.records(path) if isinstance(record, Record)]
    reference = list(pylhe.LHEFile.fromfile(str(source)).events)
    assert len(records) == len(reference) == events
    for record, event in zip(records, reference, strict=True):
        final = [particle for particle in event.particles if particle.status == 1]
        momentum = record.payload.pt * np.exp(1j * record.payload.phi)
        assert np.allclose(momentum, [complex(p.px, p.py) for p in final], rtol=1e-12, atol=1e-9)
        assert np.allclose(record.payload.energy, [p.e for p in final])
        assert abs(momentum.sum()) < 1e-4 * record.payload.energy.sum()
