"""Merging stores is a union: every chunk once, byte for byte, and nothing twice."""

from __future__ import annotations

import pytest
from geoembed.errors import StoreError
from geoembed.store import Refused, ShardDataset, merge, merging, open_store, verify
from geoembed.store.manifest import Journal
from store_samples import chunk, cloud, crystal, grid, same


def store_of(folder, *chunks):
    entries = [chunk(folder, key, items, [f"{key}.file"]) for key, items in chunks]
    return Journal(folder).close(entries)


@pytest.fixture
def two(tmp_path):
    bad = Refused("x.cif", "r", "read", "broken", "UnreadableFileError")
    first = store_of(tmp_path / "a", ("one", [cloud(0), bad, cloud(1)]), ("two", [grid(0), grid(1)]))
    second = store_of(tmp_path / "b", ("two", [grid(0), grid(1)]), ("three", [crystal(3)]))
    return first, second


def test_a_merged_store_has_every_chunk_once_and_its_counts_add_up(two, tmp_path):
    merged = merge(two, tmp_path / "out")
    assert [part.key for part in merged.chunks] == ["one", "two", "three"]
    assert (merged.records_in, merged.built, merged.quarantined) == (6, 5, 1)
    assert verify(tmp_path / "out") == []
    for graph, expected in zip(ShardDataset(merged), [cloud(0), cloud(1), grid(0), grid(1), crystal(3)], strict=True):
        same(graph, expected)
    assert [line.reason for line in merged.refused()] == ["broken"]


def test_merging_again_or_in_parts_gives_the_same_bytes(two, tmp_path):
    merge(two, tmp_path / "out")
    merge([tmp_path / "a"], tmp_path / "parts")
    merge([tmp_path / "b", tmp_path / "a"], tmp_path / "parts")
    merge(two, tmp_path / "out")

    def contents(name):
        return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir() if path.name != ".lock"}

    assert contents("out") == contents("parts")


def test_an_interrupted_merge_goes_on(two, tmp_path, monkeypatch):
    copies, real = [], merging._copy

    def failing(source, target, digest):
        copies.append(source.name)
        if len(copies) == 4:
            raise KeyboardInterrupt
        real(source, target, digest)

    monkeypatch.setattr(merging, "_copy", failing)
    with pytest.raises(KeyboardInterrupt):
        merge(two, tmp_path / "out")
    with pytest.raises(StoreError, match="goes on where it stopped"):
        open_store(tmp_path / "out")
    merge(two, tmp_path / "out")
    assert verify(tmp_path / "out") == []
    assert len(set(copies[:2]) & set(copies[4:])) == 0  # the chunk that was finished is not copied again


def test_one_source_in_two_states_is_refused_before_anything_is_copied(tmp_path):
    old = store_of(tmp_path / "a", ("one", [cloud(0)]))
    entry = chunk(tmp_path / "b", "other", [cloud(1)], ["one.file"])
    new = Journal(tmp_path / "b").close([entry])
    with pytest.raises(StoreError, match=r"one\.file in another chunk"):
        merge([old, new], tmp_path / "out")
    assert not list((tmp_path / "out").glob("shard-*"))


def test_a_damaged_file_does_not_enter_a_merged_store(two, tmp_path):
    path = next((tmp_path / "a").glob("shard-*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=path.name):
        merge(two, tmp_path / "out")
    assert not [file for file in (tmp_path / "out").iterdir() if file.name.startswith((".writing-", path.name))]
