"""Manifest, journal, lock and verification of a graph store."""

from __future__ import annotations

import json
import os

import pytest
from geoembed.errors import StoreError
from geoembed.store import Refused, ShardDataset, is_store, open_store, verify
from geoembed.store.atomic import locked, sealed
from geoembed.store.manifest import Journal
from store_samples import chunk, cloud, crystal, same

LOST = Refused("bad.cif", "2", "graph", "why", "ValueRangeError")


def test_a_store_knows_what_it_holds(make):
    store = open_store(make([cloud(0), LOST], [crystal(1), crystal(2)]).folder)
    assert (store.records_in, store.built, store.quarantined) == (4, 3, 1)
    assert (store.kinds, store.modalities) == (["cloud", "crystal"], ["crystal", "jet"])
    assert store.refused() == [LOST]
    assert store.chunks[1].shards[0].settings == {"cutoff": 8.0, "neighbors": 12, "offsets": [1, 2]}
    assert verify(store.folder) == []


def test_an_interrupted_build_is_no_store_and_says_what_to_do(tmp_path):
    entry = chunk(tmp_path, "k", [cloud(0)], ["a"])
    with locked(tmp_path):
        Journal(tmp_path).add(entry)
    assert is_store(tmp_path)
    with pytest.raises(StoreError, match="Run the same 'geoembed build' again"):
        open_store(tmp_path)
    with pytest.raises(StoreError, match="geoembed build FILES"):
        open_store(tmp_path / "nowhere")


def test_the_journal_remembers_finished_chunks_and_ignores_a_torn_line(tmp_path):
    first, second = (chunk(tmp_path, key, [cloud(n)], [key]) for n, key in enumerate("ab"))
    Journal(tmp_path).add(first)
    with open(tmp_path / "journal.jsonl", "ab") as file:
        file.write(json.dumps(second.to_dict()).encode()[:40])
    journal = Journal(tmp_path)
    assert journal.finished("a") == first
    assert journal.finished("b") is None
    journal.add(second)
    assert Journal(tmp_path).finished("b") == second


def test_a_chunk_whose_file_is_gone_is_not_finished(tmp_path):
    entry = chunk(tmp_path, "k", [cloud(0)], ["a"])
    Journal(tmp_path).add(entry)
    (tmp_path / f"{entry.shards[0].stem}.jsonl").unlink()
    assert Journal(tmp_path).finished("k") is None


def test_chunks_of_changed_inputs_are_replaced_and_those_of_other_inputs_kept(tmp_path):
    old, other = chunk(tmp_path, "old", [cloud(0)], ["a"]), chunk(tmp_path, "other", [cloud(1)], ["b"])
    Journal(tmp_path).close([old, other])
    new = chunk(tmp_path, "new", [cloud(2)], ["a"])
    store = Journal(tmp_path).close([new])
    assert [entry.key for entry in store.chunks] == ["other", "new"]
    assert [graph.record for graph in ShardDataset(store)] == ["1", "2"]
    assert not (tmp_path / f"{old.shards[0].stem}.safetensors").exists()
    assert verify(tmp_path) == []


def test_half_written_files_of_a_killed_run_are_removed(tmp_path):
    entry = chunk(tmp_path, "k", [cloud(0)], ["a"])
    for name in (".writing-shard-x.safetensors.99", "shard-00.safetensors", "topology-00.safetensors"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "notes.txt").write_bytes(b"mine")
    Journal(tmp_path).close([entry])
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*entry.files, "manifest.json", "notes.txt"}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of fork() in newer Pythons
def test_a_second_writer_is_turned_away_and_a_dead_one_holds_nothing(tmp_path):
    with locked(tmp_path), pytest.raises(StoreError, match="another process that is writing"), locked(tmp_path):
        pass
    if (child := os.fork()) == 0:
        with locked(tmp_path):
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    with locked(tmp_path):
        pass


def test_another_format_is_refused_by_number(make):
    store = make([cloud(0)])
    path = store.folder / "manifest.json"
    document = json.loads(path.read_text())
    document["format"] = 3
    path.write_text(json.dumps(document))
    with pytest.raises(StoreError, match="found format 3; expected format 1 or 2"):
        open_store(store.folder)
    path.write_text("[]")
    with pytest.raises(StoreError, match="found format 'list'"):
        open_store(store.folder)


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "shard-0/../../x.jsonl"])
def test_a_manifest_cannot_name_a_file_outside_its_folder(make, name):
    store = make([cloud(0)])
    document = json.loads((store.folder / "manifest.json").read_text())
    document.pop("sha256")
    document["chunks"][0]["shards"][0]["files"][name] = "00"
    (store.folder / "manifest.json").write_bytes(sealed(document))
    with pytest.raises(StoreError, match="a file called"):
        open_store(store.folder)


def test_counts_that_do_not_add_up_are_found_although_every_checksum_is_right(make):
    store = make([cloud(0), LOST])
    document = json.loads((store.folder / "manifest.json").read_text())
    document.pop("sha256")
    document["chunks"][0]["built"] = document["built"] = 2
    (store.folder / "manifest.json").write_bytes(sealed(document))
    findings = {(finding.file, finding.found.split(": ")[-1]) for finding in verify(store.folder)}
    assert ("manifest.json", "2 records") in findings
    assert ("manifest.json", "built 2") in findings


def test_reading_a_store_does_not_change_it(make):
    store = make([cloud(0), crystal(1)])
    before = {path.name: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    same(ShardDataset(store)[0], cloud(0))
    verify(store.folder)
    assert {path.name: path.stat().st_mtime_ns for path in store.folder.iterdir()} == before
