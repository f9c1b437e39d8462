"""``build`` takes whole columns where a table allows it: the same graphs, counts and reasons as ``read`` gives one by one."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from geoembed.graphs.blocks import Block
from geoembed.io.reader import read, stream_blocks
from geoembed.pipeline import Limits, build
from geoembed.pipeline.worker import Guilty, Task, _first, blank, records_of, told, write_chunk
from geoembed.store import ShardDataset, open_store, verify


def table(path: Path, rows: int = 60, bad: tuple[int, ...] = (7, 8, 31)) -> Path:
    g = np.random.default_rng(0)
    counts = g.integers(0, 20, rows)
    columns = {"pt": [g.exponential(5, n) for n in counts], "eta": [g.normal(size=n) for n in counts],
               "phi": [g.uniform(-4, 4, n) for n in counts], "jet_pt": np.ones(rows)}
    for row in bad:
        columns["pt"][row] = np.array([1.0, -1.0])
        columns["eta"][row] = columns["phi"][row] = np.zeros(2 if row % 2 else 3)  # a negative pt, or lists of unequal length
    pd.DataFrame(columns).to_parquet(path)
    return path


def test_a_store_of_a_table_holds_what_read_gives(tmp_path):
    path = table(tmp_path / "jets.parquet")
    report = build(path, tmp_path / "s")
    reading = read(path)
    graphs = list(reading)
    assert (report.records_in, report.built) == (60, 57)
    assert list(report.quarantined) == reading.quarantined
    assert [bad.error for bad in report.quarantined] == ["ValueRangeError"] * 3
    stored = list(ShardDataset(tmp_path / "s"))
    assert [graph.provenance for graph in stored] == [graph.provenance for graph in graphs]
    for a, b in zip(stored, graphs, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in ("x", "token", "pos", "edge_index", "edge_attr"))
    assert verify(tmp_path / "s") == []
    assert build(path, tmp_path / "s").resumed == 60


def test_a_table_in_an_archive_is_called_by_its_place_there(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(table(tmp_path / "jets.parquet", bad=()), "day/jets.parquet")
    build(tmp_path / "a.tar", tmp_path / "s")
    assert {graph.source.partition("!")[2] for graph in ShardDataset(tmp_path / "s")} == {"day/jets.parquet"}
    assert len(open_store(tmp_path / "s")) == 60


def test_records_before_a_crash_are_kept_to_the_row_where_a_block_is_cut(tmp_path):
    path, place = table(tmp_path / "jets.parquet"), tmp_path / "place"
    for kept in (0, 1, 7, 8, 9, 20, 60):
        folder = tmp_path / str(kept)
        folder.mkdir()
        blank(place)
        entry = write_chunk(Task(folder, "k", (str(path),), Limits(), place, os.getppid(), {0: Guilty(kept, "it crashed", "X")}))
        assert (entry.records_in, entry.quarantined) == (kept + 1, 1 + sum(row < kept for row in (7, 8, 31)))
        assert told(place) == (1, 0)


def test_the_first_records_of_a_stream_ask_for_nothing_beyond_them(tmp_path):
    items = stream_blocks(table(tmp_path / "jets.parquet", bad=(7,)))
    cut = list(_first(items, 5))
    assert [records_of(item) for item in cut] == [5]
    assert isinstance(cut[0], Block)
    assert cut[0].names.key(4) == "4"
    assert records_of(next(items)) == 1  # row 7: the block of rows 0 to 6 was asked for, and no more
