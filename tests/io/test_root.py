"""ROOT: the layouts of experiments and simulations, jets by their index, steps of events, and files that are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from geoembed.errors import BudgetError, GeoembedError, MissingColumnError, TruncatedFileError, ValueRangeError
from geoembed.io import root_access
from geoembed.io.kinematics import Particles
from geoembed.io.record import BadRecord, Record
from geoembed.io.root import Root
from geoembed.io.root_layouts import layout_of

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
PARTICLES = SHARED / "particles"
needs_data = pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")


def collection(counts: Any, seed: int = 0, **columns: Any) -> Any:
    """Particles (pt, eta, phi) of events with these counts, and further columns, as an array of records."""
    generator = np.random.default_rng(seed)
    counts, total = np.asarray(counts, np.int64), sum(counts)
    fields = {"pt": generator.exponential(5, total) + 0.1, "eta": generator.normal(size=total), "phi": generator.uniform(-3, 3, total)}
    return ak.zip({name: ak.unflatten(values, counts) for name, values in (fields | columns).items()})


def write(path: Path, separator: str = "_", tree: str = "Events", **collections: Any) -> Path:
    with uproot.recreate(path) as file:
        kinds = {name: array.type.content if hasattr(array, "type") else array.dtype for name, array in collections.items()}
        file.mktree(tree, kinds, field_name=lambda outer, inner: outer + separator + inner if outer else inner)
        file[tree].extend(collections)
    return path


def good(path: Path, reader: Root | None = None) -> list[Record]:
    records = list((reader or Root()).records(path))
    assert not [record for record in records if isinstance(record, BadRecord)]
    return [record for record in records if isinstance(record, Record)]


def payload(record: Record | BadRecord) -> Particles:
    assert isinstance(record, Record)
    assert isinstance(record.payload, Particles)
    return record.payload


def test_root_is_known_by_its_magic_and_not_by_its_name() -> None:
    assert Root().can_open(b"root\x00\x00\xf7\x68", "x")
    assert not Root().can_open(b"rooted trees\n", "x.root")


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_candidates_of_an_event_are_one_record_whatever_the_step(tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root_access, "EVENTS", step)
    counts = [3, 0, 5, 1, 2, 4, 0]
    candidates = collection(counts, pdgId=np.full(15, -211), charge=np.full(15, -1))
    records = good(write(tmp_path / "x.root", PFCands=candidates, Jet=collection([1] * 7)))
    assert [record.key for record in records] == ["0", "1", "2", "3", "4", "5", "6"]
    assert [payload(record).pt.tolist() for record in records] == ak.to_list(candidates.pt)
    assert {record.payload.modality for record in records} == {"event"}
    assert Root().to_graph(records[2]).token[:, 0].tolist() == [6] * 5  # charged pions


def test_forward_candidates_of_cms_are_no_quarks(tmp_path: Path) -> None:
    (record,) = good(write(tmp_path / "x.root", PFCands=collection([3], pdgId=np.array([1, 2, 211]))))
    assert payload(record).particle_id.tolist() == [9, 5, 6]  # type: ignore[union-attr]
    assert record.notes["codes_1_and_2"] == "forward hadron, photon"


def test_objects_are_gathered_event_by_event_where_there_are_no_candidates(tmp_path: Path) -> None:
    electrons = collection([1, 0, 2], 1, charge=np.array([-1, 1, -1]), mass=np.full(3, 0.000511))
    jets = collection([2, 1, 0], 2, mass=np.array([10.0, 12.0, 7.0]))
    photons = collection([0, 1, 0], 3)
    path = write(tmp_path / "x.root", Electron=electrons, Jet=jets, Photon=photons, GenJet=collection([5, 5, 5]), FatJet=collection([1, 1, 1]))
    records = good(path)
    for row, record in enumerate(records):
        found = payload(record)
        expected = [*electrons.pt[row], *jets.pt[row], *photons.pt[row]]
        assert found.pt.tolist() == pytest.approx([float(value) for value in expected])
        assert found.charge is not None
        assert found.charge.tolist() == [*electrons.charge[row], *[0.0] * (len(jets.pt[row]) + len(photons.pt[row]))]
    first = payload(records[0])
    assert first.particle_id is not None
    assert first.particle_id.tolist() == [1, 0, 0]
    assert first.energy is not None
    assert float(first.energy[1]) == pytest.approx(np.hypot(first.pt[1] * np.cosh(first.eta[1]), 10.0))
    assert records[0].notes["objects"] == "Electron, Jet, Photon"


def test_reconstructed_particles_of_edm4hep_are_cartesian(tmp_path: Path) -> None:
    momenta = {f"momentum.{axis}": np.array(values) for axis, values in zip("xyz", ([3.0, 0.0], [4.0, 1.0], [0.0, -1.0]), strict=True)}
    fields = {**momenta, "energy": np.array([6.0, 2.0]), "charge": np.array([1.0, 0.0])}
    array = ak.zip({name: ak.unflatten(values, [2]) for name, values in fields.items()})
    (record,) = good(write(tmp_path / "x.root", ".", "events", ReconstructedParticles=array))
    assert payload(record).pt.tolist() == [5.0, 1.0]
    assert payload(record).eta.tolist() == pytest.approx([0.0, -np.arcsinh(1.0)])
    assert payload(record).energy.tolist() == [6.0, 2.0]  # type: ignore[union-attr]


def test_particle_flow_of_delphes_is_three_collections(tmp_path: Path) -> None:
    def delphes(counts: list[int], pt: str, **columns: Any) -> Any:
        array = collection(counts, **columns)
        return ak.zip({pt: array.pt, "Eta": array.eta, "Phi": array.phi, **{name: array[name] for name in columns}})

    path = write(tmp_path / "x.root", ".", "Delphes", EFlowTrack=delphes([2], "PT", PID=np.array([211, -11]), Charge=np.array([1, 1])),
                 EFlowPhoton=delphes([1], "ET"), EFlowNeutralHadron=delphes([1], "ET"), Jet=delphes([1], "PT"))
    (record,) = good(path)
    assert payload(record).particle_id.tolist() == [6, 1, 5, 9]  # type: ignore[union-attr]
    assert record.notes["collection"] == "EFlowTrack, EFlowPhoton, EFlowNeutralHadron"


def test_momenta_of_physlite_are_turned_from_mev_to_gev(tmp_path: Path) -> None:
    array = collection([2])
    path = write(tmp_path / "x.root", ".", "CollectionTree", AnalysisJetsAuxDyn=array, AnalysisMuonsAuxDyn=array)
    (record,) = good(path)
    assert payload(record).pt.tolist() == pytest.approx([*(array.pt[0] / 1000)] * 2)
    assert record.notes["momenta_in"] == "MEV"


def test_constituents_under_a_prefix_are_a_jet_where_the_tree_describes_one(tmp_path: Path) -> None:
    fields = {name: ak.unflatten(np.array([3.0, 4.0, 1.0]), [2, 1]) for name in ("part_px", "part_py", "part_pz", "part_energy")}
    records = good(write(tmp_path / "x.root", tree="tree", **fields, jet_pt=np.array([7.0, 1.4])))
    assert [payload(record).modality for record in records] == ["jet", "jet"]
    assert payload(records[0]).pt.tolist() == pytest.approx([3 * 2**0.5, 4 * 2**0.5])


def test_an_ntuple_gives_what_the_tree_gives(tmp_path: Path) -> None:
    array = collection([3, 0, 2], pdgId=np.array([11, 22, 130, 211, -13]))
    tree = write(tmp_path / "tree.root", PFCands=array)
    with uproot.recreate(tmp_path / "ntuple.root") as file:
        file.mkrntuple("Events", {f"PFCands_{name}": array[name] for name in array.fields})
    for a, b in zip(good(tree), good(tmp_path / "ntuple.root"), strict=True):
        assert a.key == b.key
        for name in ("pt", "eta", "phi", "charge", "particle_id"):
            assert getattr(payload(a), name).tolist() == getattr(payload(b), name).tolist()


def test_two_trees_of_one_file_keep_their_keys_apart(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "x.root") as file:
        for name, counts in (("signal", [1, 2]), ("dir/background", [3])):
            array = collection(counts)
            file[name] = {f"part_{field}": array[field] for field in array.fields}
    assert sorted(record.key for record in good(tmp_path / "x.root")) == ["dir/background:0", "signal:0", "signal:1"]


def pfnano(path: Path, jet: list[int], candidate: list[int]) -> Path:
    """One event of 5 candidates (pt 1…5) and 2 jets, linked as given."""
    candidates = collection([5], pt=np.arange(1.0, 6.0))
    links = ak.zip({"jetIdx": ak.unflatten(np.array(jet), [len(jet)]), "pFCandsIdx": ak.unflatten(np.array(candidate), [len(jet)])})
    return write(path, PFCands=candidates, Jet=collection([2]), JetPFCands=links)


def test_jets_are_their_linked_candidates_in_the_order_of_links(tmp_path: Path) -> None:
    path = pfnano(tmp_path / "x.root", [1, 0, 1, 0], [4, 2, 0, 2])
    records = good(path, Root(jets=True))
    assert [(record.key, payload(record).pt.tolist()) for record in records] == [("0:0", [3.0, 3.0]), ("0:1", [5.0, 1.0])]
    assert {payload(record).modality for record in records} == {"jet"}
    many = np.random.default_rng(0).integers(0, 5, 200)
    records = good(pfnano(path, (np.arange(200) % 2).tolist(), many.tolist()), Root(jets=True))
    assert [payload(record).pt.tolist() for record in records] == [(many[jet::2] + 1.0).tolist() for jet in (0, 1)]


def test_a_jet_without_constituents_is_left_out_and_named(tmp_path: Path) -> None:
    first, second = Root(jets=True).records(pfnano(tmp_path / "x.root", [0], [1]))
    assert payload(first).pt.tolist() == [2.0]
    assert isinstance(second, BadRecord)
    with pytest.raises(GeoembedError, match=r"jet 0:1: found no constituent"):
        raise second.error


@pytest.mark.parametrize(("jet", "candidate"), [([0, 2], [0, 1]), ([0, 1], [0, 5]), ([-1, 0], [0, 0])])
def test_links_that_leave_the_event_cost_the_event(tmp_path: Path, jet: list[int], candidate: list[int]) -> None:
    (bad,) = Root(jets=True).records(pfnano(tmp_path / "x.root", jet, candidate))
    assert isinstance(bad, BadRecord)
    with pytest.raises(ValueRangeError, match="a constituent or jet outside the event"):
        raise bad.error


def test_jets_of_a_tree_without_links_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path / "x.root", PFCands=collection([2]), Jet=collection([1]))
    with pytest.raises(MissingColumnError, match=r"expected JetPFCands_jetIdx beside PFCands_pt\. Read events instead"):
        list(Root(jets=True).records(path))


def test_a_tree_without_events_gives_none_and_no_error(tmp_path: Path) -> None:
    assert good(write(tmp_path / "x.root", PFCands=collection([]))) == []


def test_a_file_without_a_tree_of_particles_is_an_error(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "empty.root") as file:
        file["h"] = np.histogram([1.0, 2.0])
    with pytest.raises(MissingColumnError, match="found no tree"):
        list(Root().records(tmp_path / "empty.root"))
    path = write(tmp_path / "x.root", Wind=collection([1]), run=np.array([1]))
    with pytest.raises(MissingColumnError, match=r"Events: .*Wind_pt.*expected lists PFCands_pt"):
        list(Root().records(path))


def test_one_number_an_event_is_no_list_of_particles() -> None:
    assert layout_of({"pt": "float", "eta": "float", "phi": "float"}) is None
    assert layout_of({"pt": "float[]", "eta": "float[]", "phi": "float[][3]"}) is None
    assert layout_of(dict.fromkeys(("pt", "eta", "phi"), "std::vector<float>")) is not None


@pytest.mark.parametrize("part", [1 / 3, 1 / 2, -1])
def test_a_cut_file_is_never_a_shorter_one(tmp_path: Path, part: float) -> None:
    path = write(tmp_path / "x.root", PFCands=collection([3] * 50))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part) if part < 0 else int(part * len(whole))])
    with pytest.raises(TruncatedFileError, match=rf"expected {len(whole)}, as the header states"):
        list(Root().records(path))


def test_a_branch_that_claims_more_than_the_file_can_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.root", PFCands=collection([3] * 50))
    monkeypatch.setattr("geoembed.io.damage.LIMIT", 100)
    monkeypatch.setattr("geoembed.io.damage.RATIO", 1e-3)
    with pytest.raises(BudgetError, match=r"\[PFCands_\w+\]: found 0\.0 GiB declared"):
        list(Root().records(path))


def test_mutated_files_raise_typed_errors_only(tmp_path: Path) -> None:
    whole = write(tmp_path / "o.root", PFCands=collection([3] * 50)).read_bytes()
    generator = np.random.default_rng(5)
    for _ in range(40):
        changed = bytearray(whole)
        for at in generator.integers(0, len(whole), 5):
            changed[at] = generator.integers(256)
        (tmp_path / "x.root").write_bytes(changed)
        try:
            list(Root().records(tmp_path / "x.root"))
        except GeoembedError as error:
            outcome = str(error)
            assert outcome.startswith((str(tmp_path), "PFCands"))


@needs_data
def test_a_real_tree_and_its_twin_as_ntuple_give_one_answer() -> None:
    tree, twin = good(PARTICLES / "pfnano.root"), good(PARTICLES / "files" / "pfnano_rntuple.root")
    assert [len(payload(record).pt) for record in tree] == [1900, 1819, 1626, 1344, 1698, 1668, 1863, 2336, 1451, 2492]
    for a, b in zip(tree, twin, strict=True):
        for name in ("pt", "eta", "phi", "mass", "charge", "particle_id"):
            assert np.array_equal(getattr(payload(a), name), getattr(payload(b), name))


@needs_data
def test_the_constituents_of_a_real_jet_point_where_the_jet_points() -> None:
    records = good(PARTICLES / "pfnano.root", Root(jets=True))
    with uproot.open(PARTICLES / "pfnano.root") as file:
        jets = file["Events"].arrays(["Jet_eta", "Jet_phi", "Jet_pt"])
    keys = [f"{event}:{jet}" for event in range(10) for jet in range(len(jets.Jet_pt[event]))]
    assert [record.key for record in records] == keys
    eta, phi, pt = (np.asarray(ak.flatten(jets[name])) for name in ("Jet_eta", "Jet_phi", "Jet_pt"))
    for record, jet_eta, jet_phi, jet_pt in zip(records, eta, phi, pt, strict=True):
        found = payload(record)
        px, py, pz = (found.pt * shape for shape in (np.cos(found.phi), np.sin(found.phi), np.sinh(found.eta)))
        total = np.hypot(px.sum(), py.sum())
        # The jet's energy is corrected for what the detector misses and for pile-up, its constituents are not
        assert total == pytest.approx(jet_pt, rel=0.15 if jet_pt > 100 else 1.0)
        assert np.hypot(np.arcsinh(pz.sum() / total) - jet_eta, np.angle(np.exp(1j * (np.arctan2(py.sum(), px.sum()) - jet_phi)))) < 0.02


@needs_data
def test_most_real_edm4hep_particles_lie_on_their_mass_shell() -> None:
    for record in good(PARTICLES / "files" / "p8_ee_WW_ecm240_edm4hep.root"):
        found = payload(record)
        assert found.energy is not None
        assert found.mass is not None
        shell = np.sqrt((found.pt * np.cosh(found.eta)) ** 2 + found.mass**2)
        assert np.median(np.abs(shell / found.energy - 1)) < 1e-6  # but for tracks refitted with another mass
        assert found.energy.sum() < 250  # e+ e− at 240 GeV


@needs_data
def test_a_real_tree_of_no_events_and_1499_branches_gives_no_record() -> None:
    assert good(PARTICLES / "nasty" / "nano_dy_empty.root") == []
