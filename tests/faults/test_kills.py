"""Fault 53: whatever kills a run, and however often, the next one goes on to what an undisturbed run leaves."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkContext
from pathlib import Path

import pytest
from geoembed.errors import StoreError
from geoembed.pipeline import build, embed, isolate
from geoembed.store import open_store, open_table, verify
from geoembed.store.atomic import locked

from hostile_files import fasta, folder_of_fasta
from tiny_encoder import Tiny

FORKS = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of fork() in newer Pythons


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def killed_at_random(
    work: Callable[[Path], object], folder: Path, progress: Callable[[Path], int], seed: int, times: int = 20
) -> list[int]:
    """Do ``work`` once undisturbed into ``straight``, then many times into ``killed``, ended each time at a random moment of the first
    half of what it takes; what ``progress`` said after each."""
    generator, seen, out = random.Random(seed), [], folder / "killed"
    started = time.monotonic()
    os.waitpid(_forked(lambda: work(folder / "straight")), 0)
    whole = time.monotonic() - started
    for _ in range(times):
        process = _forked(lambda: work(out))
        time.sleep(generator.uniform(0.0, whole / 2))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        _wait_for_the_lock(out)
        seen.append(progress(out))
    return seen


def _forked(work: Callable[[], object]) -> int:
    """Start work in a forked process (which need not import anything again) and return its number."""
    process = os.fork()
    if process == 0:
        try:
            vars(isolate)["_Context"] = ForkContext
            work()
        finally:
            os._exit(0)
    return process


def _wait_for_the_lock(folder: Path) -> None:
    """Orphaned workers, forked here, share the lock until they notice that nobody waits for them."""
    for _ in range(600):
        try:
            with locked(folder):
                return
        except StoreError:
            time.sleep(0.05)


@FORKS
def test_fault_53_a_build_killed_twenty_times_goes_on_to_the_same_bytes(tmp_path):
    folder_of_fasta(tmp_path / "in", 800)

    def finished(out: Path) -> int:
        journal = out / "journal.jsonl"
        return len(journal.read_bytes().splitlines()) if journal.exists() else 0

    seen = killed_at_random(lambda out: build(tmp_path / "in", out), tmp_path, finished, seed=0)
    report = build(tmp_path / "in", tmp_path / "killed", workers=2)
    assert report.records_in == report.built == 800
    assert contents(tmp_path / "killed") == contents(tmp_path / "straight")
    assert len(set(seen)) > 2  # it was killed at several places, not only before it began


@FORKS
def test_fault_53_an_embedding_killed_twenty_times_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("geoembed.pipeline.run.COMMIT_ROWS", 30)
    folder_of_fasta(tmp_path / "in", 800)

    def rows(out: Path) -> int:
        return len(open_table(out)) if (out / "table.json").exists() else 0

    seen = killed_at_random(lambda out: embed(tmp_path / "in", Tiny(), out=out), tmp_path, rows, seed=1)
    report = embed(tmp_path / "in", Tiny(), out=tmp_path / "killed")
    assert report.records_in == report.embedded == 800
    assert contents(tmp_path / "killed") == contents(tmp_path / "straight")
    assert len(set(seen)) > 2


def test_fault_53_a_full_disk_is_a_typed_error_and_the_old_store_is_intact(tmp_path, monkeypatch):
    fasta(tmp_path / "a.fasta", 1)
    build(tmp_path / "a.fasta", tmp_path / "out")
    before = contents(tmp_path / "out")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    fasta(tmp_path / "b.fasta", 2)
    with monkeypatch.context() as patch:
        patch.setattr("geoembed.store.atomic.os.fsync", full)  # in this process: the manifest cannot be written
        with pytest.raises(OSError, match="No space left"):
            build(tmp_path / "b.fasta", tmp_path / "out")
    kept = contents(tmp_path / "out")
    assert {name: kept[name] for name in before} == before
    assert {finding.file for finding in verify(tmp_path / "out")} <= {"journal.jsonl"} | {name for name in kept if name not in before}
    assert build([tmp_path / "a.fasta", tmp_path / "b.fasta"], tmp_path / "out").built == 2
    assert verify(tmp_path / "out") == []


def test_fault_53_an_interrupt_says_how_to_go_on_and_leaves_no_process(tmp_path):
    folder_of_fasta(tmp_path / "in", 12_000)
    command = [sys.executable, "-m", "geoembed", "build", "in", "-o", "out"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "journal.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=30)  # would wait for any worker that still holds the pipe
    assert (process.returncode, out) == (130, "")
    assert "run the same command again to go on where it stopped" in error
    with pytest.raises(StoreError, match="an unfinished store"):
        open_store(tmp_path / "out")
