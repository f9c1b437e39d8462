"""Which files are meant: every one of them, under any name, once, and none silently left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from geoembed.errors import EmptyGraphError
from geoembed.pipeline import expand
from geoembed.pipeline.inputs import unusable
from geoembed.store.atomic import locked, sealed

ODD = ["with space.cif", "run[1].cif", "café.cif", "line\nbreak.cif", "UPPER.CIF", "x" * 200, "*.cif", "-o", "semi;colon$(x).cif"]


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


def test_a_folder_gives_all_its_files_whatever_they_are_called(tmp_path):
    files = sorted(str(touch(tmp_path / "run[1]" / name)) for name in ODD)
    assert expand(tmp_path / "run[1]").sources == files
    assert sorted(expand(files).sources) == files


def test_names_that_are_no_text_are_files_too(tmp_path):
    name = os.path.join(os.fsencode(tmp_path), b"\xff\xfe.cif")
    with open(name, "wb") as file:
        file.write(b"x")
    assert expand(tmp_path).sources == [os.fsdecode(name)]


def test_the_order_is_that_of_the_call_and_within_folders_that_of_the_names(tmp_path):
    for name in ("b/2", "b/10", "b/a/1", "a/1"):
        touch(tmp_path / name)
    names = [os.path.relpath(source, tmp_path) for source in expand([tmp_path / "b", tmp_path / "a"]).sources]
    assert names == ["b/10", "b/2", "b/a/1", "a/1"]


def test_a_file_that_is_named_twice_is_read_once(tmp_path):
    path = touch(tmp_path / "a" / "x.cif")
    assert expand([path, tmp_path / "a", tmp_path / "a" / ".." / "a" / "x.cif"]).sources == [str(path)]


def test_hidden_files_are_counted_but_read_when_they_are_named(tmp_path):
    touch(tmp_path / ".DS_Store"), touch(tmp_path / ".git" / "config"), touch(tmp_path / "x.cif")
    inputs = expand(tmp_path)
    assert (len(inputs.sources), dict(inputs.ignored)) == (1, {"hidden": 2})
    assert expand(tmp_path / ".DS_Store").sources == [str(tmp_path / ".DS_Store")]


def test_link_loops_end_and_a_folder_with_two_names_is_read_once(tmp_path):
    touch(tmp_path / "a" / "x.cif")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    inputs = expand(tmp_path)
    assert inputs.sources == [str(tmp_path / "a" / "x.cif")]
    assert inputs.ignored["folder met before"] == 2


def test_a_zarr_folder_is_one_source_by_name_and_by_content(tmp_path):
    touch(tmp_path / "field.zarr" / "x" / "0")
    touch(tmp_path / "array" / "zarr.json")
    assert expand(tmp_path).sources == [str(tmp_path / "array"), str(tmp_path / "field.zarr")]


def test_own_stores_and_tables_inside_an_input_folder_are_no_inputs(tmp_path):
    touch(tmp_path / "x.cif")
    for name, second, content in (("graphs", "kinds", "manifest.json"), ("table", "rows", "table.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / content).write_bytes(sealed({"format": 1, second: 0}))
        touch(tmp_path / name / "part-0.parquet")
    with locked(tmp_path / "unfinished"):
        touch(tmp_path / "unfinished" / "journal.jsonl")
    inputs = expand(tmp_path)
    assert inputs.sources == [str(tmp_path / "x.cif")]
    assert inputs.ignored["store or table of geoembed"] == 3


def test_another_program_s_manifest_is_an_input(tmp_path):
    touch(tmp_path / "set" / "manifest.json")
    assert expand(tmp_path).sources == [str(tmp_path / "set" / "manifest.json")]


def test_no_file_at_all_is_an_error_that_counts_what_was_passed_over(tmp_path):
    touch(tmp_path / ".hidden")
    with pytest.raises(EmptyGraphError, match=r"no file.*Passed over: \{'hidden': 1\}"):
        expand(tmp_path)
    with pytest.raises(EmptyGraphError, match="Passed over: nothing"):
        expand([])


def test_urls_stay_as_they_are():
    assert expand(["s3://bucket/a.cif", "https://host/b.fits"]).sources == ["s3://bucket/a.cif", "https://host/b.fits"]


def test_what_cannot_be_opened_has_its_own_reason_and_never_blocks(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    found = {name: str(unusable(str(tmp_path / name))) for name in ("pipe", "dangling", "circle", "missing")}
    assert "a pipe, socket or device" in found["pipe"]
    assert "a link that leads nowhere" in found["dangling"]
    assert "symbolic links" in found["circle"]
    assert "no such file" in found["missing"]
    assert unusable(str(touch(tmp_path / "good"))) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path):
    touch(tmp_path / "x").chmod(0)
    assert "Permission denied" in str(unusable(str(tmp_path / "x")))
