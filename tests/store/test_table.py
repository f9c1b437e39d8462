"""The vector table: few files, nothing refused in silence, exact answers."""

from __future__ import annotations

import dataclasses
import json
import logging

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from geoembed.errors import ConfigError, StoreError, UnknownNameError, ValueRangeError
from geoembed.schema import Provenance
from geoembed.store import Refused, VectorTable, open_table, verify
from geoembed.store.atomic import sha256_of
from geoembed.store.entries import ChunkRows
from geoembed.store.search import top_k
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays


def origins(n: int, start: int = 0, **changes: object) -> list[Provenance]:
    return [Provenance(kind="cloud", modality="jet", source=f"f{i // 10}", record=str(i), notes={"n": i}, **changes)
            for i in range(start, start + n)]


def vectors(n: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def test_rows_come_back_in_order_with_where_they_came_from(tmp_path):
    rows = vectors(5000)
    with VectorTable(tmp_path) as table:
        for start in range(0, 5000, 500):
            assert table.append(rows[start : start + 500], origins(500, start), encoder="jet", weights="abc") == []
    table = open_table(tmp_path)
    frame = table.to_pandas()
    assert len(table) == len(frame) == 5000
    assert np.array_equal(table.vectors(), rows)
    assert np.array_equal(np.stack(frame["vector"]), rows)
    assert frame["record"].tolist() == [str(i) for i in range(5000)]
    last = frame.iloc[4999]
    assert last[["source", "kind", "modality", "encoder", "weights"]].tolist() == ["f499", "cloud", "jet", "jet", "abc"]
    assert json.loads(frame["notes"][7]) == {"n": 7}


def test_any_parquet_reader_reads_a_part(tmp_path):
    with VectorTable(tmp_path) as table:
        table.append(vectors(3), origins(3))
    (part,) = tmp_path.glob("part-*.parquet")
    assert pd.read_parquet(part)["record"].tolist() == ["0", "1", "2"]
    assert str(pq.read_schema(part).field("vector").type) == "fixed_size_list<element: float not null>[8]"


def test_zero_and_non_finite_vectors_are_refused_aloud_and_the_rest_is_all_there(tmp_path, caplog):
    rows = vectors(5)
    rows[1], rows[3, 2], rows[4, 0] = 0, np.nan, np.inf
    with caplog.at_level(logging.WARNING, "geoembed"), VectorTable(tmp_path) as table:
        refused = table.append(rows, origins(5))
        table.refuse(refused)
    assert [(line.record, line.stage) for line in refused] == [("1", "embed"), ("3", "embed"), ("4", "embed")]
    assert "the zero vector" in refused[0].reason
    assert "NaN or infinity" in refused[1].reason
    assert caplog.text.count("left out (embed)") == 3
    table = open_table(tmp_path)
    assert table.refused() == refused
    assert len(table.search(rows[0], k=100)) == len(table) == 2  # nothing is lost on the way to the answer


def test_one_row_at_a_time_in_as_many_sessions_stays_few_files(tmp_path):
    rows = vectors(100)
    for i in range(100):
        with VectorTable(tmp_path) as table:
            table.append(rows[i : i + 1], origins(1, i))
    assert len(list(tmp_path.iterdir())) < 20
    assert np.array_equal(open_table(tmp_path).vectors(), rows)


def test_uncommitted_rows_do_not_exist_and_a_failing_block_leaves_nothing(tmp_path):
    with VectorTable(tmp_path) as table:
        table.append(vectors(2), origins(2))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    table = VectorTable(tmp_path)
    table.append(vectors(9000, seed=1), origins(9000))
    assert (len(table), table.uncommitted) == (2, 9000)
    with pytest.raises(RuntimeError, match="stop"), table:
        raise RuntimeError("stop")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_commit_names_the_inputs_that_need_not_be_read_again(tmp_path):
    table = VectorTable(tmp_path)
    table.append(vectors(2), origins(2))
    done = ChunkRows(key="key:", sources=["f0"], encoders=[""], records_in=3, embedded=2)
    table.flush([done])
    assert open_table(tmp_path).chunks == {"key:": done}


def put(table: VectorTable, key: str, sources: list[str], encoder: str = "jet", mark: str = "") -> None:
    table.append(vectors(len(sources)), [Provenance(kind="cloud", source=source, record=mark) for source in sources], encoder=encoder)
    table.refuse([Refused(sources[0], f"lost {mark}", "read", "why")], key)
    table.flush([ChunkRows(key=key, sources=[s.partition("!")[0] for s in sources], encoders=[encoder], records_in=9, embedded=8)])


def test_inputs_that_are_embedded_again_replace_their_rows_and_no_others(tmp_path):
    table = VectorTable(tmp_path)
    put(table, "k1:", ["a", "b!x", "b!y", "c"], mark="old")
    put(table, "k2:", ["d"], mark="old")
    put(table, "k1:other", ["a"], encoder="other", mark="other")  # the same input, asked of another encoder
    put(table, "k3:", ["a", "b!x"], mark="new")
    table.close()
    table = open_table(tmp_path)
    frame = table.to_pandas()
    assert sorted(zip(frame["source"], frame["record"], strict=True)) == [
        ("a", "new"), ("a", "other"), ("b!x", "new"), ("c", "old"), ("d", "old")]
    assert sorted(line.record for line in table.refused()) == ["lost new", "lost old", "lost other"]  # that of d is the old one
    assert list(table.chunks) == ["k2:", "k1:other", "k3:"]  # c's chunk is not whole any more: it would be read again
    assert verify(tmp_path) == []


def test_two_encoders_share_a_table_but_not_an_answer(tmp_path):
    with VectorTable(tmp_path) as table:
        table.append(vectors(3), origins(3), encoder="jet", weights="a")
        table.append(vectors(2, dim=4), origins(2, 10), encoder="spectrum", weights="b")
    table = open_table(tmp_path)
    assert table.encoders() == {"jet": "a", "spectrum": "b"}
    assert set(table.search(vectors(1, dim=4), k=9, encoder="spectrum")["record"]) == {"10", "11"}
    with pytest.raises(UnknownNameError, match=r"Pass encoder=: jet, spectrum"):
        table.search(vectors(1))
    with pytest.raises(UnknownNameError, match="one of jet, spectrum"):
        table.search(vectors(1), encoder="jets")


def test_other_weights_under_the_same_name_are_refused(tmp_path):
    with VectorTable(tmp_path) as table:
        table.append(vectors(1), origins(1), encoder="jet", weights="a")
        with pytest.raises(ConfigError, match="write to another table"):
            table.append(vectors(1), origins(1), encoder="jet", weights="b")
    with VectorTable(tmp_path) as table, pytest.raises(ConfigError, match="write to another table"):
        table.append(vectors(1), origins(1), encoder="jet", weights="b")


@pytest.mark.parametrize(("query", "k", "error", "message"), [
    (np.ones((1, 5)), 3, ValueRangeError, r"D = \[8\].*encoder that made the table"),
    (np.zeros(8), 3, ValueRangeError, "zero or non-finite"),
    (np.full(8, np.nan), 3, ValueRangeError, "zero or non-finite"),
    (np.ones(8), 0, ValueRangeError, "Ask for one neighbor or more"),
])
def test_questions_without_an_answer_are_typed_errors(tmp_path, query, k, error, message):
    with VectorTable(tmp_path) as table:
        table.append(vectors(3), origins(3))
    with pytest.raises(error, match=message):
        table.search(query, k)


def test_a_table_without_rows_answers_with_no_rows(tmp_path):
    with VectorTable(tmp_path):
        pass
    hits = open_table(tmp_path).search(np.ones(8))
    assert list(hits.columns) == ["query", "rank", "score", "source", "record"]
    assert len(hits) == len(open_table(tmp_path).to_pandas()) == 0


def test_no_table_is_an_error_that_says_how_to_make_one(tmp_path):
    with pytest.raises(StoreError, match="geoembed embed FILES"):
        open_table(tmp_path)


def test_an_edited_list_is_refused_and_cannot_point_outside_the_folder(tmp_path):
    with VectorTable(tmp_path) as table:
        table.append(vectors(1), origins(1))
    path = tmp_path / "table.json"
    document = json.loads(path.read_text())
    document["parts"][0]["file"] = "../../etc/passwd"
    path.write_text(json.dumps(document))
    with pytest.raises(StoreError, match="edited or damaged"):
        open_table(tmp_path)
    from geoembed.store.atomic import sealed

    document.pop("sha256")
    path.write_bytes(sealed(document))
    with pytest.raises(StoreError, match="a plain name"):
        open_table(tmp_path)


def test_shapes_that_do_not_match_are_refused(tmp_path):
    with pytest.raises(ValueRangeError, match="one provenance a row"):
        VectorTable(tmp_path).append(vectors(2), origins(3))


def test_names_that_are_no_unicode_and_names_with_newlines_survive(tmp_path):
    names = ["a\nb.cif", b"\xff\xfe.cif".decode("utf-8", "surrogateescape"), "é [1].cif"]
    with VectorTable(tmp_path) as table:
        table.append(vectors(3), [Provenance(kind="cloud", source=name, record=name) for name in names])
    table = open_table(tmp_path)
    assert table.to_pandas()["source"].tolist() == ["a\nb.cif", "\\xff\\xfe.cif", "é [1].cif"]
    assert next(records for name in names for _, _, records in table.rows_of(name)) == ["a\nb.cif"]
    assert len(list(table.rows_of(names[1]))) == 1


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data(), st.integers(1, 40), st.integers(1, 5), st.integers(1, 12))
def test_search_equals_brute_force_in_float64_for_any_blocks(data, n, dim, k):
    elements = st.integers(-3, 3).map(float)  # small integers make ties, scaled copies and zero rows
    rows = data.draw(arrays(np.float32, (n, dim), elements=elements))
    queries = data.draw(arrays(np.float32, (3, dim), elements=elements))
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=3)))
    blocks = [block for block in np.split(rows, cuts) if len(block)]
    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300) for x in (queries.astype(float), rows.astype(float))]
    exact = unit[0] @ unit[1].T
    for q, (scores, hits) in enumerate(top_k(queries, blocks, k)):
        assert len(hits) == min(k, n) == len(set(hits.tolist()))
        assert np.abs(exact[q][hits] - scores).max() < 1e-6
        assert np.abs(np.sort(exact[q])[::-1][: len(hits)] - scores).max() < 1e-6


def test_equal_scores_are_in_row_order():
    rows = np.tile(np.array([[1.0, 0.0]], np.float32), (50, 1))
    ((scores, hits),) = top_k(rows[:1], [rows[:20], rows[20:]], 30)
    assert hits.tolist() == list(range(30))
    assert scores.tolist() == [1.0] * 30


def test_lengths_do_not_matter_not_even_the_smallest():
    rows = np.array([[1e-30, 0], [0, 1e30], [3, 3]], np.float32)
    ((scores, hits),) = top_k(np.array([[5.0, 0.0]], np.float32), [rows], 3)
    assert hits.tolist() == [0, 2, 1]
    assert scores == pytest.approx([1, 2**-0.5, 0], abs=1e-6)


def test_a_part_of_an_earlier_version_is_read_searched_and_joined(tmp_path):
    """Parts were once compressed as a whole, and their types allowed a vector to have null entries."""
    rows = vectors(900)
    with VectorTable(tmp_path) as table:
        for start in range(0, 900, 300):
            table.append(rows[start : start + 300], origins(300, start))
            table.flush()
        old = pq.read_table(tmp_path / table.parts[0].file)
        plain = pa.list_(pa.float32(), 8)
        old = old.set_column(0, "vector", old["vector"].cast(plain))
        pq.write_table(old, tmp_path / "part-0.parquet", compression="zstd")
        part = dataclasses.replace(table.parts[0], file="part-0.parquet", sha256=sha256_of(tmp_path / "part-0.parquet"))
        table.parts[0] = part
        assert table.search(rows[5], 1)["record"].tolist() == ["5"]
        for i in range(8):  # enough small parts to be joined
            table.append(vectors(1, seed=i + 1), origins(1, 900 + i))
            table.flush()
    table = open_table(tmp_path)
    assert len(table.parts) == 1
    assert np.array_equal(table.vectors()[:900], rows)
    assert table.search(rows[5], 1)["record"].tolist() == ["5"]
