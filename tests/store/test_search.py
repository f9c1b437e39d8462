"""Exact search: what the specification says, whatever the blocks, the lengths, the filters and what is in memory."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from geoembed.errors import ConfigError, StoreError, UnknownNameError
from geoembed.schema import Provenance
from geoembed.store import VectorTable, open_table
from geoembed.store.filters import conditions_of
from geoembed.store.search import Block, best_rows, top_k, unit_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays


def oracle(queries: np.ndarray, rows: np.ndarray, k: int) -> list[list[int]]:
    """The specification, slowly: every pair summed in float64 from unit vectors in float32, the score rounded, ties by row."""
    def unit(x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64)
        scale = np.abs(wide).max(axis=1, keepdims=True, initial=0.0)
        wide = wide / np.where(scale == 0, 1, scale)
        norm = np.linalg.norm(wide, axis=1, keepdims=True)
        return (wide / np.where(norm == 0, 1, norm)).astype(np.float32)

    answers = []
    for query in unit(queries):
        scores = np.clip((unit(rows).astype(np.float64) @ query.astype(np.float64)).astype(np.float32), -1, 1)
        answers.append(sorted(range(len(rows)), key=lambda row: (-scores[row], row))[:k])
    return answers


def ranks(queries: np.ndarray, blocks: list[np.ndarray], k: int) -> list[list[int]]:
    return [rows.tolist() for _, rows in top_k(queries, blocks, k)]


@settings(max_examples=150)
@given(st.data(), st.integers(1, 60), st.integers(1, 6), st.integers(1, 70))
def test_ranks_are_those_of_the_specification_with_ties_and_zero_rows_in_any_blocks(data, n, dim, k):
    elements = st.integers(-2, 2).map(float)  # many rows are equal, or multiples of each other
    rows = data.draw(arrays(np.float32, (n, dim), elements=elements))
    queries = data.draw(arrays(np.float32, (4, dim), elements=elements))
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=4)))
    assert ranks(queries, np.split(rows, cuts), k) == oracle(queries, rows, k)


@pytest.mark.parametrize(("n", "dim", "queries", "spread"), [
    (30_000, 32, 3, 1.0), (3_000, 128, 40, 1.0), (5_000, 256, 2, 1.0),
    (9_000, 16, 3, 1e-3), (4_000, 128, 5, 1e-4),  # rows so alike that float32 cannot rank them
])
def test_ranks_are_those_of_the_specification_at_sizes_that_need_many_products(n, dim, queries, spread):
    generator = np.random.default_rng(n)
    rows = (1 + spread * generator.normal(size=(n, dim))).astype(np.float32)
    rows[generator.integers(0, n, n // 3)] = rows[generator.integers(0, n, n // 3)]  # ties, some far apart
    asked = rows[generator.integers(0, n, queries)]
    expected = oracle(asked, rows, 12)
    assert ranks(asked, [rows], 12) == expected
    assert ranks(asked, np.split(rows, [1, 700, n - 3]), 12) == expected
    assert [ranks(asked[i : i + 1], [rows], 12)[0] for i in range(queries)] == expected  # alone as among others


def test_rows_that_come_nearer_and_nearer_are_all_seen():
    angle = np.linspace(1.5, 0, 40_000)  # every block is better than all before it
    rows = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    assert ranks(rows[-1:], np.split(rows, 8), 5) == oracle(rows[-1:], rows, 5)


def test_more_queries_than_one_product_takes_are_answered_each_in_its_place():
    rows = np.random.default_rng(1).normal(size=(2_500, 8)).astype(np.float32)
    hits = best_rows(unit_rows(rows), [Block(unit_rows(rows[:1200])), Block(unit_rows(rows[1200:]), 1200)], 1)
    assert hits.query.tolist() == hits.row.tolist() == list(range(2_500))
    assert hits.score.min() > 1 - 1e-6


def test_unit_rows_are_those_of_float64_for_every_length_a_float32_can_have():
    rows = np.random.default_rng(2).normal(size=(5_000, 16))
    scale = 10.0 ** np.linspace(-44, 38, 5_000)[:, None]
    with np.errstate(over="ignore", under="ignore"):
        scaled = (rows * scale / np.abs(rows).max(1, keepdims=True)).astype(np.float32)
    wide = scaled.astype(np.float64)
    assert np.abs(unit_rows(scaled) - wide / np.linalg.norm(wide, axis=1, keepdims=True)).max() < 1e-7


# — tables —

def table_of(folder, rows: np.ndarray, step: int = 700) -> VectorTable:
    """Rows in parts of ``step``; sources a/0.cif, b%/1.cif, … ; records are row numbers."""
    table = VectorTable(folder)
    for start in range(0, len(rows), step):
        numbers = range(start, min(start + step, len(rows)))
        table.append(rows[start : start + step], [
            Provenance(kind="crystal" if i % 3 else "grid", modality="crystal" if i % 3 else "galaxy",
                       source=f"{('a', 'b%', 'c_d')[i % 3]}/{i % 7}.cif", record=str(i)) for i in numbers], encoder="e", weights="w")
        table.flush()
    return table


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    rows = np.random.default_rng(3).normal(size=(6_000, 12)).astype(np.float32)
    rows[3_000:3_500] = 2 * rows[:500]
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("table")
    table_of(folder, rows)
    return folder


@pytest.mark.parametrize("memory_gib", [1.0, 1e-4, 0.0])
def test_answers_do_not_depend_on_what_stays_in_memory(folder, rows, memory_gib):
    table = open_table(folder, memory_gib=memory_gib)
    for _ in range(2):
        hits = table.search(rows[:5], 9)
        assert hits["record"].astype(int).tolist() == [row for ranked in oracle(rows[:5], rows, 9) for row in ranked]
    assert hits["rank"].tolist() == [*range(1, 10)] * 5
    assert hits["query"].tolist() == sorted([*range(5)] * 9)
    kept = sum(block.nbytes for block in table._answers.vectors._kept.values())
    assert kept <= memory_gib * 2**30
    assert kept == (rows.nbytes if memory_gib == 1 else kept)


def test_rows_that_are_in_memory_are_not_decoded_again(folder, rows, monkeypatch):
    table = open_table(folder)
    first = table.nearest(rows[:3], 4)
    monkeypatch.setattr("geoembed.store.part_reader.PartReader.read", None)
    assert np.array_equal(table.nearest(rows[:3], 4).row, first.row)


def test_what_is_kept_cannot_outlive_its_part(tmp_path, rows):
    table = table_of(tmp_path, rows[:1_000])
    assert table.search(rows[:1], 1)["record"].tolist() == ["0"]
    table.parts = table.parts[1:]  # as after other rows have replaced those of the first part
    assert table.search(rows[:1], 1)["record"].tolist() != ["0"]
    table.append(rows[:1], [Provenance(kind="grid", record="new")], encoder="e", weights="w")
    table.flush()
    assert table.search(rows[:1], 1)["record"].tolist() == ["new"]
    assert {key[0] for key in table._answers.vectors._kept} == {part.sha256 for part in table.parts}


def test_a_damaged_part_is_not_searched(tmp_path, rows):
    table_of(tmp_path, rows[:700])
    part = next(tmp_path.glob("part-*"))
    content = bytearray(part.read_bytes())
    content[len(content) // 3] ^= 1
    part.write_bytes(content)
    with pytest.raises(StoreError, match=r"damaged.*geoembed verify"):
        open_table(tmp_path).search(rows[:1])


@pytest.mark.parametrize("damage", [lambda part: part.unlink(), lambda part: part.write_bytes(part.read_bytes()[:-20])])
def test_a_part_that_is_gone_or_cut_is_a_typed_error(tmp_path, rows, damage):
    table_of(tmp_path, rows[:700])
    damage(next(tmp_path.glob("part-*")))
    with pytest.raises(StoreError, match="make the table again"):
        open_table(tmp_path).search(rows[:1])


def test_row_groups_of_any_size_are_read_in_order(tmp_path, monkeypatch, rows):
    monkeypatch.setattr("geoembed.store.part_reader.CHUNK", 1_000)
    with VectorTable(tmp_path) as table:
        for start, end in ((0, 4_100), (4_100, 4_101), (4_101, 6_000)):
            table.append(rows[start:end], [Provenance(kind="grid", record=str(i)) for i in range(start, end)])
    (part,) = table.parts
    assert pq.read_metadata(tmp_path / part.file).num_row_groups == 3
    hits = open_table(tmp_path).nearest(rows[[5, 4_100, 5_999]], 1)
    assert hits.row.tolist() == [5, 4_100, 5_999]


# — filters —

@pytest.mark.parametrize(("where", "keep"), [
    ({"modality": "crystal"}, lambda i: i % 3 > 0),
    ({"modality": ["crystal", "galaxy"]}, lambda i: True),
    ({"kind": "grid", "source": "a/2.cif"}, lambda i: i % 3 == 0 and i % 7 == 2),
    ({"source": "b%/*"}, lambda i: i % 3 == 1),
    ({"source": ["c_?/[3.cif", "c_?/3*"]}, lambda i: i % 3 == 2 and i % 7 == 3),
    ({"source": "?_?/*"}, lambda i: i % 3 == 2),
    ({"record": "*99"}, lambda i: i % 100 == 99),
    ({"record": "12"}, lambda i: i == 12),
    ({"encoder": "e", "weights": "?"}, lambda i: True),
    ({"encoder": "E"}, lambda i: False),
    ({"modality": []}, lambda i: False),
    ({"source": "*.CIF"}, lambda i: False),
])
@pytest.mark.parametrize("k", [3, 50])
def test_a_filter_is_filtering_by_hand_before_the_best_are_chosen(folder, rows, where, keep, k):
    chosen = [i for i in range(len(rows)) if keep(i)]
    expected = [chosen[j] for j in oracle(rows[7:8], rows[chosen], k)[0]] if chosen else []
    for memory_gib in (1.0, 0.0):
        hits = open_table(folder, memory_gib=memory_gib).search(rows[7:8], k, where=where)
        assert hits["record"].astype(int).tolist() == expected
        assert len(hits) == min(k, len(chosen))


def test_a_pattern_spans_newlines_and_its_other_signs_stand_for_themselves(tmp_path):
    names = ["a\nb.cif", "a[1].cif", "a1.cif", "a\\b", "100%", "1000"]
    with VectorTable(tmp_path) as table:
        table.append(np.eye(6), [Provenance(kind="grid", source=name) for name in names])
    table = open_table(tmp_path)

    def found(pattern: str) -> list[str]:
        return table.search(np.ones(6), 6, where={"source": pattern})["source"].tolist()

    assert found("a*.cif") == names[:3]
    assert found("a?b.cif") == names[:1]
    assert found("a[*") == ["a[1].cif"]
    assert found("*\\*") == ["a\\b"]
    assert found("100%*") == ["100%"]
    assert found("*") == names


def test_a_condition_on_the_encoder_names_it(tmp_path):
    with VectorTable(tmp_path) as table:
        table.append(np.eye(3), [Provenance(kind="grid", record=str(i)) for i in range(3)], encoder="jet", weights="a")
        table.append(np.eye(2), [Provenance(kind="grid", record="other") for _ in range(2)], encoder="spectrum", weights="b")
    table = open_table(tmp_path)
    assert table.search(np.ones(2), where={"encoder": "spec*"})["record"].tolist() == ["other"] * 2
    assert table.search(np.ones(3), where={"weights": "a"})["record"].tolist() == ["0", "1", "2"]
    with pytest.raises(UnknownNameError, match="Pass encoder=: jet, spectrum"):
        table.search(np.ones(2), where={"encoder": "*"})


def test_conditions_that_cannot_be_are_typed_errors(folder, rows):
    table = open_table(folder)
    with pytest.raises(UnknownNameError, match="one of source, record, kind, modality, encoder, weights"):
        table.search(rows[:1], where={"notes": "*"})
    with pytest.raises(ConfigError, match="a text or a list of texts"):
        table.search(rows[:1], where={"record": [12]})
    with pytest.raises(ConfigError, match=r"--where modality=crystal"):
        conditions_of(["modality"])
    assert conditions_of(["modality=crystal", "source=a=b", "source=*c"]) == {"modality": ["crystal"], "source": ["a=b", "*c"]}
