"""Tables of points: columns by name, times as records, rows without coordinates left out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from geoembed.errors import EmptyGraphError, ValueRangeError
from geoembed.graphs.sphere import sphere_graph
from geoembed.io.forms.points import PointTable
from geoembed.io.record import BadRecord
from geoembed.schema import Graph

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def stations(count=40, seed=0):
    generator = np.random.default_rng(seed)
    return pd.DataFrame({
        "station": [f"S{i}" for i in range(count)], "Latitude": generator.uniform(40, 60, count), "Longitude": generator.uniform(-10, 20, count),
        "t2m (degC)": generator.uniform(-10, 25, count), "wind": generator.uniform(0, 20, count),
    })


def records(table):
    return list(PointTable().records(table, 0, "stations"))


@pytest.mark.parametrize(("columns", "expected"), [
    (["lat", "lon", "t"], True), (["Latitude", "LONGITUDE", "date", "pm10"], True), (["lat", "lon"], False), (["lat", "lon", "time"], False),
    (["ra", "dec", "mag"], False), (["pt", "eta", "phi"], False), (["lat", "t"], False),
])
def test_latitude_longitude_and_a_value_make_a_table_of_points(columns, expected):
    assert PointTable().matches(columns) is expected


def test_table_is_one_graph_of_its_rows_in_si_units():
    table = stations()
    (record,) = records(table)
    graph = PointTable().to_graph(record)
    expected = sphere_graph(
        np.stack([table["t2m (degC)"] + 273.15, table["wind"]]), lat=table["Latitude"], lon=table["Longitude"],
        level=graph.provenance.settings["level"],
    )
    assert torch.allclose(graph.x, expected.x)
    assert torch.equal(graph.edge_index, expected.edge_index)
    assert graph.provenance.settings["variables"] == ["t2m", "wind"]
    assert record.notes["columns_left_out"] == "station"


def test_order_of_the_rows_does_not_matter():
    table = stations()
    (one,), (other,) = records(table), records(table.sample(frac=1, random_state=3))
    assert torch.equal(PointTable().to_graph(one).x, PointTable().to_graph(other).x)


def test_each_time_is_a_record():
    table = pd.concat([stations().assign(time="2024-01-01 00:00"), stations(seed=1).assign(time="2024-01-01 06:00")])
    first, second = records(table)
    assert (first.key, second.key) == ("2024-01-01 00:00", "2024-01-01 06:00")
    assert first.payload.values.shape == second.payload.values.shape == (2, 40)


def test_rows_without_coordinates_and_cells_without_a_number_are_missing():
    table = stations()
    table.loc[0, "Latitude"], table.loc[1, "Longitude"], table.loc[2, "Longitude"] = np.nan, -1e10, -790.2
    table["wind"] = table["wind"].astype(str)
    table.loc[3, "wind"] = "M"
    table.loc[4, "t2m (degC)"] = -9999.0
    (record,) = records(table)
    assert record.notes["points_without_coordinates"] == 3
    assert record.notes["undeclared_sentinels"] == 1
    assert record.payload.measured.sum() == 2 * 37 - 2


def test_identifiers_alone_are_nothing_to_measure():
    with pytest.raises(EmptyGraphError, match="Add a column of values"):
        records(stations()[["station", "Latitude", "Longitude"]])


def test_table_without_rows_is_zero_records():
    assert records(stations().iloc[:0]) == []


def test_time_with_impossible_values_is_quarantined_and_the_next_is_read():
    bad = stations().assign(time="a")
    bad["t2m (degC)"] = 300.0
    first, second = records(pd.concat([bad, stations().assign(time="b")]))
    assert isinstance(first, BadRecord)
    with pytest.raises(ValueRangeError, match="degC or K"):
        raise first.error
    assert second.key == "b"


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
def test_real_swath_leaves_out_its_pixels_without_coordinates():
    with np.load(SHARED / "climate" / "files" / "ssmis_swath_600x90.npz") as file:
        table = pd.DataFrame({name: file[name].ravel().astype(float) for name in ("lon", "lat", "tb")})
    (record,) = records(table)
    assert record.notes["points_without_coordinates"] == 360
    graph = PointTable().to_graph(record)
    assert isinstance(graph, Graph)
    assert int(graph.mask.sum()) == 53_640
