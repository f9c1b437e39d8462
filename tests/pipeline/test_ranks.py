"""Many processes, one table: what torchrun makes is what one process makes, also when a rank is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from geoembed.errors import ConfigError, SchemaError, StoreError
from geoembed.pipeline import build, embed
from geoembed.pipeline.blocks import blocks_of, prepare
from geoembed.pipeline.choose import Chooser, Fits
from geoembed.pipeline.ranks import RANKS, Ranks, joined
from geoembed.store import ChunkEntry, ShardEntry, VectorTable, open_store, open_table, verify

from hostile_files import fasta
from tiny_encoder import Tiny

TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "geoembed", "embed"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    """A folder with inputs ``in`` of two modalities, the store ``graphs`` of them, and the table ``one`` that one process makes of it."""
    home = tmp_path_factory.mktemp("ranks")
    letters = random.Random(0)
    (home / "in").mkdir()
    for i in range(3):
        records = (f">s{i}.{j}\n{''.join(letters.choices('ACGT', k=5))}\n" for j in range(2500))
        (home / "in" / f"s{i}.fasta").write_text("".join(records))
    (home / "in" / "broken.fasta").write_text("")
    (home / "in" / "z.csv").write_text("time,mag,mag_err\n" + "".join(f"{t},{20 + t / 10},0.1\n" for t in range(20)))
    here = Path.cwd()
    os.chdir(home)
    try:
        build("in", "graphs")
        report = embed("graphs", out="one")
    finally:
        os.chdir(here)
    assert (report.records_in, report.embedded) == (7502, 7501)
    return home


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC")} | {"OMP_NUM_THREADS": "1"}


def test_the_table_of_two_processes_is_the_table_of_one(one, tmp_path):
    done = subprocess.run([*TWO, "graphs", "-o", tmp_path / "two", "--json"], cwd=one, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1, done.stderr  # a record is quarantined, as with one process
    assert done.stdout.count('"records_in": 7502') == done.stdout.count('"embedded": 7501') == done.stdout.count("broken.fasta: found") == 1
    assert contents(tmp_path / "two") == contents(one / "one")  # rows, order, encoders, quarantine: every byte
    assert verify(tmp_path / "two") == []


def test_a_rank_that_is_killed_half_way_costs_time_only(one, tmp_path):
    out = tmp_path / "out"
    command = [*TWO, "in", "-o", out]  # files: parsed by rank, then embedded by rank
    process = subprocess.Popen(command, cwd=one, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(out.glob(f"{RANKS}/blocks/*/table.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(rank_one(process.pid), signal.SIGKILL)
    assert process.wait(30) == 1
    finished = len(list(out.glob(f"{RANKS}/blocks/*/table.json")))
    assert 1 <= finished < 4
    assert len(open_table(out)) == 0
    done = subprocess.run([*command, "--json"], cwd=one, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.count('"embedded": 7501') == 1
    assert contents(out) == contents(one / "one")


def rank_one(torchrun: int) -> int:
    """The process of rank 1."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                names = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if parent == torchrun and b"RANK=1" in names:
                return int(entry.name)
    raise AssertionError("no rank 1")


# — the same in parts —


def entries(*sizes: tuple[int, ...]) -> list[ChunkEntry]:
    """Chunks of shards of so many graphs."""
    return [
        ChunkEntry(key=f"key{n}", sources=[f"f{n}"], records_in=sum(graphs), built=sum(graphs), quarantined=0, shards=[
            ShardEntry(stem=f"shard-{n}{i}", graphs=g, nodes=5 * g, edges=0, records=g, files={f"shard-{n}{i}.jsonl": ""})
            for i, g in enumerate(graphs)])
        for n, graphs in enumerate(sizes)
    ]


def test_blocks_hold_every_shard_once_in_order_and_a_large_file_is_split():
    chunks = entries((3000, 3000, 10), (), (500,), (500,), (1500, 7))
    found = list(blocks_of(chunks, ""))
    assert [list(block.pieces) for block in found] == [[(0, 0, 1)], [(0, 1, 2)], [(0, 2, 3), (2, 0, 1), (3, 0, 1), (4, 0, 1)], [(4, 1, 2)]]
    shards = [shard.stem for block in found for number, first, last in block.pieces for shard in chunks[number].shards[first:last]]
    assert shards == [shard.stem for chunk in chunks for shard in chunk.shards]
    assert len({block.name for block in found}) == 4
    assert {block.name for block in found}.isdisjoint(block.name for block in blocks_of(chunks, "other weights"))


def test_a_file_whose_content_changed_is_another_block():
    before, after = entries((10,)), entries((10,))
    vars(after[0].shards[0])["files"] = {"shard-00.jsonl": "other"}
    assert next(blocks_of(before, "")).name != next(blocks_of(after, "")).name


def test_the_encoder_is_made_of_the_graphs_that_one_process_would_take(tmp_path):
    records = [fasta(tmp_path / f"{i}.fasta", i, records=40) for i in range(3)]
    for path in records:
        build(path, tmp_path / "graphs")
    store = open_store(tmp_path / "graphs")
    seen: list[list[str]] = []

    def chooser(table: VectorTable) -> Chooser:
        made = Chooser(table, None, None, "cpu", None)
        choose = made.choose
        made.choose = lambda fits, samples: seen.append([graph.record for graph in samples]) or choose(fits, samples)  # type: ignore[method-assign]
        return made

    (tmp_path / "ranked").mkdir()
    table = VectorTable(tmp_path / "ranked")
    table.flush()
    assert prepare(chooser(table), [(store.folder, entry) for entry in store.chunks]) == {}
    embed(tmp_path / "graphs", out=tmp_path / "one", device="cpu")
    assert [len(records) for records in seen] == [64]
    assert contents(tmp_path / "ranked" / "encoders") == contents(tmp_path / "one" / "encoders")


def test_a_sort_of_graphs_that_no_encoder_takes_is_refused_by_every_rank_with_the_same_words(tmp_path):
    build(fasta(tmp_path / "a.fasta", 1), tmp_path / "graphs")
    store = open_store(tmp_path / "graphs")
    (tmp_path / "table").mkdir()
    table = VectorTable(tmp_path / "table")
    table.flush()
    first = Chooser(table, "crystal", None, "cpu", None)
    failed = prepare(first, [(store.folder, entry) for entry in store.chunks])
    assert [type(error) for error in failed.values()] == [SchemaError]
    other = Chooser(table, "crystal", None, "cpu", None)
    other.settle(failed)
    fits = Fits.of_shard(store.shards()[0])
    assert not other.needs_samples(fits)
    with pytest.raises(SchemaError, match="found graphs of kind 'chain'; expected 'crystal'. Leave the encoder out"):
        other.choose(fits, [])


def test_what_torchrun_says_is_who_we_are():
    names = {"TORCHELASTIC_RUN_ID": "none", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert Ranks.of_torchrun(names) == Ranks(rank=5, world=8, local=1, one_machine=False)
    assert Ranks.of_torchrun(names | {"LOCAL_WORLD_SIZE": "8"}) == Ranks(5, 8, 1)
    assert Ranks.of_torchrun(names | {"WORLD_SIZE": "1"}) is None
    assert Ranks.of_torchrun({"RANK": "0", "WORLD_SIZE": "2"}) is None  # set by something else


def test_each_process_has_the_gpu_of_its_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [Ranks(5, 8, 1).device(given) for given in (None, "cuda", "cpu", "cuda:0")] == ["cuda:1", "cuda:1", "cpu", "cuda:0"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Ranks(5, 8, 1).device(None) is None


def test_what_ranks_cannot_do_is_said_at_once(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    fasta(tmp_path / "a.fasta", 1)
    with pytest.raises(ConfigError, match=r"on several machines; expected a folder that all machines share"):
        embed(tmp_path / "a.fasta", Tiny(), out="memory://t", ranks=Ranks(0, 8, 0, one_machine=False))
    with ThreadPoolExecutor(1) as pool, pytest.raises(ConfigError, match=r"Parse on the cluster with 'geoembed build'"):
        embed(tmp_path / "a.fasta", Tiny(), out=tmp_path / "t", ranks=Ranks(0, 2, 0), executor=pool)


def test_a_rank_that_waits_in_vain_says_that_another_has_ended(monkeypatch):
    def lost(*arguments: object, **settings: object) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr("torch.distributed.init_process_group", lambda *arguments, **settings: None)
    monkeypatch.setattr("torch.distributed.destroy_process_group", lambda: None)
    monkeypatch.setattr("torch.distributed.barrier", lost)
    with joined(Ranks(1, 2, 1)) as meet, pytest.raises(StoreError, match=r"rank 1 of 2: found that another rank has ended.*goes on where it stopped"):
        meet()


def test_what_is_left_of_ranks_goes_with_the_next_run_of_one_process(tmp_path):
    (tmp_path / "table" / RANKS / "blocks").mkdir(parents=True)
    assert embed(fasta(tmp_path / "a.fasta", 1), Tiny(), out=tmp_path / "table").embedded == 1
    assert not (tmp_path / "table" / RANKS).exists()
