"""HepMC: final particles of each event in both versions and units; an event that lacks particles is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from geoembed.errors import TruncatedFileError, UnreadableFileError
from geoembed.io.hepmc import HepMc
from geoembed.io.record import BadRecord, Record

READER = HepMc()
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
PARTICLES = SHARED / "particles"
needs_data = pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")

THREE = """E 0 1 4
U GEV MM
P 1 0 2212 0. 0. 7. 7.1 0.938 4
P 2 0 2212 0. 0. -7. 7.1 0.938 4
V -1 0 [1,2]
P 3 -1 211 3. 4. 0. 5.002 0.13957 1
P 4 -1 22 -3. -4. 0. 5. 0. 1
"""
TWO = """E 7 -1 -1. -1. -1. 0 0 1 1 2 0 1 1.0
U GEV MM
V -1 0 0 0 0 0 2 2 0
P 1 2212 0. 0. 7. 7.1 0.938 4 0 0 -1 0
P 2 2212 0. 0. -7. 7.1 0.938 4 0 0 -1 0
P 3 211 3. 4. 0. 5.002 0.13957 1 0 0 0 0
P 4 22 -3. -4. 0. 5. 0. 1 0 0 0 0
"""


def write(path: Path, *events: str, version: int = 3, end: bool = True) -> Path:
    listing = "HepMC::Asciiv3" if version == 3 else "HepMC::IO_GenEvent"
    text = f"\nHepMC::Version 3.02.05\n{listing}-START_EVENT_LISTING\n" + "".join(events)
    path.write_text(text + (f"{listing}-END_EVENT_LISTING\n\n" if end else ""))
    return path


def good(path: Path) -> list[Record]:
    return [record for record in READER.records(path) if isinstance(record, Record)]


def test_events_are_known_by_their_first_word() -> None:
    assert READER.can_open(b"\nHepMC::Version 2.06.09\n", "x.dat")
    assert not READER.can_open(b"1.0 2.0 3.0\n", "x.hepmc")


@pytest.mark.parametrize(("version", "event"), [(3, THREE), (2, TWO)])
def test_undecayed_particles_are_the_nodes_in_both_versions(tmp_path: Path, version: int, event: str) -> None:
    records = good(write(tmp_path / "x.hepmc", event, event, event, version=version))
    assert [record.key for record in records] == ["0", "1", "2"]
    for record in records:
        assert record.payload.pt.tolist() == [5.0, 5.0]
        assert record.payload.charge.tolist() == [1.0, 0.0]
        assert record.payload.particle_id.tolist() == [6.0, 5.0]
        assert record.notes["not_final_dropped"] == 2


def test_momenta_in_mev_are_turned_into_gev(tmp_path: Path) -> None:
    (record,) = good(write(tmp_path / "x.hepmc", THREE.replace("U GEV", "U MEV")))
    assert record.payload.pt.tolist() == [0.005, 0.005]
    assert record.notes["momenta_in"] == "MEV"


@pytest.mark.parametrize(("version", "event"), [(3, THREE), (2, TWO)])
def test_an_event_that_lacks_a_particle_costs_itself(tmp_path: Path, version: int, event: str) -> None:
    short = event.replace(event.splitlines()[-1] + "\n", "")
    records = list(READER.records(write(tmp_path / "x.hepmc", event, short, event, version=version)))
    assert [type(record) for record in records] == [Record, BadRecord, Record]
    with pytest.raises(TruncatedFileError, match="found 3 particles"):
        raise records[1].error  # type: ignore[union-attr]


@pytest.mark.parametrize(("old", "new", "reason"), [("U GEV", "U TEV", "unit 'TEV'"), ("E 0 1 4", "E 0", "-1 vertices"), ("3. 4.", "3. x", "x")])
def test_an_event_that_cannot_be_read_costs_itself(tmp_path: Path, old: str, new: str, reason: str) -> None:
    records = list(READER.records(write(tmp_path / "x.hepmc", THREE, THREE.replace(old, new), THREE)))
    assert [type(record) for record in records] == [Record, BadRecord, Record]
    with pytest.raises(UnreadableFileError, match=reason):
        raise records[1].error  # type: ignore[union-attr]


def test_a_file_without_its_closing_line_keeps_whole_events_and_is_named_as_cut(tmp_path: Path) -> None:
    records = READER.records(write(tmp_path / "x.hepmc", THREE, THREE, end=False))
    assert isinstance(next(records), Record)
    assert isinstance(next(records), Record)
    with pytest.raises(TruncatedFileError, match=r"after the start of 2 events; expected HepMC::…-END_EVENT_LISTING"):
        next(records)


def test_a_closed_listing_without_events_gives_none(tmp_path: Path) -> None:
    assert good(write(tmp_path / "x.hepmc")) == []


@needs_data
@pytest.mark.parametrize(("name", "final"), [
    ("files/pythia6_hepmc3.dat", 24), ("files/sibyll21_hepmc3.dat", 16), ("nasty/last_event_hepmc2.hepmc.gz", 556),
])
def test_real_events_agree_with_an_independent_parser(tmp_path: Path, name: str, final: int) -> None:
    pyhepmc = pytest.importorskip("pyhepmc")
    source = PARTICLES / name
    path = tmp_path / "x.hepmc"
    path.write_bytes(gzip.decompress(source.read_bytes()) if name.endswith(".gz") else source.read_bytes())
    (record,) = good(path)
    with pyhepmc.open(str(path)) as file:
        (event,) = list(file)
    particles = event.numpy.particles
    here = particles.status == 1
    assert len(record.payload.pt) == int(here.sum()) == final
    order, other = np.argsort(record.payload.energy), np.argsort(particles.e[here])
    momentum = (record.payload.pt * np.exp(1j * record.payload.phi))[order]
    assert np.allclose(momentum, (particles.px + 1j * particles.py)[here][other], rtol=1e-12)
    assert np.allclose((record.payload.pt * np.sinh(record.payload.eta))[order], particles.pz[here][other], rtol=1e-9)


@needs_data
def test_a_real_cut_event_is_no_empty_file() -> None:
    records = READER.records(PARTICLES / "nasty" / "broken_hepmc3.dat")
    bad = next(records)
    assert isinstance(bad, BadRecord)
    with pytest.raises(TruncatedFileError, match="found 16 particles, .* expected 23 particles"):
        raise bad.error
    assert list(records) == []  # one break is named once
