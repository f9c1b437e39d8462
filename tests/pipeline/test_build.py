"""``build``: every record is built or listed, a bad file costs itself only, and finished work is never done twice."""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from geoembed.errors import EmptyGraphError, StoreError
from geoembed.pipeline import Limits, Report, build
from geoembed.pipeline import build as build_function
from geoembed.store import ShardDataset, Store, open_store, verify
from geoembed.store.atomic import locked

from hostile_files import fasta, folder_of_fasta, hostile, install


@pytest.fixture
def plugin(tmp_path_factory, monkeypatch):
    monkeypatch.syspath_prepend(install(tmp_path_factory.mktemp("plugin")))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def records(store: Store) -> list[tuple[str, str]]:
    return [(Path(graph.source).name, graph.record) for graph in ShardDataset(store)]


def test_every_record_of_every_file_is_in_the_store_in_input_order(tmp_path):
    files = folder_of_fasta(tmp_path / "in", 70)
    files.append(fasta(tmp_path / "in" / "t.fasta", 9, records=30))
    seen = []
    report = build(tmp_path / "in", tmp_path / "out", workers=2, progress=lambda *state: seen.append(state))
    assert (report.records_in, report.built, list(report.quarantined), report.verb) == (100, 100, [], "built")
    expected = [(f"s{i:04d}.fasta", f"s{i}.0") for i in range(70)] + [("t.fasta", f"s9.{r}") for r in range(30)]
    assert records(open_store(tmp_path / "out")) == expected
    assert seen[-1] == (71, 71, 100)
    assert seen == sorted(seen)
    assert verify(tmp_path / "out") == []


def test_the_number_of_workers_and_the_executor_do_not_change_a_byte(tmp_path):
    folder_of_fasta(tmp_path / "in", 70)
    (tmp_path / "in" / "s0003.fasta").write_text("")
    with ThreadPoolExecutor(2) as threads:
        for name, options in (("one", {}), ("two", {"workers": 2}), ("outside", {"executor": threads})):
            build(tmp_path / "in", tmp_path / name, **options)
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "outside")


def test_a_second_run_reads_nothing_and_a_changed_file_rebuilds_its_chunk_only(tmp_path, monkeypatch):
    files = folder_of_fasta(tmp_path / "in", 100)
    build(tmp_path / "in", tmp_path / "out")
    before = contents(tmp_path / "out")
    again = build(tmp_path / "in", tmp_path / "out")
    assert (again.resumed, again.records_in) == (100, 100)
    assert contents(tmp_path / "out") == before
    fasta(files[50], 777)
    changed = build(tmp_path / "in", tmp_path / "out")
    chunk = next(chunk for chunk in open_store(tmp_path / "out").chunks if str(files[50]) in chunk.sources)
    assert changed.records_in - changed.resumed == len(chunk.sources) < 100
    assert ("s0050.fasta", "s777.0") in records(open_store(tmp_path / "out"))
    assert verify(tmp_path / "out") == []
    shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
    build(tmp_path / "in", tmp_path / "fresh")
    assert contents(tmp_path / "fresh") == contents(tmp_path / "out")


def test_a_file_that_is_gone_leaves_the_store_with_the_next_run_on_its_folder(tmp_path):
    files = folder_of_fasta(tmp_path / "in", 5)
    build(tmp_path / "in", tmp_path / "out")
    files[2].unlink()
    report = build(tmp_path / "in", tmp_path / "out")
    assert report.records_in == 4
    assert [name for name, _ in records(open_store(tmp_path / "out"))] == ["s0000.fasta", "s0001.fasta", "s0003.fasta", "s0004.fasta"]


def test_one_file_of_a_built_folder_given_alone_does_not_drop_the_others(tmp_path):
    files = folder_of_fasta(tmp_path / "in", 5)
    build(tmp_path / "in", tmp_path / "out")
    build(fasta(tmp_path / "more.fasta", 50), tmp_path / "out")
    fasta(files[1], 99)
    build(files[1], tmp_path / "out")
    assert sorted(records(open_store(tmp_path / "out"))) == sorted(
        [("more.fasta", "s50.0"), ("s0001.fasta", "s99.0")] + [(f"s{i:04d}.fasta", f"s{i}.0") for i in (0, 2, 3, 4)])


@pytest.mark.parametrize(("act", "message"), [
    ("exit 9", "crashed with exit code 9"),
    ("kill SIGSEGV", r"crashed with exit code -11 \(SIGSEGV\)"),
    ("kill SIGKILL", r"exit code -9 \(SIGKILL\)"),
    ("sysexit", "crashed with exit code 70"),
])
@pytest.mark.usefixtures("plugin")
def test_a_file_that_ends_the_process_loses_itself_only(tmp_path, act, message):
    files = folder_of_fasta(tmp_path / "in", 6)
    bad = hostile(tmp_path / "in" / "s0002a.hostile", "record whole", act, "record never")
    report = build(tmp_path / "in", tmp_path / "out", workers=2)
    assert (report.records_in, report.built) == (len(files) + 2, len(files) + 1)
    (lost,) = report.quarantined
    assert (lost.source, lost.stage) == (str(bad), "limit")
    assert message.replace("\\", "") in lost.reason
    assert "after 1 records, which are kept" in lost.reason  # "whole" came before the end
    assert ("s0002a.hostile", "whole") in records(open_store(tmp_path / "out"))


@pytest.mark.usefixtures("plugin")
def test_several_files_that_crash_in_one_chunk_are_all_found(tmp_path):
    folder_of_fasta(tmp_path / "in", 8)
    for i in (0, 3, 7):
        hostile(tmp_path / "in" / f"s{i:04d}b.hostile", "exit 9")
    report = build(tmp_path / "in", tmp_path / "out")
    assert [Path(bad.source).name for bad in report.quarantined] == [f"s{i:04d}b.hostile" for i in (0, 3, 7)]
    assert report.built == 8


@pytest.mark.usefixtures("plugin")
def test_a_process_that_was_killed_from_outside_costs_no_file(tmp_path):
    folder_of_fasta(tmp_path / "in", 3)
    hostile(tmp_path / "in" / "s0001c.hostile", f"once {tmp_path / 'mark'}")
    report = build(tmp_path / "in", tmp_path / "out")
    assert (report.built, list(report.quarantined)) == (4, [])


@pytest.mark.usefixtures("plugin")
def test_a_file_that_crashes_at_another_place_each_time_comes_to_an_end(tmp_path):
    fasta(tmp_path / "a.fasta", 1)
    bad = hostile(tmp_path / "b.hostile", f"countdown {tmp_path / 'left'}")
    report = build([tmp_path / "a.fasta", bad], tmp_path / "out")
    assert len(report.quarantined) == 1
    assert report.records_in == report.built + 1
    assert verify(tmp_path / "out") == []


@pytest.mark.parametrize("act", ["sleep 60", "spin"])
@pytest.mark.usefixtures("plugin")
def test_a_file_that_hangs_is_ended_on_time_whatever_it_hangs_in(tmp_path, act):
    folder_of_fasta(tmp_path / "in", 4)
    hostile(tmp_path / "in" / "s0001d.hostile", act)
    started = time.monotonic()
    report = build(tmp_path / "in", tmp_path / "out", limits=Limits(seconds=5))
    assert time.monotonic() - started < 50  # a minute would be the hang itself
    assert report.built == 4
    assert "timeout: no record in 5 s" in report.quarantined[0].reason


@pytest.mark.usefixtures("plugin")
def test_the_clock_starts_anew_with_each_record(tmp_path):
    slow = hostile(tmp_path / "slow.hostile", "sleep 1", "record a", "sleep 1", "record b", "sleep 1", "record c")
    assert build(slow, tmp_path / "out", limits=Limits(seconds=2.5)).built == 3  # 3 s in all


@pytest.mark.usefixtures("plugin")
def test_a_file_that_wants_too_much_memory_is_refused_it(tmp_path):
    good = hostile(tmp_path / "a.hostile", "take 0.1")
    bad = hostile(tmp_path / "b.hostile", "take 1.5")
    report = build([good, bad], tmp_path / "out", limits=Limits(memory_gib=0.5))
    assert report.built == 1
    assert "out of memory" in report.quarantined[0].reason
    assert "at most 0.5 GiB" in report.quarantined[0].reason
    # A limit is no property of the file: with another one, the same command tries again.
    assert build([good, bad], tmp_path / "out", limits=Limits(memory_gib=0.5)).resumed == 2
    assert build([good, bad], tmp_path / "out", limits=Limits(memory_gib=3)).built == 2


@pytest.mark.usefixtures("plugin")
def test_what_a_missing_library_quarantined_is_tried_again_by_the_next_run(tmp_path):
    path = hostile(tmp_path / "a.hostile", f"extra {tmp_path / 'installed'}")
    report = build(path, tmp_path / "out")
    assert "pip install lib" in report.quarantined[0].reason
    (tmp_path / "installed").touch()
    assert build(path, tmp_path / "out").built == 1


@pytest.mark.usefixtures("plugin")
def test_what_a_reader_prints_stays_off_stdout(tmp_path, capfd):
    build(hostile(tmp_path / "a.hostile", "print"), tmp_path / "out")
    assert capfd.readouterr().out == ""


@pytest.mark.usefixtures("plugin")
def test_a_file_without_a_record_is_listed_not_lost(tmp_path):
    report = build(hostile(tmp_path / "empty.hostile"), tmp_path / "out")
    assert report.records_in == 1
    assert "no records" in report.quarantined[0].reason


def test_two_writers_of_one_store_do_not_meet(tmp_path):
    fasta(tmp_path / "a.fasta", 1)
    with locked(tmp_path / "out"), pytest.raises(StoreError, match="Wait until it ends"):
        build(tmp_path / "a.fasta", tmp_path / "out")


def test_nothing_to_build_is_an_error(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(EmptyGraphError, match="Check the path"):
        build(tmp_path / "in", tmp_path / "out")


def test_an_error_half_way_ends_the_workers_and_the_next_run_goes_on(tmp_path):
    folder_of_fasta(tmp_path / "in", 100)

    def stop(done: int, total: int, met: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "in", tmp_path / "out", workers=2, progress=stop)
    with pytest.raises(StoreError, match="unfinished"):
        open_store(tmp_path / "out")
    report = build(tmp_path / "in", tmp_path / "out")
    assert (report.built, report.resumed > 0) == (100, True)
    build(tmp_path / "in", tmp_path / "straight")
    assert contents(tmp_path / "out") == contents(tmp_path / "straight")


def test_no_descriptor_and_no_scratch_file_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder_of_fasta(tmp_path / "in", 40)
    build(tmp_path / "in", tmp_path / "first")
    before = len(os.listdir("/proc/self/fd"))
    build(tmp_path / "in", tmp_path / "second", workers=2)
    assert len(os.listdir("/proc/self/fd")) <= before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "in", "second"]


def test_a_report_that_does_not_add_up_is_refused():
    with pytest.raises(StoreError, match=r"found 3 records in; expected 1 \+ 0"):
        Report(verb="built", records_in=3, done=1, quarantined=[], seconds=0)


def test_the_public_name_is_the_function():
    import geoembed

    assert geoembed.build is build_function
