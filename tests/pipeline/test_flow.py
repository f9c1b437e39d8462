"""A flow does what it is given in order, three stages at a time; what fails late is halved, what comes after a failure is not done."""

from __future__ import annotations

import logging
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from geoembed.errors import BackendError, StoreError
from geoembed.pipeline import build, embed
from geoembed.pipeline.encode import Batch, Encoded, Encoding
from geoembed.pipeline.flow import Flow
from geoembed.schema import GraphBatch
from geoembed.store import Budget, Shard, open_store, open_table

from hostile_files import fasta
from tiny_encoder import Tiny


@pytest.fixture
def shards(tmp_path) -> list[Shard]:
    fasta(tmp_path / "many.fasta", 1, records=40)
    build(tmp_path / "many.fasta", tmp_path / "graphs")
    return open_store(tmp_path / "graphs").shards()


def through(encoding: Encoding, shards: list[Shard]) -> list[Encoded]:
    found: list[Encoded] = []
    with Flow() as flow:
        flow.encode(encoding, shards, found.append)
    return found


def at(budget: int, encoder: Tiny | None = None) -> Encoding:
    return Encoding(encoder or Tiny(), torch.device("cpu"), Budget(graphs=budget))


def rows(parts: list[Encoded]) -> list[int]:
    return [row for part in parts for row in range(part.piece.low, part.piece.high)]


def test_vectors_come_in_the_order_of_the_graphs_and_equal_those_of_each_alone(shards):
    parts = through(at(7), shards)
    assert rows(parts) == list(range(40))
    alone = np.concatenate([part.vectors for part in through(at(1), shards)])
    assert np.allclose(np.concatenate([part.vectors for part in parts]), alone, atol=1e-6)


def test_other_work_is_done_between_the_graphs_that_it_was_given_between(shards):
    order: list[object] = []
    with Flow() as flow:
        for name in "ab":
            flow.encode(at(16), shards, lambda part, name=name: order.append((name, part.piece.low)))
            flow.then(lambda name=name: order.append(f"end {name}"))
    assert order == [("a", 0), ("a", 16), ("a", 32), "end a", ("b", 0), ("b", 16), ("b", 32), "end b"]


def test_memory_that_runs_out_late_halves_the_batch_and_loses_nothing(shards, monkeypatch, caplog):
    fetch = Encoding.fetch

    def late(self: Encoding, batch: Batch) -> object:
        if batch.fault is None and len(batch) > 6:  # seen only when the results are asked for
            batch.fault = torch.OutOfMemoryError("CUDA out of memory")
        return fetch(self, batch)

    monkeypatch.setattr(Encoding, "fetch", late)
    encoding = at(20)
    with caplog.at_level(logging.WARNING, "geoembed"):
        parts = through(encoding, shards)
    assert rows(parts) == list(range(40))
    assert not any(part.fault for part in parts)
    assert encoding.budget.graphs == 5
    assert caplog.text.count("batches are halved") >= 2


def test_batches_that_were_read_before_memory_ran_out_shrink_the_budget_no_further(shards):
    def trap(batch: GraphBatch) -> None:
        if batch.num_graphs > 5:
            raise torch.OutOfMemoryError("out of memory")

    encoding = at(8, Tiny(trap))
    assert rows(through(encoding, shards)) == list(range(40))
    assert encoding.budget.graphs == 4  # and not 1, though three batches of 8 were under way


def test_an_error_frees_what_its_frames_held(shards):
    def trap(batch: GraphBatch) -> None:
        raise IndexError("of the encoder")

    (part,) = [part for part in through(at(1, Tiny(trap)), shards) if part.piece.low == 3]
    assert isinstance(part.fault, IndexError)
    assert part.fault.__traceback__ is None
    assert part.fault.__context__ is None


def test_a_device_that_is_lost_stops_the_run_and_blames_no_graph(shards):
    def trap(batch: GraphBatch) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with TORCH_USE_CUDA_DSA")

    with pytest.raises(BackendError, match=r"illegal memory access was encountered; expected a device.*goes on where it stopped"):
        through(at(8, Tiny(trap)), shards)


def test_the_interval_of_python_s_lock_is_as_before_after(shards):
    before = sys.getswitchinterval()
    within: list[float] = []
    with Flow() as flow:
        flow.encode(at(8), shards, lambda part: within.append(sys.getswitchinterval()))
    assert max(within) < before == sys.getswitchinterval()


def test_nothing_that_comes_after_a_failure_is_done(shards):
    done: list[str] = []

    def fail(part: Encoded) -> None:
        raise StoreError(where="disk", found="no room", expected="some", remedy="Make room.")

    with pytest.raises(StoreError, match="Make room"), Flow() as flow:
        flow.then(lambda: done.append("before"))
        flow.encode(at(8), shards, fail)
        flow.then(lambda: done.append("after"))
    assert done == ["before"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("geoembed")]


def test_a_shard_that_is_damaged_stops_the_run_where_it_lies(tmp_path):
    for name in "ab":
        fasta(tmp_path / f"{name}.fasta", ord(name), records=30)
    build(tmp_path / "a.fasta", tmp_path / "graphs")
    build([tmp_path / "a.fasta", tmp_path / "b.fasta"], tmp_path / "graphs")
    damaged = open_store(tmp_path / "graphs").shards()[-1]
    path = damaged.folder / f"{damaged.entry.stem}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(StoreError, match="sha256"):
        embed(tmp_path / "graphs", Tiny(), out=tmp_path / "table", budget=Budget(graphs=8))
    assert not list((tmp_path / "table").glob(".writing*"))


def test_an_interruption_finishes_what_was_given_before_it(shards):
    found: list[Encoded] = []
    with pytest.raises(KeyboardInterrupt), Flow() as flow:
        flow.encode(at(8), shards, found.append)
        raise KeyboardInterrupt
    assert rows(found) == list(range(40))


def test_reading_encoding_and_writing_go_on_at_the_same_time(shards):
    encoder = Tiny(lambda batch: time.sleep(0.02))
    encoding = at(4, encoder)
    read = encoding.read

    def slowly(batch: Batch) -> Batch:
        time.sleep(0.02)
        return read(batch)

    vars(encoding)["read"] = slowly
    start = time.monotonic()
    with Flow() as flow:
        flow.encode(encoding, shards, lambda part: time.sleep(0.02))
    assert time.monotonic() - start < 0.45  # 10 batches × 3 stages × 20 ms one after the other are 0.6 s


def test_a_table_of_small_commits_has_the_rows_of_a_table_of_one(tmp_path: Path, monkeypatch):
    for i in range(6):
        fasta(tmp_path / "in" / f"{i}.fasta", i, records=30) if (tmp_path / "in").is_dir() else (tmp_path / "in").mkdir()
    embed(tmp_path / "in", Tiny(), out=tmp_path / "one")
    monkeypatch.setattr("geoembed.pipeline.run.COMMIT_ROWS", 1)
    embed(tmp_path / "in", Tiny(), out=tmp_path / "many")
    one, many = (open_table(tmp_path / name).to_pandas() for name in ("one", "many"))
    assert one["record"].tolist() == many["record"].tolist()
    assert np.array_equal(np.stack(one["vector"]), np.stack(many["vector"]))
