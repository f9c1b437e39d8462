"""HDF5: the layouts of jets, events and tables; links that leave the file; claims and chunks that are not there."""

from __future__ import annotations

import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from geoembed.errors import BudgetError, MissingColumnError, TruncatedFileError, UnreadableFileError, UnsafeFileError
from geoembed.io.hdf5 import Hdf5
from geoembed.io.record import BadRecord, Record

READER = Hdf5()
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
N, K = 7, 12


def momenta(seed: int = 0) -> np.ndarray:
    """Padded blocks [n, k, 4] of (E, px, py, pz), row i with i + 1 particles."""
    generator = np.random.default_rng(seed)
    p = generator.normal(size=(N, K, 3))
    block = np.concatenate([np.sqrt((p**2).sum(-1, keepdims=True) + 0.02), p], -1)
    block[np.arange(K) > np.arange(N)[:, None]] = 0
    return block


def good(path: Path) -> list[Record]:
    records = list(READER.records(path))
    assert not [record for record in records if isinstance(record, BadRecord)]
    return [record for record in records if isinstance(record, Record)]


def graphs_of(path: Path) -> list[tuple[int, float]]:
    """Nodes, and the energy of all particles, of each graph."""
    return [(int(graph.num_nodes), float(graph.x[:, 3].double().sum())) for graph in map(READER.to_graph, good(path))]


def expected(block: np.ndarray) -> list[tuple[int, float]]:
    return [(row + 1, pytest.approx(float(block[row, :, 0].sum()), rel=1e-6)) for row in range(N)]


def columns_of(block: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The names E_0, PX_0, PY_0, PZ_0, E_1 … and the block as a matrix [n, 4 k]."""
    return [f"{name}_{slot}" for slot in range(K) for name in ("E", "PX", "PY", "PZ")], block.reshape(N, 4 * K)


def textual_list(names: list[str]) -> bytes:
    """A list of texts as PyTables stores the names of columns."""
    return b"(lp0\n" + b"".join(f"V{name}\np{number}\na".encode() for number, name in enumerate(names, start=1)) + b"."


def test_hdf5_is_known_by_its_signature_also_behind_a_user_block() -> None:
    signature = b"\x89HDF\r\n\x1a\n"
    assert READER.can_open(signature + b"\0" * 50, "x")
    assert READER.can_open(b"\0" * 512 + signature, "x.mat")
    assert not READER.can_open(b"\0" * 100 + signature, "x.h5")
    assert not READER.can_open(signature + b"OHDR _NCProperties", "x.nc")


def test_a_padded_block_with_names_of_features_is_a_jet_a_row(tmp_path: Path) -> None:
    block = momenta()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["jetConstituentList"] = block
        file["particleFeatureNames"] = np.array([b"j1_e", b"j1_px", b"j1_py", b"j1_pz", b"j1_pdgid"])  # one more than columns
        file["jets"] = np.ones((N, 2))
        file["jetFeatureNames"] = np.array([b"j_pt", b"j_g"])
        file["jetImage"] = np.zeros((N, 5, 5))
    assert graphs_of(tmp_path / "x.h5") == expected(block)
    assert {record.payload.record.payload.modality for record in good(tmp_path / "x.h5")} == {"jet"}


def test_names_of_features_may_stand_in_an_attribute(tmp_path: Path) -> None:
    block = momenta()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["constituents"] = block
        file["constituents"].attrs["columns"] = ["energy", "px", "py", "pz"]
    assert graphs_of(tmp_path / "x.h5") == expected(block)


def test_jetnet_momenta_are_scaled_by_their_jet(tmp_path: Path) -> None:
    features = np.array([[[0.1, 0.2, 0.5, 1.0], [-0.1, 0.0, 0.25, 1.0], [0.0, 0.0, 0.0, 0.0]]])
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["particle_features"], file["jet_features"] = features, np.array([[1000.0, 0.5, 80.0, 2.0]])
    (record,) = good(tmp_path / "x.hdf5")
    assert record.payload.record.payload.pt.tolist() == [500.0, 250.0]
    assert record.payload.record.payload.eta.tolist() == pytest.approx([0.6, 0.4])
    assert record.notes == {"masked_dropped": 1}


def test_a_frame_of_pandas_in_table_format_is_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    block = momenta()
    names, matrix = columns_of(block)
    rows = np.zeros(N, np.dtype([("index", "i8"), ("values_block_0", "f8", (4 * K,)), ("values_block_1", "i8", (2,))]))
    rows["values_block_0"] = matrix
    with h5py.File(tmp_path / "x.h5", "w") as file:
        table = file.create_dataset("table/table", data=rows, chunks=(3,), compression="gzip")
        table.attrs["values_block_0_kind"] = np.bytes_(textual_list(names))
        table.attrs["values_block_1_kind"] = np.bytes_(textual_list(["ttv", "is_signal_new"]))
    assert graphs_of(tmp_path / "x.h5") == expected(block)
    assert good(tmp_path / "x.h5")[0].payload.record.payload.modality == "jet"


def test_a_frame_of_pandas_in_fixed_format_is_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    block = momenta()
    names, matrix = columns_of(block)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["frame/axis0"] = file["frame/block0_items"] = np.array(names, "S")
        file["frame/axis1"], file["frame/block0_values"] = np.arange(N), matrix
    assert graphs_of(tmp_path / "x.h5") == expected(block)


@pytest.mark.parametrize("hostile", [
    b"cos\nsystem\n(S'touch marker'\ntR.", b"(lp0\nVE_0\np1\nacos\nsystem\n(S'touch marker'\ntRa.", b"\x80\x04\x95",
    b"(lp0\n" + b"VE\na" * 9999,
])
def test_names_that_are_more_than_a_list_of_texts_are_not_read(tmp_path: Path, hostile: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, matrix = columns_of(momenta())
    rows = np.zeros(N, np.dtype([("values_block_0", "f8", (4 * K,))]))
    rows["values_block_0"] = matrix
    with h5py.File("x.h5", "w") as file:
        file.create_dataset("table", data=rows).attrs["values_block_0_kind"] = np.bytes_(hostile)
    start = time.process_time()
    with pytest.raises(MissingColumnError, match="values_block_0"):
        list(READER.records(Path("x.h5")))
    assert time.process_time() - start < 2
    assert not Path("marker").exists()


def test_columns_of_a_group_may_be_vectors_lists_or_padded_matrices(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in ("pt", "eta", "phi"):
            ragged = file.create_dataset(f"INPUTS/ragged/{name}", (2,), h5py.vlen_dtype(np.float32))
            ragged[0], ragged[1] = [1.0, 2.0, 3.0], [4.0]
            file[f"INPUTS/source/{name}"] = np.array([[1.0, 2.0, 3.0], [4.0, 9.0, 9.0]], ">f8")
        file["INPUTS/source/MASK"] = np.array([[True, True, True], [True, False, False]])
    records = good(tmp_path / "x.h5")
    assert [record.key for record in records] == ["INPUTS/ragged/0", "INPUTS/ragged/1", "INPUTS/source/0", "INPUTS/source/1"]
    assert [record.payload.record.payload.pt.tolist() for record in records] == [[1, 2, 3], [4]] * 2


def test_tables_of_jets_and_of_their_tracks_do_not_mix_their_columns(tmp_path: Path) -> None:
    tracks = np.zeros((2, 3), [("pt", "f4"), ("eta", "f4"), ("phi", "f4"), ("valid", "?")])
    tracks["pt"], tracks["valid"] = 2.0, [[True, True, False], [True, False, False]]
    jets = np.zeros(2, [("pt", "f4"), ("eta", "f4"), ("phi", "f4")])
    jets["pt"] = 500.0
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["jets"], file["tracks"] = jets, tracks
    records = good(tmp_path / "x.h5")
    assert [record.payload.record.payload.pt.tolist() for record in records] == [[2.0, 2.0], [2.0]]


def test_light_curves_of_a_group_each_keep_apart(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, length in (("sn1", 5), ("sn2", 8), ("../../sn3", 6)):
            group = file.create_group(name.replace("/", "∕"))  # a slash would make groups
            group["mjd"], group["mag"], group["band"] = np.arange(length) * 1.0, np.full(length, 18.0), np.full(length, b"g")
    records = good(tmp_path / "x.h5")
    assert sorted(READER.to_graph(record).num_nodes for record in records) == [5, 6, 8]
    assert len({record.key for record in records}) == 3


def les_houches(path: Path, grouped: bool) -> None:
    """Two events: u ubar → e+ e−, and the same with one photon more; as groups of vectors or as matrices with names."""
    names = ["id", "status", "mother1", "mother2", "color1", "color2", "px", "py", "pz", "e", "m", "lifetime", "spin"]
    table = np.zeros((9, 13))
    table[:, 0] = [2, -2, 11, -11, 2, -2, 11, -11, 22]
    table[:, 1] = [-1, -1, 1, 1, -1, -1, 1, 1, 1]
    table[:, 6:10] = [[0, 0, 50, 50], [0, 0, -50, 50], [30, 0, 40, 50], [-30, 0, -40, 50],
                      [0, 0, 50, 50], [0, 0, -50, 50], [30, 0, 0, 30], [-30, 0, 20, 36.0555127546399], [0, 0, -20, 20]]
    events = np.array([[1, 4, 0], [1, 5, 4]], float)
    with h5py.File(path, "w") as file:
        for key, data, columns in (("event", events, ["pid", "nparticles", "start"]), ("particle", table, names)):
            if grouped:
                for number, column in enumerate(columns):
                    file[f"{key}/{column}"] = data[:, number]
            else:
                file[f"{key}s"] = data
                file[f"{key}s"].attrs["properties"] = columns


@pytest.mark.parametrize("grouped", [True, False])
def test_les_houches_events_give_their_outgoing_particles(tmp_path: Path, grouped: bool) -> None:
    les_houches(tmp_path / "x.hdf5", grouped)
    first, second = good(tmp_path / "x.hdf5")
    assert first.payload.pt.tolist() == [30.0, 30.0]
    assert np.sinh(first.payload.eta).tolist() == pytest.approx([4 / 3, -4 / 3])
    assert first.payload.charge.tolist() == [-1.0, 1.0]
    assert first.notes["not_final_dropped"] == 2
    assert second.notes["along_beam_dropped"] == 1


def test_les_houches_events_that_leave_the_particles_are_refused(tmp_path: Path) -> None:
    les_houches(tmp_path / "x.hdf5", True)
    with h5py.File(tmp_path / "x.hdf5", "a") as file:
        file["event/nparticles"][1] = 50
    with pytest.raises(TruncatedFileError, match=r"events that end at particle 54; expected .* within 9 particles"):
        list(READER.records(tmp_path / "x.hdf5"))


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
def test_real_les_houches_events_balance_their_transverse_momentum() -> None:
    records = good(SHARED / "particles" / "files" / "pylhe-testfile-hpcgen.hdf5")
    assert len(records) == 100
    for record in records:
        payload = record.payload
        assert abs(np.sum(payload.pt * np.exp(1j * payload.phi))) < 1e-6 * payload.energy.sum()


def test_what_is_no_table_is_listed_in_the_error(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["strain/Strain"], file["meta/GPSstart"] = np.zeros(4096), 1126259446
    with pytest.raises(MissingColumnError, match=r"strain/Strain <f8 \[4096\].*Rename the datasets"):
        list(READER.records(tmp_path / "x.hdf5"))


def test_a_group_that_contains_itself_is_visited_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in ("pt", "eta", "phi"):
            file[f"a/{name}"] = np.ones((2, 3))
        file["a/loop"] = file["a"]
        file["b"], file["soft"] = file["a"], h5py.SoftLink("/a")
    assert len(good(tmp_path / "x.h5")) == 2


@pytest.mark.parametrize("kind", ["link", "virtual", "external"])
def test_data_in_another_file_are_never_opened(tmp_path: Path, kind: str) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["pt"] = np.ones((2, 3))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        if kind == "link":
            file["pt"] = h5py.ExternalLink("secret.h5", "pt")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((2, 3), "f8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "pt", (2, 3))
            file.create_virtual_dataset("pt", layout)
        else:
            file.create_dataset("pt", (2, 3), "f8", external=[(str(tmp_path / "secret.h5"), 0, 48)])
    with pytest.raises(UnsafeFileError, match=r"in another file|to another file"):
        list(READER.records(tmp_path / "x.h5"))


def test_a_small_file_that_claims_forty_gigabytes_is_refused_at_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in ("pt", "eta", "phi"):
            file.create_dataset(name, (100_000, 100_000), "f4", chunks=(1, 1000), compression="gzip")
    assert (tmp_path / "x.h5").stat().st_size < 20_000
    start = time.process_time()
    with pytest.raises(BudgetError, match=r"37\.3 GiB declared in 0 bytes"):
        list(READER.records(tmp_path / "x.h5"))
    assert time.process_time() - start < 1


def test_a_chunk_that_was_never_written_is_not_read_as_zeros(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in ("pt", "eta", "phi"):
            file.create_dataset(name, (6, 4), "f8", chunks=(2, 4))[:4] = 1.0
    with pytest.raises(TruncatedFileError, match=r"found 2 of 3 chunks; expected all of them\. The writer was interrupted"):
        list(READER.records(tmp_path / "x.h5"))


@pytest.mark.parametrize("part", [1 / 3, 1 / 2, -1])
def test_a_cut_file_is_never_a_shorter_table(tmp_path: Path, part: float) -> None:
    les_houches(tmp_path / "x.h5", True)
    whole = (tmp_path / "x.h5").read_bytes()
    (tmp_path / "x.h5").write_bytes(whole[: int(part) if part < 0 else int(part * len(whole))])
    with pytest.raises(TruncatedFileError, match="Fetch or write the file again"):
        list(READER.records(tmp_path / "x.h5"))


def test_a_damaged_chunk_is_noticed_by_its_checksum(tmp_path: Path) -> None:
    block = momenta()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("jet", data=block, chunks=block.shape, fletcher32=True)
        data.attrs["columns"] = ["e", "px", "py", "pz"]
        offset = data.id.get_chunk_info(0).byte_offset
    whole = bytearray((tmp_path / "x.h5").read_bytes())
    whole[offset + 100] ^= 1
    (tmp_path / "x.h5").write_bytes(whole)
    with pytest.raises(UnreadableFileError, match="damaged or cut off"):
        list(READER.records(tmp_path / "x.h5"))


def test_no_rows_give_no_record(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in ("pt", "eta", "phi"):
            file.create_dataset(name, (0, 4), "f8", maxshape=(None, 4), chunks=(10, 4))
    assert good(tmp_path / "x.h5") == []
