"""Archives: members keep their names, pairs find each other, breaks cost what they hit, and no name leaves the archive."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from geoembed.io import archive
from geoembed.io.opener import local_file, safe_name
from geoembed.io.reader import stream
from geoembed.io.record import Quarantined
from geoembed.schema import Graph
from hypothesis import given, settings
from hypothesis import strategies as st

CURVE = b"mjd,mag,magerr,band\n1.0,19.0,0.1,g\n2.0,19.5,0.1,r\n"
Content = dict[str, bytes]


def tar(path: Path, content: Content, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def pack(path: Path, content: Content) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in content.items():
            file.writestr(name, data)
    return path


KINDS: dict[str, Callable[[Path, Content], Path]] = {"a.tar.gz": tar, "a.zip": pack, "a.tar": lambda path, content: tar(path, content, "w")}
each_kind = pytest.mark.parametrize("kind", KINDS)


def read(path: Path) -> tuple[list[Graph], list[Quarantined]]:
    items = list(stream(path))
    return [item for item in items if isinstance(item, Graph)], [item[0] for item in items if isinstance(item, tuple)]


CIF = b"data_a\n_cell_length_a 4\n_cell_length_b 4\n_cell_length_c 4\n_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n" \
      b"loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\nloop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n" \
      b"Na 0 0 0\nCl 0.5 0.5 0.5\n"
LHE = b'<LesHouchesEvents version="3.0">\n<init>\n2212 2212 6500 6500 -1 -1 -1 -1 3 1\n1 1 1 1\n</init>\n<event>\n2 1 1 91 0.0075 0.13\n' \
      b"11 1 0 0 0 0 3 4 0 5 0 0 9\n-11 1 0 0 0 0 -3 -4 0 5 0 0 9\n</event>\n</LesHouchesEvents>\n"


def stored(path: Path, content: Content) -> Path:
    with zipfile.ZipFile(path, "w") as file:  # as Python's zipfile writes by default
        for name, data in content.items():
            file.writestr(name, data)
    return path


@pytest.mark.parametrize(("member", "data"), [("a.cif", CIF), ("A.TXT", CIF), ("a.lhe", LHE)])
@pytest.mark.parametrize("write", [stored, tar, lambda path, content: tar(path, content, "w")])
def test_an_archive_that_shows_the_text_of_its_first_member_is_still_an_archive(
    write: Callable[[Path, Content], Path], member: str, data: bytes, tmp_path: Path
) -> None:
    found, left_out = read(write(tmp_path / "a.archive", {member: data, f"b/{member}": data}))
    assert [graph.num_nodes for graph in found] == [2, 2]
    assert left_out == []


def fits(*hdus: object) -> bytes:
    from astropy.io import fits as library

    out = io.BytesIO()
    library.HDUList(list(hdus)).writeto(out)  # type: ignore[arg-type]
    return out.getvalue()


def pair() -> Content:
    from astropy.io import fits as library

    primary = library.PrimaryHDU()
    primary.header["PHOTFILE"], primary.header["SURVEY"], primary.header["FILTERS"] = "X_PHOT.FITS", "DES", "griz"
    head = library.BinTableHDU.from_columns([
        library.Column("SNID", "8A", array=["17", "18"]), library.Column("PTROBS_MIN", "J", array=[1, 4]),
        library.Column("PTROBS_MAX", "J", array=[2, 5])], name="Header")
    rows = library.BinTableHDU.from_columns([
        library.Column("MJD", "D", array=np.array([1.0, 2.0, -777.0, 3.0, 4.0])), library.Column("FLT", "2A", array=["g", "r", "-", "g", "i"]),
        library.Column("FLUXCAL", "E", array=np.array([10.0, 20.0, 0.0, 30.0, 40.0])),
        library.Column("FLUXCALERR", "E", array=np.ones(5))], name="Photometry")
    return {"run/X_HEAD.FITS": fits(primary, head), "run/X_PHOT.FITS": fits(library.PrimaryHDU(), rows)}


@each_kind
def test_a_member_is_called_as_in_the_archive_and_its_record_as_outside(kind: str, tmp_path: Path) -> None:
    (tmp_path / "SN 2011fe.csv").write_bytes(CURVE)
    ((alone,), _) = read(tmp_path / "SN 2011fe.csv")
    ((graph,), bad) = read(KINDS[kind](tmp_path / kind, {"run/SN 2011fe.csv": CURVE}))
    assert not bad
    assert (graph.record, graph.source) == (alone.record, f"{tmp_path / kind}!run/SN 2011fe.csv")
    assert graph.record == "SN 2011fe"


def test_a_compressed_file_and_a_compressed_member_keep_their_names(tmp_path: Path) -> None:
    (tmp_path / "Vega.csv.gz").write_bytes(gzip.compress(CURVE))
    ((alone,), _) = read(tmp_path / "Vega.csv.gz")
    ((inside,), _) = read(tar(tmp_path / "a.tar", {"b/Vega.csv.gz": gzip.compress(CURVE)}, "w"))
    assert (alone.record, inside.record) == ("Vega", "Vega")


@each_kind
@pytest.mark.parametrize("turned", [False, True])
def test_the_halves_of_a_pair_find_each_other_in_any_order(kind: str, turned: bool, tmp_path: Path) -> None:
    content = pair()
    if turned:
        content = dict(reversed(content.items()))
    graphs, bad = read(KINDS[kind](tmp_path / kind, {"first.csv": CURVE, **content, "last.csv": CURVE}))
    assert [graph.record for graph in graphs] == ["first", "last", "17", "18"]
    assert [graph.num_nodes for graph in graphs] == [2, 2, 2, 2]
    assert [(one.source.rpartition("/")[2], one.error) for one in bad] == [("X_PHOT.FITS", "UnreadableFileError")]
    assert "Open the HEAD file" in bad[0].reason


def test_pairs_of_different_folders_are_not_mixed(tmp_path: Path) -> None:
    content = pair()
    lonely = {"other/X_HEAD.FITS": content["run/X_HEAD.FITS"]}
    graphs, bad = read(tar(tmp_path / "a.tar", {**lonely, **content}, "w"))
    assert [graph.source.rpartition("!")[2] for graph in graphs] == ["run/X_HEAD.FITS"] * 2
    assert any("without its photometry" in one.reason and "other/X_HEAD.FITS" in one.source for one in bad)


def test_a_weight_map_is_known_by_its_name_inside_an_archive_too(tmp_path: Path) -> None:
    from astropy.io import fits as library

    image = fits(library.PrimaryHDU(np.ones((8, 8), dtype=np.float32)))
    graphs, bad = read(tar(tmp_path / "a.tar", {"c4d_1_ooi_g.fits": image, "c4d_1_oow_g.fits": image}, "w"))
    assert [graph.source.rpartition("!")[2] for graph in graphs] == ["c4d_1_ooi_g.fits"]
    assert "a weight, mask or error image" in bad[0].reason


def test_a_broken_archive_gives_its_whole_members_then_one_reason(tmp_path: Path) -> None:
    numbers = np.random.default_rng(1)
    noise = {f"{i}.csv": CURVE + b"".join(b"%f,%f,0.1,g\n" % tuple(numbers.random(2)) for _ in range(300)) for i in range(20)}
    whole = tar(tmp_path / "a.tar.gz", {**pair(), **noise}).read_bytes()
    (tmp_path / "b.tar.gz").write_bytes(whole[: 2 * len(whole) // 3])
    graphs, bad = read(tmp_path / "b.tar.gz")
    names = [graph.record for graph in graphs]
    assert names[-2:] == ["17", "18"]  # the pair was whole
    assert names[:-2] == [str(i) for i in range(len(names) - 2)]
    assert 5 < len(names) < 20
    assert [one.error for one in bad if one.stage == "open"] == ["TruncatedFileError"]


@each_kind
@pytest.mark.parametrize("name", ["../x.csv", "a/../../x.csv", "/etc/x.csv", "C:\\x.csv", "..\\x.csv"])
def test_a_name_that_leaves_the_archive_is_refused_and_the_rest_is_read(kind: str, name: str, tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    graphs, bad = read(KINDS[kind](inside / kind, {name: CURVE, "good.csv": CURVE}))
    assert [graph.record for graph in graphs] == ["good"]
    assert [one.error for one in bad] == ["UnsafeFileError"]
    assert "a name that leaves the archive" in bad[0].reason
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(["in", kind])


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        info = tarfile.TarInfo("x.csv")
        info.type, info.linkname = kind, "/etc/passwd"
        file.addfile(info)
    graphs, bad = read(tmp_path / "a.tar")
    assert (graphs, bad[0].error) == ([], "UnsafeFileError")
    assert "a link or device" in bad[0].reason


def test_a_member_larger_than_the_budget_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "check_budget", lambda where, shape, itemsize: _refuse(where, shape[0]))
    graphs, bad = read(tar(tmp_path / "a.tar", {"huge.csv": bytes(5000), "good.csv": CURVE}, "w"))
    assert [graph.record for graph in graphs] == ["good"]
    assert bad[0].error == "BudgetError"


def _refuse(where: str, size: int) -> None:
    from geoembed.io.budget import check_budget

    check_budget(where, (size,), 1, limit=1000)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=400))
def test_no_name_becomes_more_than_a_file_name(name: str) -> None:
    safe = safe_name(name)
    assert safe
    assert "/" not in safe
    assert "\0" not in safe
    assert not safe.startswith(".")
    assert len(safe.encode()) <= 200


def test_a_decompressed_copy_lies_in_a_folder_of_its_own_and_goes_away(tmp_path: Path) -> None:
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(CURVE))
    with local_file(tmp_path / "x.csv.gz") as copy:
        assert (copy.name, copy.read_bytes()) == ("x.csv", CURVE)
        assert [path.name for path in copy.parent.iterdir()] == ["x.csv"]
        assert copy.parent != tmp_path
    assert not copy.parent.exists()
