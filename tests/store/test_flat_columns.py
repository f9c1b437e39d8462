"""Columns of texts from the list of a shard say what its provenances say, and a table written with them has the same bytes."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from geoembed.graphs.blocks import Block, Names
from geoembed.schema import Graph
from geoembed.store import Refused, ShardWriter, VectorTable
from geoembed.store.atomic import sha256_of
from geoembed.store.columns import ListedShard, columns_of
from geoembed.store.lines import run_line
from geoembed.store.opening import Opening
from geoembed.store.pieces import Piece
from geoembed.store.row_table import RowTable
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import cloud

NOTES = st.dictionaries(st.text(max_size=4), st.one_of(st.text(max_size=6), st.integers(), st.booleans(), st.none(), st.floats(width=32)), max_size=3)


def listed(folder: Path, graphs: list[Graph], refused_after: int = -1) -> ListedShard:
    """A shard of some graphs, with a quarantined record between them."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = ShardWriter(folder, "k")
    for number, graph in enumerate(graphs):
        writer.add(graph)
        if number == refused_after:
            writer.refuse(Refused("bad.cif", "", "read", "it is broken", "SchemaError"))
    (entry,) = writer.close()
    return ListedShard(folder, entry, {})


def named(number: int, **changes: object) -> Graph:
    graph = cloud(number, 3)
    return graph.with_provenance(**changes)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(rows=st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8), NOTES), min_size=1, max_size=6), refused=st.integers(-1, 5))
def test_columns_say_what_the_provenances_say_whatever_letters_are_in_them(tmp_path_factory, rows, refused):
    graphs = [named(i, source=source, record=record, notes=notes) for i, (source, record, notes) in enumerate(rows)]
    shard = listed(tmp_path_factory.mktemp("s"), graphs, refused)
    for low in range(len(rows)):
        found = shard.columns(low, len(rows))
        assert found.equals(columns_of(shard.provenance(low, len(rows))))


def test_bytes_of_a_file_name_that_are_no_unicode_are_spelled_out(tmp_path):
    shard = listed(tmp_path, [named(0, source="caf\udce9.cif", record='a"b\\c'), named(1, source="é.cif", record="")])
    assert shard.columns(0, 2).to_pydict()["source"] == ["caf\\xe9.cif", "é.cif"]
    assert shard.columns(0, 2).to_pydict()["record"] == ['a"b\\c', ""]


def test_a_graph_of_another_modality_than_its_shard_is_read_by_the_parser(tmp_path):
    shard = listed(tmp_path, [named(0), named(1)])
    line = '{"order": 1, "source": "s", "record": "r", "notes": {}, "modality": "other"}\n'
    path = tmp_path / f"{shard.entry.stem}.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n" + line)
    vars(shard)["entry"] = replace(shard.entry, files={**shard.entry.files, path.name: sha256_of(path)})
    assert shard.columns(0, 2).to_pydict()["modality"] == ["jet", "other"]


def test_a_run_of_records_is_a_row_each(tmp_path):
    rng = np.random.default_rng(0)
    ptr = torch.tensor([0, 3, 3, 8, 12])
    names = Names(prefix="é", first=7, source="jets.h5", notes={"file": 'a"'}, counts={"wrapped": np.array([0, 2, 2, 0])})
    settings = {"rule": "nearest", "neighbors": 2, "metric": "eta-phi"}
    fields = {"x": torch.from_numpy(rng.random((12, 4), np.float32)), "pos": torch.from_numpy(rng.random((12, 2), np.float32))}
    block = Block(kind="cloud", modality="jet", settings=settings, ptr=ptr, fields=fields, names=names)
    line_of = [(names.key(i), names.notes_of(i)) for i in range(4)]
    shard = run_shard(tmp_path, block)
    found = shard.columns(1, 4)
    assert found.equals(columns_of(shard.provenance(1, 4)))
    assert found["record"].to_pylist() == [key for key, _ in line_of[1:]]
    assert found["notes"].to_pylist()[:2] == ['{"file": "a\\"", "wrapped": 2}'] * 2


def run_shard(folder: Path, block: Block) -> ListedShard:
    """A shard whose list has one line for all graphs of a block; only the list matters here."""
    shard = listed(folder, [named(i) for i in range(len(block))])
    common = {"kind": block.kind, "modality": block.modality, "settings": dict(block.settings), "topology": ""}
    path = folder / f"{shard.entry.stem}.jsonl"
    path.write_text(run_line(0, block, common) + "\n")
    vars(shard)["entry"] = replace(shard.entry, files={**shard.entry.files, path.name: sha256_of(path)})
    _, about = shard._opened
    about["common"] = common
    return shard


def test_a_table_of_pieces_has_the_bytes_of_a_table_of_rows(tmp_path):
    graphs = [named(i, source=f"f{i // 3}", record=f"r{i}", notes={"n": i} if i % 2 else {}) for i in range(20)]
    shard = listed(tmp_path / "s", graphs, 4)
    vectors = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    vectors[[3, 17]] = 0.0
    rows, pieces = VectorTable(tmp_path / "rows"), RowTable(tmp_path / "pieces")
    for low, high in ((0, 7), (7, 20)):
        lost = rows.append(vectors[low:high], shard.provenance(low, high), encoder="e", weights="w")
        assert pieces.append_piece(vectors[low:high], Piece(shard, low, high), encoder="e", weights="w") == lost
        rows.flush()
        pieces.commit_later([], [], lambda: None)
    for table in (rows, pieces):
        table.close()
    pieces.abandon()
    assert len(rows) == 18
    assert {path.name: path.read_bytes() for path in (tmp_path / "rows").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "pieces").iterdir()}


def test_rows_that_cannot_be_written_stop_the_commit_and_those_after_it(tmp_path, monkeypatch):
    shard = listed(tmp_path / "s", [named(i) for i in range(4)])
    table = RowTable(tmp_path / "t")
    piece, vectors = Piece(shard, 0, 4), np.ones((4, 3), np.float32)
    table.append_piece(vectors, piece, encoder="e", weights="w")
    table.commit_later([], [], lambda: None)
    table.settle()
    with monkeypatch.context() as patch:
        patch.setattr(ListedShard, "columns", lambda self, low, high: 1 / 0)
        table.append_piece(vectors, piece, encoder="e", weights="w")
        with pytest.raises(ZeroDivisionError):
            table.commit_later([], [], lambda: None)
            table.settle()
    table.append_piece(vectors, piece, encoder="e", weights="w")
    with pytest.raises(ZeroDivisionError):
        table.commit_later([], [], lambda: None)
        table.settle()
    table.abandon()
    assert len(VectorTable(tmp_path / "t")) == 4
    assert not list((tmp_path / "t").glob(".writing*"))


def test_shards_are_opened_ahead_and_more_when_one_is_closed(tmp_path):
    shards = [listed(tmp_path / str(i), [named(i)]) for i in range(12)]
    broken = tmp_path / "3" / f"{shards[3].entry.stem}.safetensors"
    broken.write_bytes(b"nothing")
    with Opening(shards):
        while sum("_opened" in vars(shard) for shard in shards) < 7:  # the eighth is broken
            pass
        assert "_opened" not in vars(shards[9])
        shards[0].close()
        while "_opened" not in vars(shards[8]):
            pass
        with pytest.raises(Exception, match="sha256"):  # said to whoever asks
            _ = shards[3].tensors
    again = copy(shards[5])  # as another process would get it
    assert (type(again), again.columns(0, 1)) == (ListedShard, shards[5].columns(0, 1))
