"""``embed`` and ``search``: counts reconcile from file to row, a bad graph costs itself only, and the same inputs give the same rows."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from geoembed.encoders import DNABarcodeEncoder
from geoembed.errors import ConfigError, EmptyGraphError, SchemaError, UnknownNameError
from geoembed.ops import backends
from geoembed.pipeline import build, embed, search
from geoembed.pipeline.encode import Encoding, _halves
from geoembed.pipeline.run import Run
from geoembed.schema import GraphBatch
from geoembed.store import Budget, open_store, open_table, verify
from geoembed.store.pieces import plan

from hostile_files import fasta, folder_of_fasta, hostile, install
from tiny_encoder import Tiny


@pytest.fixture
def files(tmp_path) -> list[Path]:
    return folder_of_fasta(tmp_path / "in", 10)


def rows(table: Path) -> dict[str, np.ndarray]:
    frame = open_table(table).to_pandas()
    assert not frame.duplicated(["record", "source", "encoder"]).any()
    return dict(zip(frame["record"], frame["vector"], strict=True))


@pytest.mark.usefixtures("files")
def test_every_record_is_a_row_and_the_row_is_what_the_encoder_gives(tmp_path):
    encoder = Tiny()
    report = embed(tmp_path / "in", encoder, out=tmp_path / "table")
    assert (report.records_in, report.embedded, list(report.quarantined)) == (10, 10, [])
    found = rows(tmp_path / "table")
    import geoembed

    for i in range(10):
        (graph,) = geoembed.read(tmp_path / "in" / f"s{i:04d}.fasta")
        assert np.allclose(found[f"s{i}.0"], encoder(graph).detach().numpy()[0], atol=1e-6)
    assert verify(tmp_path / "table") == []


@pytest.mark.usefixtures("files")
def test_files_and_a_store_of_them_give_the_same_rows(tmp_path):
    build(tmp_path / "in", tmp_path / "graphs", workers=2)
    embed(tmp_path / "in", Tiny(), out=tmp_path / "a")
    report = embed(tmp_path / "graphs", Tiny(), out=tmp_path / "b")
    assert report.records_in == 10
    a, b = rows(tmp_path / "a"), rows(tmp_path / "b")
    assert list(a) == list(b)
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_a_store_reports_what_its_build_left_out(tmp_path, files):
    files[3].write_text("")
    build(tmp_path / "in", tmp_path / "graphs")
    report = embed(tmp_path / "graphs", Tiny(), out=tmp_path / "table")
    assert (report.records_in, report.embedded) == (10, 9)
    assert report.quarantined[0].source == str(files[3])
    document = json.loads(report.to_json())
    assert set(document) == {"records_in", "embedded", "quarantined", "reasons", "seconds"}
    assert document["reasons"] == [{"source": str(files[3]), "record": "", "stage": "open", "reason": report.quarantined[0].reason}]


def test_what_the_table_has_is_not_read_again_and_reported_all_the_same(tmp_path, files):
    files[3].write_text("")
    first = embed(tmp_path / "in", Tiny(), out=tmp_path / "table")
    encoder = Tiny()
    again = embed(tmp_path / "in", encoder, out=tmp_path / "table")
    assert encoder.batches == []
    assert again.resumed == 10
    assert (again.records_in, again.embedded, again.quarantined) == (first.records_in, first.embedded, first.quarantined)


def test_a_changed_file_replaces_its_rows(tmp_path, files):
    embed(tmp_path / "in", Tiny(), out=tmp_path / "table")
    fasta(files[3], 700, records=2)
    report = embed(tmp_path / "in", Tiny(), out=tmp_path / "table")
    assert report.embedded == 11
    assert sorted(rows(tmp_path / "table")) == sorted([f"s{i}.0" for i in range(10) if i != 3] + ["s700.0", "s700.1"])
    assert len(open_table(tmp_path / "table").refused()) == 0


@pytest.mark.usefixtures("files")
def test_other_weights_do_not_mix_into_a_table(tmp_path):
    embed(tmp_path / "in", Tiny(), out=tmp_path / "table")
    with pytest.raises(ConfigError, match="write to another table"):
        embed(tmp_path / "in", Tiny(seed=1), out=tmp_path / "table")
    assert len(rows(tmp_path / "table")) == 10


def test_a_graph_that_an_encoder_stumbles_over_is_found_and_the_rest_is_embedded(tmp_path):
    fasta(tmp_path / "many.fasta", 1, records=37)

    def trap(batch: GraphBatch) -> None:
        for bad in ("s1.5", "s1.36"):
            if any(origin.record == bad for origin in batch.provenances):
                raise IndexError(f"stumbled over {bad}")

    report = embed(tmp_path / "many.fasta", Tiny(trap), out=tmp_path / "table")
    assert (report.records_in, report.embedded) == (37, 35)
    assert [(bad.record, bad.stage, bad.error) for bad in report.quarantined] == [(f"s1.{i}", "embed", "IndexError") for i in (5, 36)]
    assert "IndexError: stumbled over s1.5 in tiny" in report.quarantined[0].reason
    assert list(rows(tmp_path / "table")) == [f"s1.{i}" for i in range(37) if i not in (5, 36)]


def test_out_of_memory_halves_the_batches_and_loses_nothing(tmp_path, caplog):
    fasta(tmp_path / "many.fasta", 1, records=40)

    def trap(batch: GraphBatch) -> None:
        if batch.num_graphs > 6:
            raise torch.OutOfMemoryError("out of memory")

    encoder = Tiny(trap)
    with caplog.at_level(logging.WARNING, "geoembed"):
        report = embed(tmp_path / "many.fasta", encoder, out=tmp_path / "table", budget=Budget(graphs=20))
    assert report.embedded == 40
    assert "batches are halved" in caplog.text
    assert list(rows(tmp_path / "table")) == [f"s1.{i}" for i in range(40)]


def test_zero_vectors_are_listed_and_not_stored(tmp_path):
    encoder = Tiny()
    with torch.no_grad():
        encoder.letters.weight.zero_()
    report = embed(fasta(tmp_path / "a.fasta", 1, records=3), encoder, out=tmp_path / "table")
    assert (report.records_in, report.embedded) == (3, 0)
    assert {bad.stage for bad in report.quarantined} == {"embed"}
    assert "the zero vector" in report.quarantined[0].reason
    assert len(open_table(tmp_path / "table")) == 0
    assert [line.record for line in open_table(tmp_path / "table").refused()] == ["s1.0", "s1.1", "s1.2"]


def test_the_encoder_is_left_as_it_was(tmp_path):
    encoder = Tiny().train()
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    embed(fasta(tmp_path / "a.fasta", 1), encoder, out=tmp_path / "table")
    assert encoder.training
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())


@pytest.mark.usefixtures("files")
def test_commits_come_at_ends_of_chunks_and_scratch_files_do_not_add_up(tmp_path, monkeypatch):
    folder_of_fasta(tmp_path / "in", 150)
    monkeypatch.setattr("geoembed.pipeline.run.COMMIT_ROWS", 1)
    left = []
    commit = Run.commit

    def spy(self: Run) -> None:
        commit(self)
        left.append(len(list((tmp_path / "table").glob(".writing-graphs-*/shard-*.safetensors"))))

    monkeypatch.setattr(Run, "commit", spy)
    report = embed(tmp_path / "in", Tiny(), out=tmp_path / "table")
    assert report.embedded == len(rows(tmp_path / "table")) == 150
    assert len(left) > 3
    assert max(left) <= 5  # what the parsing is ahead; not what was done
    assert sorted(path.name for path in (tmp_path / "table").iterdir() if path.name.startswith(".")) == [".lock"]


def test_an_interrupted_run_keeps_what_it_committed(tmp_path, monkeypatch):
    folder_of_fasta(tmp_path / "in", 100)
    monkeypatch.setattr("geoembed.pipeline.run.COMMIT_ROWS", 1)

    def stop(done: int, total: int, met: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(tmp_path / "in", Tiny(), out=tmp_path / "table", progress=stop)
    had = len(rows(tmp_path / "table"))
    assert 0 < had < 100
    report = embed(tmp_path / "in", Tiny(), out=tmp_path / "table")
    assert (report.embedded, report.resumed) == (100, had)
    embed(tmp_path / "in", Tiny(), out=tmp_path / "straight")
    a, b = rows(tmp_path / "table"), rows(tmp_path / "straight")
    assert list(a) == list(b)
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_without_an_encoder_each_sort_of_graph_gets_its_own_and_the_table_keeps_it(tmp_path, caplog):
    fasta(tmp_path / "a.fasta", 1, records=3)
    (tmp_path / "POSCAR").write_text("Si\n1.0\n0 2.7 2.7\n2.7 0 2.7\n2.7 2.7 0\nSi\n2\nDirect\n0 0 0\n.25 .25 .25\n")
    with caplog.at_level(logging.WARNING, "geoembed"):
        report = embed([tmp_path / "a.fasta", tmp_path / "POSCAR"], out=tmp_path / "table")
    assert report.encoders == {"dna": "untrained: random weights", "crystal": "untrained: random weights"}
    assert caplog.text.count("random weights") == 2
    assert report.backends == {"device": "cpu", "precision": "fp32", "segment": backends.active()}
    kept = {path.parent.name: path.read_bytes() for path in (tmp_path / "table" / "encoders").glob("*/model.safetensors")}
    embed(fasta(tmp_path / "b.fasta", 5), out=tmp_path / "table")  # later files go through the encoder that is there
    assert {path.parent.name: path.read_bytes() for path in (tmp_path / "table" / "encoders").glob("*/model.safetensors")} == kept
    assert open_table(tmp_path / "table").encoders().keys() == {"dna", "crystal"}


def test_a_query_finds_itself_by_name_by_content_and_among_its_own_kind_only(tmp_path):
    fasta(tmp_path / "a.fasta", 1, records=4)
    (tmp_path / "POSCAR").write_text("Si\n1.0\n0 2.7 2.7\n2.7 0 2.7\n2.7 2.7 0\nSi\n2\nDirect\n0 0 0\n.25 .25 .25\n")
    embed([tmp_path / "a.fasta", tmp_path / "POSCAR"], out=tmp_path / "table")
    stored = search(tmp_path / "table", tmp_path / "a.fasta", k=10)
    assert len(stored) == 16  # 4 records, each compared with the 4 sequences and no crystal
    assert stored[stored["rank"] == 1]["query"].tolist() == stored[stored["rank"] == 1]["record"].tolist()
    copy = tmp_path / "copy.fasta"
    copy.write_bytes((tmp_path / "a.fasta").read_bytes())
    embedded = search(open_table(tmp_path / "table"), copy, k=10)
    assert embedded["record"].tolist() == stored["record"].tolist()
    assert np.allclose(embedded["score"], stored["score"], atol=1e-5)
    assert stored[stored["rank"] == 1]["score"].tolist() == pytest.approx([1] * 4, abs=1e-6)


def test_a_query_of_a_sort_that_the_table_lacks_says_what_it_has(tmp_path):
    embed(fasta(tmp_path / "a.fasta", 1), out=tmp_path / "table")
    (tmp_path / "POSCAR").write_text("Si\n1.0\n0 2.7 2.7\n2.7 0 2.7\n2.7 2.7 0\nSi\n2\nDirect\n0 0 0\n.25 .25 .25\n")
    with pytest.raises(UnknownNameError, match=r"vectors of: sequence.*Embed files of this sort"):
        search(tmp_path / "table", tmp_path / "POSCAR")
    with pytest.raises(EmptyGraphError, match=r"a readable file, or a source of the table.*no such file"):
        search(tmp_path / "table", tmp_path / "nowhere.cif")


def test_an_encoder_by_name_takes_its_kind_and_lists_the_others(tmp_path):
    fasta(tmp_path / "a.fasta", 1)
    (tmp_path / "POSCAR").write_text("Si\n1.0\n0 2.7 2.7\n2.7 0 2.7\n2.7 2.7 0\nSi\n2\nDirect\n0 0 0\n.25 .25 .25\n")
    report = embed([tmp_path / "a.fasta", tmp_path / "POSCAR"], "dna", out=tmp_path / "table")
    assert (report.embedded, [Path(bad.source).name for bad in report.quarantined]) == (1, ["POSCAR"])
    assert report.quarantined[0].error == SchemaError.__name__
    with pytest.raises(UnknownNameError, match="Nearest: dna"):
        embed(tmp_path / "a.fasta", "dnaa", out=tmp_path / "other")


def test_saved_weights_make_the_rows_and_the_wrong_name_for_them_is_refused(tmp_path):
    torch.manual_seed(0)
    DNABarcodeEncoder().save(tmp_path / "weights")
    fasta(tmp_path / "a.fasta", 1)
    embed(tmp_path / "a.fasta", weights=tmp_path / "weights", out=tmp_path / "table")
    import geoembed

    (graph,) = geoembed.read(tmp_path / "a.fasta")
    vector = DNABarcodeEncoder.load(tmp_path / "weights")(graph).detach().numpy()[0]
    assert np.allclose(rows(tmp_path / "table")["s1.0"], vector, atol=1e-6)
    with pytest.raises(ConfigError, match="the weights know theirs"):
        embed(tmp_path / "a.fasta", "crystal", tmp_path / "weights", tmp_path / "other")
    with pytest.raises(ConfigError, match="Load the weights first"):
        embed(tmp_path / "a.fasta", Tiny(), tmp_path / "weights", tmp_path / "other")


def test_a_crash_while_embedding_files_costs_the_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(install(tmp_path))
    files = [fasta(tmp_path / "a.fasta", 1), hostile(tmp_path / "b.hostile", "exit 9"), fasta(tmp_path / "c.fasta", 2)]
    report = embed(files, Tiny(), out=tmp_path / "table")
    assert (report.records_in, report.embedded) == (3, 2)
    assert "exit code 9" in report.quarantined[0].reason


@pytest.mark.usefixtures("files")
def test_halves_hold_the_same_graphs(tmp_path):
    build(tmp_path / "in", tmp_path / "graphs")
    (pieces,) = plan(open_store(tmp_path / "graphs").shards(), Budget())
    left, right = _halves(pieces)
    assert sum(map(len, left)) == sum(map(len, right)) == 5
    assert sum(map(len, _halves(left)[0])) == 2
    assert Encoding(Tiny(), torch.device("cpu"), Budget()).budget == Budget()


@pytest.mark.usefixtures("files")
def test_the_same_inputs_twice_in_one_call_are_one_set_of_rows(tmp_path):
    build(tmp_path / "in", tmp_path / "graphs")
    report = embed([tmp_path / "graphs", tmp_path / "in"], Tiny(), out=tmp_path / "table")
    assert (report.records_in, report.embedded, len(rows(tmp_path / "table"))) == (20, 20, 10)
