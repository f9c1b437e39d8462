"""Column maps: a TOML says what columns mean, and nothing is guessed or left out in silence."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from geoembed.config import from_json, to_json
from geoembed.errors import ConfigError, MissingColumnError, UnknownNameError
from geoembed.io.column_map import PRESETS, ColumnMap, column_map
from geoembed.io.reader import read
from geoembed.pipeline import build
from geoembed.store import ShardDataset

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "particles"
MAP = """
columns = {pt = "a", eta = "b", phi = "c", charge = "q"}
unit = "MeV"
labels = ["is_top", "mass_of_jet"]
"""


def write_map(folder: Path, text: str = MAP) -> Path:
    (folder / "map.toml").write_text(text)
    return folder / "map.toml"


def lists(folder: Path) -> Path:
    cells = {"a": [[5000.0, 3000.0], [2000.0], []], "b": [[0.1, 0.2], [0.3], []], "c": [[1.0, 2.0], [3.0], []], "q": [[1, -1], [0], []]}
    pd.DataFrame(cells | {"is_top": [1, 0, 1], "mass_of_jet": [173.0, math.nan, 9.0]}).to_parquet(folder / "t.parquet")
    return folder / "t.parquet"


def test_columns_of_any_name_are_read_in_their_unit_with_labels_as_targets(tmp_path):
    reading = read(lists(tmp_path), columns=write_map(tmp_path))
    first, second, empty = reading
    assert reading.quarantined == []
    assert first.x[:, 0].tolist() == [5.0, 3.0]
    assert first.token[:, 1].tolist() == [2, 0]
    assert first.y.tolist() == [[1.0, 173.0]]
    assert second.y[0].isnan().tolist() == [False, True]
    assert empty.num_nodes == 0
    assert (first.provenance.modality, first.notes["momenta_in"]) == ("jet", "MeV")


def test_a_table_that_names_say_nothing_about_needs_its_map(tmp_path):
    reading = read(lists(tmp_path))
    assert list(reading) == []
    assert reading.quarantined[0].error == "MissingColumnError"


def test_a_column_that_is_missing_is_named_beside_those_that_are_there(tmp_path):
    path = write_map(tmp_path, MAP.replace('"q"', '"quarge"'))
    with pytest.raises(MissingColumnError, match=r"found \['a', 'b', 'c', 'q', 'is_top', 'mass_of_jet'\]; expected a, b, c, quarge"):
        list(read(lists(tmp_path), columns=path, on_error="raise"))


@pytest.mark.parametrize(("change", "match"), [
    (('unit = "MeV"', 'units = "MeV"'), "units"), (('pt = "a"', 'momentum = "a"'), "momentum"), (('"MeV"', '"eV"'), "unit"),
    (('eta = "b", ', ""), "columns that fix the momenta"), (("unit", 'layout = "rows"\nunit'), "number the event"),
    (('"a"', '"a_{}"'), "layout padded alone"), (('"MeV"', "MeV"), "expected TOML"),
])
def test_a_map_that_says_something_unknown_is_refused(tmp_path, change, match):
    with pytest.raises(ConfigError, match=match):
        column_map(write_map(tmp_path, MAP.replace(*change)))


def test_a_name_that_is_neither_preset_nor_file_lists_the_presets():
    with pytest.raises(UnknownNameError, match="top-tagging, jetclass, hls4ml"):
        column_map("toptagging")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_its_json(name):
    assert from_json(ColumnMap, to_json(PRESETS[name])) == PRESETS[name]
    assert column_map(name) is PRESETS[name]


def test_padded_columns_are_put_in_order_of_their_numbers(tmp_path):
    slots = {f"{name}{i}.x": [float(i) if name == "P" else 0.5] for i in (1, 10, 2) for name in ("P", "H", "F")}
    pd.DataFrame(slots).to_parquet(tmp_path / "t.parquet")
    given = ColumnMap(columns={"pt": "P{}.x", "eta": "H{}.x", "phi": "F{}.x"}, layout="padded", modality="event")
    (graph,) = read(tmp_path / "t.parquet", columns=given)
    assert graph.x[:, 0].tolist() == [1.0, 2.0, 10.0]


def test_rows_of_one_event_are_one_graph_labeled_by_its_first_row(tmp_path):
    table = pd.DataFrame({"run": [1, 1, 1], "ev": [7, 8, 7], "p": [1.0, 2.0, 3.0], "h": 0.5, "f": [0.0, 0.1, 0.2], "signal": [1, 0, 1]})
    table.to_parquet(tmp_path / "t.parquet")
    given = ColumnMap(columns={"pt": "p", "eta": "h", "phi": "f"}, layout="rows", event=("run", "ev"), labels=("signal",), unit="TeV")
    first, second = read(tmp_path / "t.parquet", columns=given)
    assert [(graph.record, graph.x[:, 0].tolist(), graph.y.tolist()) for graph in (first, second)] \
        == [("1:7", [1000.0, 3000.0], [[1.0]]), ("1:8", [2000.0], [[0.0]])]


def test_a_label_that_is_a_text_is_refused(tmp_path):
    frame = pd.read_parquet(lists(tmp_path)).assign(is_top=["yes", "no", "yes"])
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(MissingColumnError, match="Encode classes as numbers"):
        list(read(tmp_path / "t.parquet", columns=write_map(tmp_path), on_error="raise"))


def test_a_map_for_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "s.fasta").write_text(">a\nACGT\n")
    with pytest.raises(ConfigError, match="Leave 'columns' out"):
        list(read(tmp_path / "s.fasta", columns="top-tagging", on_error="raise"))


def test_the_preset_of_the_hls4ml_jets_needs_no_names_in_the_file(tmp_path):
    g = np.random.default_rng(0)
    block = g.normal(size=(4, 10, 16))
    block[..., 5] = np.abs(block[..., 5])  # j1_pt
    block[..., 3] = np.abs(block[..., 3]) + 50  # j1_e
    np.savez(tmp_path / "j.npz", jetConstituentList=block, **{name: np.eye(5)[:4, i] for i, name in enumerate(PRESETS["hls4ml"].labels)})
    graphs = list(read(tmp_path / "j.npz", columns="hls4ml"))
    assert graphs[2].y.tolist() == [[0, 0, 1, 0, 0]]
    assert np.allclose(graphs[2].x[:, 0], block[2, :, 5])
    assert np.allclose(graphs[2].x[:, 3], block[2, :, 3])


def test_another_map_builds_the_chunk_again_and_the_same_one_does_not(tmp_path):
    path = lists(tmp_path)
    first = build(path, tmp_path / "s", columns=write_map(tmp_path))
    again = build(path, tmp_path / "s", columns=write_map(tmp_path))
    other = build(path, tmp_path / "s", columns=write_map(tmp_path, MAP.replace("MeV", "GeV")))
    assert (first.built, again.resumed, other.resumed) == (3, 3, 0)
    assert [graph.x[0, 0].item() if graph.num_nodes else None for graph in ShardDataset(tmp_path / "s")] == [5000.0, 2000.0, None]


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
def test_jets_of_pfnano_hold_their_constituents_by_index():
    from geoembed.io.root import Root

    by_map = list(read(SHARED / "pfnano.root", columns="pfnano-jets"))
    records = list(Root(jets=True).records(SHARED / "pfnano.root"))
    assert len(by_map) == len([record for record in records if not hasattr(record, "error")]) > 30
    assert all(graph.provenance.modality == "jet" and graph.num_nodes > 0 for graph in by_map)
    event = next(read(SHARED / "pfnano.root"))
    own = {tuple(row) for row in event.x.tolist()}
    assert all({tuple(row) for row in graph.x.tolist()} <= own for graph in by_map if graph.record.startswith("0:"))
