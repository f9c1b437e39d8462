"""The index: made of the record at will, measured on the table, never asked about another table than the one it was made of."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from geoembed.errors import ConfigError, MissingExtraError, StoreError
from geoembed.schema import Provenance
from geoembed.store import VectorTable, index, open_table, verify
from geoembed.store.index import checks, entries, recall
from geoembed.store.search import Hits

pytest.importorskip("lancedb")
N, D = 12_000, 24


def clustered(n: int = N, seed: int = 0) -> np.ndarray:
    """Points around 60 centers; those of a center have neighbors, and the centers are far apart."""
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(60, D))
    return (centers[generator.integers(0, 60, n)] + 0.2 * generator.normal(size=(n, D))).astype(np.float32)


def fill(folder: Path, rows: np.ndarray, encoder: str = "e", start: int = 0) -> VectorTable:
    table = VectorTable(folder)
    for first in range(0, len(rows), 5_000):
        table.append(rows[first : first + 5_000], [
            Provenance(kind="cloud", source="f", record=str(start + i)) for i in range(first, min(first + 5_000, len(rows)))],
            encoder=encoder, weights="w")
        table.flush()
    return table


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A table, its index of many partitions, and what building it said."""
    folder = tmp_path_factory.mktemp("index") / "table"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "PARTITION", 256)
        entry = fill(folder, clustered()).build_index()
    return folder, entry


@pytest.fixture
def copy(built, tmp_path):
    shutil.copytree(built[0], tmp_path / "table")
    return tmp_path / "table"


@pytest.fixture
def large(monkeypatch):
    """Every table is one of more rows than are searched exactly."""
    monkeypatch.setattr("geoembed.store.answers.EXACT_ROWS", 0)


def same(a: Hits, b: Hits) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("query", "row", "score"))


def test_the_index_finds_what_it_says_and_says_it_with_true_scores(built):
    folder, entry = built
    assert (entry.rows, entry.partitions, entry.sample) == (N, N // 256, 1000)
    assert entry.recall >= 0.95
    table = open_table(folder)
    queries = clustered(300, seed=5)
    exact, found = table.nearest(queries, 10, exact=True), table.nearest(queries, 10, exact=False)
    kept = [set(exact.row[exact.query == q]) & set(found.row[found.query == q]) for q in range(300)]
    assert sum(map(len, kept)) / 3000 >= 0.95
    assert entries(folder)["e"] == entry
    truth = dict(zip(zip(exact.query.tolist(), exact.row.tolist(), strict=True), exact.score.tolist(), strict=True))
    pairs = zip(zip(found.query.tolist(), found.row.tolist(), strict=True), found.score.tolist(), strict=True)
    assert all(truth.get(pair, score) == score for pair, score in pairs)
    assert np.bincount(found.query).tolist() == [10] * 300
    assert all((np.diff(found.score[found.query == q]) <= 0).all() for q in range(300))


def test_one_question_is_answered_as_among_others(built):
    table = open_table(built[0])
    queries = clustered(70, seed=6)
    together, alone = table.nearest(queries, 5, exact=False), table.nearest(queries[66:67], 5, exact=False)
    assert together.row[together.query == 66].tolist() == alone.row.tolist()


def test_a_small_table_is_searched_exactly_and_a_large_one_by_its_index(built, large, monkeypatch):
    asked = []
    monkeypatch.setattr("geoembed.store.answers.best_rows", lambda *args: asked.append("exact"))
    table = open_table(built[0])
    table.nearest(clustered(2), 5)
    assert asked == []
    table.nearest(clustered(2), 5, exact=True)
    table.nearest(clustered(2), 5, where={"record": "1*"})
    table.nearest(clustered(2), 101)
    monkeypatch.setattr("geoembed.store.answers.EXACT_ROWS", N)
    table.nearest(clustered(2), 5)
    assert asked == ["exact"] * 4


def test_verify_and_the_list_of_files_know_nothing_of_the_index(built):
    assert verify(built[0]) == []
    assert not any("index" in name for name in open_table(built[0]).files())


def test_an_index_of_an_earlier_state_is_not_used_and_says_so(copy, large, caplog):
    with VectorTable(copy) as table:
        table.append(clustered(1, seed=9), [Provenance(kind="cloud", source="g", record="new")], encoder="e", weights="w")
    table = open_table(copy)
    with caplog.at_level(logging.WARNING, "geoembed"):
        assert table.search(clustered(1, seed=9), 1)["record"].tolist() == ["new"]
    assert "an index of an earlier state of the table (12000 rows)" in caplog.text
    assert "geoembed index TABLE" in caplog.text
    with pytest.raises(StoreError, match="one of its 12001 rows now"):
        table.nearest(clustered(1), 5, exact=False)


def test_rows_that_changed_under_an_open_index_are_not_asked_of_it(copy, large, caplog):
    table = VectorTable(copy)
    table.search(clustered(1), 1)
    table.append(clustered(1, seed=9), [Provenance(kind="cloud", source="g", record="new")], encoder="e", weights="w")
    table.flush()
    with caplog.at_level(logging.WARNING, "geoembed"):
        assert table.search(clustered(1, seed=9), 1)["record"].tolist() == ["new"]
    assert "earlier state" in caplog.text


def test_a_new_index_replaces_the_old_one_of_its_encoder_and_no_other(copy, large):
    first = entries(copy)["e"]
    fill(copy, clustered(400, seed=2), "other")
    open_table(copy).build_index("other")
    assert set(entries(copy)) == {"e", "other"}
    fill(copy, clustered(400, seed=3), "e", start=N)
    open_table(copy).build_index("e")
    names = {path.name for path in (copy / "index").glob("*.lance")}
    assert names == {f"{entry.name}.lance" for entry in entries(copy).values()}
    assert f"{first.name}.lance" not in names
    hits = open_table(copy).search(clustered(400, seed=3)[7], 1, encoder="e", exact=False)
    assert hits["record"].tolist() == [str(N + 7)]


def test_a_deleted_index_is_no_loss(copy, large, caplog):
    queries = clustered(3, seed=4)
    table = open_table(copy)
    table.nearest(queries, 5)
    shutil.rmtree(copy / "index")
    for opened in (table, open_table(copy)):
        with caplog.at_level(logging.WARNING, "geoembed"):
            answer = opened.nearest(queries, 5)
        assert same(answer, opened.nearest(queries, 5, exact=True)) or opened is table  # what is open may still be whole
    assert "no index" in caplog.text
    with pytest.raises(StoreError, match="geoembed index TABLE"):
        open_table(copy).nearest(queries, 5, exact=False)
    assert verify(copy) == []
    assert open_table(copy).build_index().recall >= 0.95


@pytest.mark.parametrize("damage", ["cut", "remove", "list"])
def test_an_index_that_lost_something_is_not_used(copy, large, caplog, damage):
    queries = clustered(3, seed=4)
    exact = open_table(copy).nearest(queries, 5, exact=True)
    victim = max((copy / "index").rglob("*.idx"), key=lambda path: path.stat().st_size)
    if damage == "cut":
        victim.write_bytes(victim.read_bytes()[:-100])
    elif damage == "remove":
        victim.unlink()
    else:
        (copy / "index" / "index.json").write_text("{")
    with caplog.at_level(logging.WARNING, "geoembed"):
        assert same(open_table(copy).nearest(queries, 5), exact)
    assert "searched exactly" in caplog.text


def test_no_flipped_bit_makes_a_wrong_answer(copy, large):
    """Whatever a file of the index holds: a row is answered with its true score, or the question is answered exactly."""
    queries = clustered(4, seed=4)
    truth = open_table(copy).nearest(queries, N, exact=True)
    scores = dict(zip(zip(truth.query.tolist(), truth.row.tolist(), strict=True), truth.score.tolist(), strict=True))
    generator = np.random.default_rng(0)
    files = sorted(path for path in (copy / "index").rglob("*") if path.is_file() and path.stat().st_size)
    for path in files:
        content = path.read_bytes()
        for _ in range(6):
            broken = np.frombuffer(content, np.uint8).copy()
            places = generator.integers(0, len(broken), max(1, len(broken) // 5_000))
            broken[places] ^= generator.integers(1, 256, len(places), dtype=np.uint8)
            path.write_bytes(broken.tobytes())
            hits = open_table(copy).nearest(queries, 5)
            pairs = zip(zip(hits.query.tolist(), hits.row.tolist(), strict=True), hits.score.tolist(), strict=True)
            assert all(scores[pair] == score for pair, score in pairs), path
            assert np.bincount(hits.query).tolist() == [5] * 4
        path.write_bytes(content)


def test_a_checksum_ties_a_vector_to_its_row():
    rows, vectors = np.arange(40), clustered(40)
    expected = checks(rows, vectors)
    assert (checks(rows + 1, vectors) != expected).all()
    for bit in range(32):
        changed = vectors.copy()
        changed.view(np.uint32)[np.arange(40), np.arange(40) % D] ^= np.uint32(1 << bit)
        assert (checks(rows, changed) != expected).all()
    assert (checks(rows, vectors[:, ::-1]) != expected).all()


def test_recall_counts_equally_near_rows_alike_and_leaves_the_row_itself_out():
    def hits(*rows: tuple[int, int, float]) -> Hits:
        query, row, score = zip(*rows, strict=True)
        return Hits(np.array(query), np.array(row), np.array(score, np.float32))

    exact = hits((0, 7, 1.0), (0, 2, 0.9), (0, 3, 0.8), (1, 1, 1.0), (1, 2, 1.0), (1, 5, 0.5))
    sample = np.array([7, 5])  # row 5 does not find itself among the first: it has equals
    assert recall(exact, exact, sample, 2) == 1.0
    found = hits((0, 7, 1.0), (0, 3, 0.8), (0, 9, 0.1), (1, 3, 1.0), (1, 4, 1.0), (1, 5, 1.0))
    assert recall(exact, found, sample, 2) == 0.75


def test_vectors_without_neighborhoods_have_no_index(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "PARTITION", 64)
    monkeypatch.setattr(index, "_PROBES", 1)
    monkeypatch.setattr(index, "SAMPLE", 50)
    table = fill(tmp_path, np.random.default_rng(0).normal(size=(6_000, 64)).astype(np.float32))
    with pytest.raises(StoreError, match=r"recall@10 0\.\d+ with .* of 93 partitions.*search exactly"):
        table.build_index()
    assert entries(tmp_path) == {}
    assert len(table.search(np.ones(64), 3)) == 3


def test_too_few_rows_and_questions_that_the_recall_does_not_speak_of_are_typed_errors(built, tmp_path):
    with pytest.raises(StoreError, match="at least 256 rows"):
        fill(tmp_path, clustered(255)).build_index()
    table = open_table(built[0])
    with pytest.raises(ConfigError, match="exact=False with conditions"):
        table.search(clustered(1), exact=False, where={"record": "1"})
    with pytest.raises(ConfigError, match="k of at most 100"):
        table.search(clustered(1), 101, exact=False)


def test_without_lancedb_a_large_table_is_searched_exactly(built, large, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(MissingExtraError, match=r"geoembed\[index\]"):
        open_table(built[0]).nearest(clustered(1), 5, exact=False)
    with caplog.at_level(logging.WARNING, "geoembed"):
        assert len(open_table(built[0]).search(clustered(1), 5)) == 5
    assert "geoembed[index]" in caplog.text


def test_nothing_is_said_on_stderr_and_no_connection_is_opened(copy, monkeypatch, capfd):
    def refused(*arguments: object) -> None:
        raise AssertionError(f"a connection to {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    shutil.rmtree(copy / "index")
    assert open_table(copy).build_index().recall >= 0.95
    assert len(open_table(copy).search(clustered(2), 3, exact=False)) == 6
    assert capfd.readouterr() == ("", "")
    assert "LANCEDB_LOG" not in os.environ
