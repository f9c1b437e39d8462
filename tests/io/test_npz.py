"""NumPy arrays: columns, padded jets and swaths by name; objects, false claims and damage refused."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from geoembed.errors import BudgetError, GeoembedError, MissingColumnError, TruncatedFileError, UnreadableFileError, UnsafeFileError
from geoembed.io.npz import Npz
from geoembed.io.record import Record

READER = Npz()


def good(path: Path) -> list[Record]:
    return [record for record in READER.records(path) if isinstance(record, Record)]


def three(shape: tuple[int, ...] = (4, 3)) -> dict[str, np.ndarray]:
    return {name: np.arange(1.0, 1 + np.prod(shape)).reshape(shape) / 10 for name in ("pt", "eta", "phi")}


def header(shape: str, kind: str = "<f8") -> bytes:
    """The bytes of an array's header that claims this shape."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def test_archives_and_arrays_are_known_by_their_content() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(3))
    assert READER.can_open(buffer.getvalue(), "x")
    assert READER.can_open(header("(3,)"), "x")
    assert not READER.can_open(b"PK\x03\x04" + b"\0" * 22 + b"\x05\0\0\0a.txt", "x.zip")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f8", ">f4"])
def test_rows_of_matrices_are_events_in_any_byte_order_and_memory_order(
    tmp_path: Path, save: Callable[..., None], order: str, kind: str
) -> None:
    arrays = {name: np.asarray(array, kind, order=order) for name, array in three().items()}
    save(tmp_path / "x.npz", **arrays)
    assert [record.payload.record.payload.pt.tolist() for record in good(tmp_path / "x.npz")] == arrays["pt"].astype(float).tolist()


def test_a_structured_array_is_a_table(tmp_path: Path) -> None:
    rows = np.zeros(2, [("pt", "f8", 3), ("eta", "f8", 3), ("phi", "f8", 3), ("label", "i4")])
    rows["pt"] = [[3.0, 2.0, 1.0], [5.0, 4.0, 0.0]]
    np.save(tmp_path / "x.npy", rows)
    assert [READER.to_graph(record).num_nodes for record in good(tmp_path / "x.npy")] == [3, 2]


def test_energyflow_jets_are_known_by_their_codes_and_get_pseudorapidities(tmp_path: Path) -> None:
    jets = np.zeros((2, 3, 4))
    jets[0] = [[10.0, 1.0, 0.5, 211], [5.0, -1.0, 6.0, 22], [0, 0, 0, 0]]
    jets[1] = [[7.0, 0.0, 0.1, -2212], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.savez(tmp_path / "QG.npz", X=jets, y=np.array([0, 1]))
    first, second = good(tmp_path / "QG.npz")
    payload = first.payload.record.payload
    assert payload.modality == "jet"
    assert payload.pt.tolist() == [10.0, 5.0, 0.0]
    assert float(payload.eta[1]) == pytest.approx(-1.0)  # a photon: rapidity is pseudorapidity
    assert np.sinh(payload.eta[0]) * 10 == pytest.approx(np.hypot(10, 0.13957) * np.sinh(1.0), rel=1e-6)
    assert second.payload.record.payload.charge.tolist() == [-1.0, 0.0, 0.0]


def test_the_same_block_with_momenta_in_place_of_codes_is_not_guessed(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X=np.random.default_rng(0).random((5, 3, 4)), y=np.zeros(5))
    with pytest.raises(MissingColumnError, match=r"X <f8 \[5, 3, 4\].*add an array of names"):
        list(READER.records(tmp_path / "x.npz"))


def test_an_array_of_names_tells_what_a_block_holds(tmp_path: Path) -> None:
    block = np.random.default_rng(0).random((5, 3, 4))
    np.savez(tmp_path / "x.npz", X=block, y=np.zeros(5), features=np.array(["e", "px", "py", "pz"]))
    for row, record in enumerate(good(tmp_path / "x.npz")):
        assert record.payload.record.payload.pt.tolist() == pytest.approx(np.hypot(block[row, :, 1], block[row, :, 2]).tolist())


def test_a_swath_is_handed_on_as_points_in_order_of_its_lines(tmp_path: Path) -> None:
    from geoembed.io.arrays import array_table

    lat, lon = np.meshgrid([10.0, 20.0], [1.0, 2.0, 3.0], indexing="ij")
    table = array_table({"lat": lat, "lon": lon, "tb": lat * 100 + lon, "time": np.arange(2)})
    assert table is not None
    assert table.columns == ["lat", "lon", "tb"]
    frame = table._frame(0, table.rows)
    assert frame.tb.tolist() == [1001.0, 1002.0, 1003.0, 2001.0, 2002.0, 2003.0]
    assert (frame.tb == frame.lat * 100 + frame.lon).all()


@pytest.mark.parametrize("single", [True, False])
def test_an_array_of_objects_is_refused_and_nothing_in_it_runs(tmp_path: Path, single: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    body = header("(1,)", "|O") + b"cos\nsystem\n(S'touch marker'\ntR."
    path = tmp_path / ("x.npy" if single else "x.npz")
    if single:
        path.write_bytes(body)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("pt.npy", body)
    with pytest.raises(UnsafeFileError, match=r"an array of Python objects.*Save numbers"):
        list(READER.records(path))
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("shape", ["(100000, 100000)", "(99999999999,)", "(3, 4, 5, 99999999)"])
def test_a_header_that_claims_gigabytes_is_refused_before_they_are_allocated(tmp_path: Path, shape: str) -> None:
    (tmp_path / "x.npy").write_bytes(header(shape))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("pt.npy", header(shape))
    start = time.process_time()
    for name in ("x.npy", "x.npz"):
        with pytest.raises(BudgetError, match=r"a declared size of .* expected at most 2\.0 GiB"):
            list(READER.records(tmp_path / name))
    assert time.process_time() - start < 1


def test_a_member_that_unpacks_to_gigabytes_is_refused_by_its_stated_size(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pt.npy", header("(8,)") + bytes(64))
    whole = (tmp_path / "x.npz").read_bytes()
    at = whole.rindex(b"PK\x01\x02") + 24  # uncompressed size in the directory
    (tmp_path / "x.npz").write_bytes(whole[:at] + (3 << 30).to_bytes(4, "little") + whole[at + 4 :])
    with pytest.raises(BudgetError, match=r"3\.0 GiB"):
        list(READER.records(tmp_path / "x.npz"))


@pytest.mark.parametrize("shape", ["(5,)", "(3,)", "(-4,)"])
def test_a_header_that_disagrees_with_the_bytes_is_refused(tmp_path: Path, shape: str) -> None:
    (tmp_path / "x.npy").write_bytes(header(shape) + bytes(32))
    with pytest.raises(TruncatedFileError, match="found 32 bytes"):
        list(READER.records(tmp_path / "x.npy"))


@pytest.mark.parametrize("part", [1 / 3, 1 / 2, -1])
def test_a_cut_archive_is_never_a_shorter_table(tmp_path: Path, part: float) -> None:
    np.savez_compressed(tmp_path / "x.npz", **three((40, 3)))
    whole = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(whole[: int(part) if part < 0 else int(part * len(whole))])
    with pytest.raises(TruncatedFileError, match="no directory of a zip archive"):
        list(READER.records(tmp_path / "x.npz"))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_one_flipped_byte_of_data_is_noticed_by_the_checksum(tmp_path: Path, save: Callable[..., None]) -> None:
    noise = np.frombuffer(np.random.default_rng(0).bytes(960), "<i8").reshape(40, 3)  # deflate stores what it cannot compress
    save(tmp_path / "x.npz", pt=noise, eta=noise, phi=noise)
    whole = bytearray((tmp_path / "x.npz").read_bytes())
    whole[400] ^= 1
    (tmp_path / "x.npz").write_bytes(whole)
    with pytest.raises(UnreadableFileError, match="Bad CRC-32"):
        list(READER.records(tmp_path / "x.npz"))


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ones((2, 3)))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for name in ("pt.npy", "eta.npy", "phi.npy"):
            archive.writestr(name, buffer.getvalue())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("pt.npy", buffer.getvalue())
    with pytest.raises(UnreadableFileError, match=r"two arrays of one name.*Rename them"):
        list(READER.records(tmp_path / "x.npz"))


def test_mutated_archives_raise_typed_errors_only(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "o.npz", **three((30, 4)))
    whole = (tmp_path / "o.npz").read_bytes()
    generator = np.random.default_rng(2)
    outcomes = set()
    for _ in range(200):
        changed = bytearray(whole)
        changed[generator.integers(len(whole))] ^= int(generator.integers(1, 256))
        (tmp_path / "x.npz").write_bytes(changed)
        try:
            assert len(good(tmp_path / "x.npz")) == 30
            outcomes.add("whole")
        except GeoembedError as error:
            outcomes.add(type(error).__name__)
    assert "UnreadableFileError" in outcomes
