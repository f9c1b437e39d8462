"""Chunks: equal inputs have equal keys, and a change moves no more keys than it must."""

from __future__ import annotations

import os

from geoembed.pipeline import chunks, chunks_of
from geoembed.pipeline.chunks import MAX_FILES, fingerprint
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.lists(st.text("abcdef0123", min_size=1, max_size=8), unique=True, max_size=300)


@given(NAMES)
def test_every_source_is_in_one_chunk_in_order(names):
    found = list(chunks_of(names))
    assert [source for chunk in found for source in chunk.sources] == names
    assert all(0 < len(chunk.sources) <= MAX_FILES for chunk in found)


@given(NAMES, st.text("xyz", min_size=1, max_size=8), st.integers(0, 300))
def test_one_more_file_changes_few_chunks(names, new, place):
    before = {chunk.key for chunk in chunks_of(names)}
    place = min(place, len(names))
    after = {chunk.key for chunk in chunks_of([*names[:place], new, *names[place:]])}
    # Its own chunk; and, where chunks ended by their length, those up to the next end that a name makes.
    assert len(before - after) <= 1 + len(names) // MAX_FILES


def test_content_decides_about_small_files_and_time_about_large_ones(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    key = fingerprint(str(path))
    os.utime(path, (1, 1))
    assert fingerprint(str(path)) == key  # touched, copied or unpacked again: the same
    path.write_bytes(b"abd")
    assert fingerprint(str(path)) != key
    monkeypatch.setattr(chunks, "_SMALL", 2)
    large = fingerprint(str(path))
    os.utime(path, (2, 2))
    assert fingerprint(str(path)) != large


def test_a_folder_that_is_one_source_changes_with_any_file_in_it(tmp_path):
    (tmp_path / "f.zarr" / "c").mkdir(parents=True)
    (tmp_path / "f.zarr" / "c" / "0").write_bytes(b"a")
    key = fingerprint(str(tmp_path / "f.zarr"))
    (tmp_path / "f.zarr" / "c" / "1").write_bytes(b"a")
    assert fingerprint(str(tmp_path / "f.zarr")) != key


def test_what_cannot_be_read_has_a_key_that_changes_when_it_can(tmp_path):
    path = tmp_path / "x"
    assert fingerprint(str(path)) == "unusable:FileNotFoundError"
    path.write_bytes(b"")
    assert fingerprint(str(path)).startswith("sha256:")
    assert fingerprint("nosuchprotocol://x").startswith("unusable:")


def test_a_remote_file_is_known_by_what_its_server_says(tmp_path):
    import fsspec

    with fsspec.open("memory://bucket/x", "wb") as file:
        file.write(b"abc")
    assert fingerprint("memory://bucket/x") == fingerprint("memory://bucket/x")
    assert fingerprint("memory://bucket/x").startswith("url:[3")


def test_the_key_changes_with_the_code_that_reads(tmp_path, monkeypatch):
    before = [chunk.key for chunk in chunks_of(["a", "b"])]
    monkeypatch.setattr(chunks, "code_version", lambda: "another")
    assert [chunk.key for chunk in chunks_of(["a", "b"])] != before


def test_the_code_version_covers_plug_ins(tmp_path, monkeypatch):
    from hostile_files import install

    chunks.code_version.cache_clear()
    before = chunks.code_version()
    monkeypatch.syspath_prepend(install(tmp_path))
    chunks.code_version.cache_clear()
    assert chunks.code_version() != before
    monkeypatch.undo()
    chunks.code_version.cache_clear()


def test_large_files_do_not_gather_in_one_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "MAX_BYTES", 10)
    for name in "abcd":
        (tmp_path / name).write_bytes(b"12345678")
    assert [len(chunk.sources) for chunk in chunks_of([str(tmp_path / name) for name in "abcd"])] == [1, 1, 1, 1]
