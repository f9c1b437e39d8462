"""Zarr 2 and 3, folders and zip archives; the same state in three formats is one graph; claims and codecs are checked first."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
from geoembed.errors import BudgetError, EmptyGraphError, TruncatedFileError, UnreadableFileError, UnsafeFileError
from geoembed.graphs.sphere import sphere_graph
from geoembed.io.grib import Grib
from geoembed.io.record import BadRecord
from geoembed.io.zarr import Zarr

from climate_files import LAT, LON, temperature

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FILES = SHARED / "climate" / "files"


def dataset(times=3):
    return xarray.Dataset(
        {"t": (("time", "lat", "lon"), temperature(times), {"units": "K"})},
        {"time": ("time", np.arange(times), {"units": "days since 2001-01-01"}), "lat": ("lat", LAT, {"units": "degrees_north"}),
         "lon": ("lon", LON, {"units": "degrees_east"})},
    )


def written(path, version=2, times=3, group=None):
    dataset(times).to_zarr(path, zarr_format=version, consolidated=version == 2, encoding={"t": {"chunks": (1, 13, 24)}}, group=group)
    return path


def zipped(folder, path, prefix=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def records(path):
    return list(Zarr().records(path))


def edited(path, **changes):
    metadata = path / "t" / ".zarray"
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | changes))
    return path


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("form", ["folder", "zip", "zipped folder", "group"])
def test_each_time_is_a_record_in_every_form_of_a_store(tmp_path, version, form):
    path = written(tmp_path / "t.zarr", version, group="inner" if form == "group" else None)
    if form.startswith("zip"):
        path = zipped(path, tmp_path / "t.zarr.zip", "t.zarr/" if form == "zipped folder" else "")
    found = records(path)
    prefix = "inner " if form == "group" else ""
    assert [record.key for record in found] == [f"{prefix}2001-01-0{day}T00:00:00" for day in (1, 2, 3)]
    for record, values in zip(found, temperature(3), strict=True):
        expected = sphere_graph(values[None], lat=LAT, lon=LON, level=2)
        assert torch.equal(Zarr().to_graph(record).x, expected.x)


def test_content_decides_what_is_a_store(tmp_path):
    reader = Zarr()
    assert reader.can_open(b"", "t.zarr")
    assert not reader.can_open(b"", "t.nc")
    head = zipped(written(tmp_path / "t.zarr"), tmp_path / "anything.zip").read_bytes()[:4096]
    assert reader.can_open(head, "anything.zip")
    assert not reader.can_open(b"PK\x03\x04" + bytes(22) + (5).to_bytes(2, "little") + bytes(2) + b"a.cif", "structures.zip")


def test_damaged_chunk_costs_its_own_time_only(tmp_path):
    path = written(tmp_path / "t.zarr")
    (path / "t" / "1.0.0").write_bytes(b"not a compressed chunk")
    first, second, third = records(path)
    assert isinstance(second, BadRecord)
    assert second.key == "2001-01-02T00:00:00"
    with pytest.raises(UnreadableFileError, match="damaged or cut off"):
        raise second.error
    np.testing.assert_array_equal(first.payload.values[0], temperature(3)[0])
    np.testing.assert_array_equal(third.payload.values[0], temperature(3)[2])


def test_chunks_that_were_never_written_are_unmeasured_and_counted(tmp_path):
    path = written(tmp_path / "t.zarr")
    (path / "t" / "1.0.0").unlink()
    first, second, _ = records(path)
    assert first.notes["chunks_not_written"] == 1
    assert isinstance(second, BadRecord)  # the fill value of the store is NaN: nothing was measured
    assert isinstance(second.error, EmptyGraphError)


def test_store_that_claims_terabytes_is_refused_before_a_chunk_is_read(tmp_path):
    path = edited(written(tmp_path / "t.zarr"), shape=[1_000_000, 1_000_000], chunks=[1000, 1000])
    with pytest.raises(BudgetError, match="3814697 MiB declared, 11.4 MiB written"):
        records(path)


def test_chunk_larger_than_the_budget_is_refused(tmp_path):
    path = edited(written(tmp_path / "t.zarr"), shape=[40_000, 40_000], chunks=[40_000, 40_000])
    with pytest.raises(BudgetError, match="Split the record"):
        records(path)


def test_codec_that_runs_code_is_refused_before_it_runs(tmp_path):
    path = edited(written(tmp_path / "t.zarr"), filters=[{"id": "pickle"}])
    with pytest.raises(UnsafeFileError, match="not Python objects"):
        records(path)


@pytest.mark.parametrize("content", ["[1, 2]", "{", '{"shape": [-1], "chunks": [1], "dtype": "<f4"}', '{"zarr_format": 2}'])
def test_broken_metadata_are_an_error_of_ours(tmp_path, content):
    path = written(tmp_path / "t.zarr")
    (path / "t" / ".zarray").write_text(content)
    with pytest.raises(UnreadableFileError, match="write"):
        records(path)


def test_archive_without_its_directory_is_truncated(tmp_path):
    whole = zipped(written(tmp_path / "t.zarr"), tmp_path / "t.zarr.zip").read_bytes()
    for cut in (len(whole) // 3, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.zarr.zip").write_bytes(whole[:cut])
        with pytest.raises(TruncatedFileError, match="Fetch or write"):
            records(tmp_path / "cut.zarr.zip")


def test_folder_without_metadata_and_store_without_arrays_are_named(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(UnreadableFileError, match=r"holds \.zgroup or zarr\.json"):
        records(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / ".zgroup").write_text('{"zarr_format": 2}')
    with pytest.raises(EmptyGraphError, match="never filled"):
        records(tmp_path / "a.zarr")


def test_arrays_without_named_dimensions_say_what_is_missing(tmp_path):
    path = written(tmp_path / "t.zarr")
    shutil.copy(path / "t" / ".zarray", tmp_path / "kept")
    (path / "t" / ".zattrs").write_text("{}")
    (path / ".zmetadata").unlink()
    with pytest.raises(UnreadableFileError, match="arrays that name their dimensions"):
        records(path)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
def test_one_state_in_grib_zarr_2_and_zarr_3_is_one_graph():
    (grib,) = Grib().records(FILES / "pl_10deg_one_time.grib")
    expected = Grib().to_graph(grib)
    for name in ("pl_10deg_v2.zarr.zip", "pl_10deg_v3.zarr.zip"):
        (record,) = records(FILES / name)
        graph = Zarr().to_graph(record)
        assert graph.provenance.settings == expected.provenance.settings
        for field in ("x", "measured", "mask", "pos", "weight", "edge_index", "edge_attr"):
            assert torch.equal(graph[field], expected[field]), field
