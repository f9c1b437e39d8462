"""Whole columns and single records are two roads to the same graphs, notes and quarantines, bit for bit."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from geoembed.graphs.blocks import Block
from geoembed.io import parquet
from geoembed.io.cloud_blocks import row_blocks
from geoembed.io.column_map import PRESETS
from geoembed.io.reader import Item, stream, stream_blocks
from geoembed.schema import Graph, validate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "particles"
ODD = [0.0, -0.0, 1e-60, 1e-30, 3.5e38, 1e300, -1.0, np.nan, np.inf, -np.inf, 3.14159265, -3.2, 7.0, 211.0, 1.5, 25.0]
PROPERTY = settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


def one_by_one(items: list[Item | Block]) -> list[Item]:
    return [item for part in items for item in (part.graphs() if isinstance(part, Block) else [part])]


def same_items(left: list[Item], right: list[Item]) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        if not isinstance(a, Graph):
            assert not isinstance(b, Graph)
            assert a[0] == b[0]  # source, key, stage, reason and class of the error
            continue
        assert isinstance(b, Graph)
        assert a.provenance == b.provenance
        assert list(a.to_dict()) == list(b.to_dict())
        for name, value in a.to_dict().items():
            if isinstance(value, torch.Tensor):
                assert b[name].dtype == value.dtype
                assert b[name].numpy().tobytes() == value.numpy().tobytes(), name


def same_both_ways(path: Path, columns: str | None = None) -> list[Item | Block]:
    given = PRESETS[columns] if columns else None
    blocks = list(stream_blocks(path, given))
    same_items(list(stream(path, given)), one_by_one(blocks))
    return blocks


NUMBER = st.one_of(st.floats(0.01, 50), st.floats(-3, 3), st.sampled_from(ODD))
QUANTITIES = [["pt", "eta", "phi"], ["pt", "eta", "phi", "mass", "charge", "pid"], ["px", "py", "pz", "e", "particle_id"],
              ["pt", "rapidity", "phi", "pdgid"], ["pt", "eta", "phi", "energy", "mass", "isElectron", "isPhoton"], ["pt", "eta", "phi", "mask"]]


@PROPERTY
@given(st.data())
def test_lists_of_any_numbers_and_lengths_give_the_same_by_columns_and_by_rows(tmp_path, data):
    names = data.draw(st.sampled_from(QUANTITIES))
    rows = data.draw(st.integers(1, 9))
    columns: dict[str, list[object]] = {name: [] for name in names}
    for _ in range(rows):
        length = data.draw(st.integers(0, 4))
        plain = data.draw(st.booleans())
        for name in names:
            numbers = st.floats(0.0, 3.0) if plain else NUMBER
            own = length if data.draw(st.integers(0, 30)) else length + 1  # now and then a list too long
            cell = data.draw(st.lists(numbers if data.draw(st.integers(0, 20)) else st.none(), min_size=own, max_size=own))
            columns[name].append(cell if data.draw(st.integers(0, 40)) else None)
    kinds = {name: pa.list_(pa.float64() if data.draw(st.booleans()) else pa.float32()) for name in names}
    table = pa.table({name: pa.array(cells, kinds[name]) for name, cells in columns.items()} | {"jet_pt": [1.0] * rows})
    pq.write_table(table, tmp_path / "t.parquet")
    same_both_ways(tmp_path / "t.parquet")


@PROPERTY
@given(st.data())
def test_padded_columns_of_any_numbers_give_the_same_by_columns_and_by_rows(tmp_path, data):
    rows, slots = data.draw(st.integers(1, 6)), data.draw(st.integers(2, 5))
    names = data.draw(st.sampled_from([["E", "PX", "PY", "PZ"], ["PT", "ETA", "PHI"], ["PT", "ETA", "PHI", "CHARGE", "PID"]]))
    table = {}
    for slot in range(slots):
        padding = data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
        for name in names:
            values = data.draw(st.lists(NUMBER, min_size=rows, max_size=rows))
            table[f"{name}_{slot}"] = [0.0 if zero else value for zero, value in zip(padding, values, strict=True)]
    frame = pd.DataFrame(table).assign(is_signal_new=0)
    frame.to_parquet(tmp_path / "t.parquet")
    np.savez(tmp_path / "t.npz", **{name: frame[name].to_numpy() for name in frame})
    same_both_ways(tmp_path / "t.parquet")
    same_both_ways(tmp_path / "t.npz")
    if names[0] == "E":
        same_both_ways(tmp_path / "t.npz", "top-tagging")


def jets(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    g = np.random.default_rng(seed)
    real = np.arange(12) < g.integers(0, 13, rows)[:, None]
    return {"etarel": g.normal(0, 0.3, (rows, 12)) * real, "phirel": g.normal(0, 0.3, (rows, 12)) * real,
            "ptrel": g.exponential(0.1, (rows, 12)) * real, "mask": real.astype(float)}


def test_a_padded_block_of_jets_is_one_block_of_graphs_whatever_the_container(tmp_path):
    parts = jets(50)
    block, axis = np.stack(list(parts.values()), -1), np.tile([500.0, 0.4, 80.0, 12.0], (50, 1))
    block[7, 0] = [np.nan, 0, 1, 1]
    block[9, 0, 2], block[9, 0, 3] = -1, 1
    np.savez(tmp_path / "j.npz", particle_features=block, jet_features=axis)
    with h5py.File(tmp_path / "j.h5", "w") as file:
        file["particle_features"], file["jet_features"] = block, axis
    for suffix in ("npz", "h5"):
        items = same_both_ways(tmp_path / f"j.{suffix}")
        assert [len(item) if isinstance(item, Block) else 1 for item in items] == [7, 1, 1, 1, 40]
        assert [isinstance(item, Block) for item in items] == [True, False, True, False, True]


def test_the_keys_of_groups_of_one_file_stay_apart(tmp_path):
    parts = jets(5)
    with h5py.File(tmp_path / "j.h5", "w") as file:
        for name in ("train", "test"):
            file[f"{name}/particle_features"] = np.stack(list(parts.values()), -1)
            file[f"{name}/jet_features"] = np.tile([500.0, 0.4, 80.0, 12.0], (5, 1))
    items = same_both_ways(tmp_path / "j.h5")
    assert [graph.record for graph in one_by_one(items)] == [f"{name}/{i}" for name in ("test", "train") for i in range(5)]


def test_blocks_of_rows_end_where_the_reader_cuts_and_keys_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "BLOCK", 4)
    g = np.random.default_rng(0)
    cells = [g.exponential(5, n) for n in g.integers(0, 5, 10)]
    pd.DataFrame({"pt": cells, "eta": cells, "phi": cells, "label": 1}).to_parquet(tmp_path / "events.parquet")
    items = same_both_ways(tmp_path / "events.parquet")
    assert [len(item) for item in items if isinstance(item, Block)] == [4, 4, 2]
    assert [graph.record for graph in one_by_one(items)] == [str(i) for i in range(10)]


def test_tables_whose_columns_arrow_holds_in_another_way_are_read_all_the_same(tmp_path):
    lists = pa.array([[1.0, 2.0], [3.0]], pa.large_list(pa.float64()))
    fixed = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2))
    whole = pa.array([[1, 2], [None, 4]], pa.list_(pa.int16()))
    structs = pa.array([[{"pt": 1.0, "eta": 0.0, "phi": 0.1}], []], pa.list_(pa.struct([(n, pa.float64()) for n in ("pt", "eta", "phi")])))
    texts = pa.array(["[1.0, 2.0]", "[3.0]"])
    flags = pa.array([[True, False], [True]], pa.list_(pa.bool_()))
    for number, table in enumerate([
        {"pt": lists, "eta": lists, "phi": lists}, {"pt": fixed, "eta": fixed, "phi": fixed}, {"pt": whole, "eta": fixed, "phi": fixed},
        {"particles": structs}, {"pt": texts, "eta": lists, "phi": lists}, {"pt": lists, "eta": lists, "phi": lists, "isPhoton": flags},
        {"pt": pa.chunked_array([lists]), "eta": lists, "phi": lists, "jet_pt": pa.array([1, None])},
    ]):
        pq.write_table(pa.table(table), tmp_path / f"{number}.parquet")
        same_both_ways(tmp_path / f"{number}.parquet")


def test_the_blocks_of_a_table_keep_the_contract_and_say_what_they_dropped(tmp_path):
    padded = {"pt": np.array([5.0, 0, 0, 3, 2, 0]), "eta": np.zeros(6), "phi": np.array([4.0, 0, 0, 1, -4, 0])}
    (block,) = row_blocks(padded, np.array([3, 3]), "jet", 10)
    assert isinstance(block, Block)
    assert [(block.names.key(i), block.names.notes_of(i)["padding_dropped"], block.names.notes_of(i)["phi_wrapped"]) for i in (0, 1)] \
        == [("10", 2, 1), ("11", 1, 1)]
    batch = block.batch()
    assert batch.ptr.tolist() == [0, 1, 3]
    for i, graph in enumerate(block.graphs()):
        validate(graph)
        assert batch.get_example(i).x.equal(graph.x)
        assert batch.get_example(i).edge_attr.equal(graph.edge_attr)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
@pytest.mark.parametrize("name", ["pfnano.root", "files/p8_ee_WW_ecm240_edm4hep.root", "nasty/nano_dy_empty.root", "nasty/broken_hepmc3.dat"])
def test_files_of_experiments_give_the_same_both_ways(name):
    same_both_ways(SHARED / name)
