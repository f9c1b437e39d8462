"""Faults of climate readers: what comparable packages do to their users, and what happens here instead (numbers: FAULTS)."""

import json
import time
import tracemalloc
from collections import Counter
from itertools import product
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import torch
import xarray
from geoembed.graphs.areas import cell_areas
from geoembed.io.reader import stream
from geoembed.io.zarr import Zarr
from geoembed.schema import Graph

from climate_files import LAT, LON, grib_bytes, temperature, write_grib, write_netcdf

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
TENSORS = ("x", "measured", "mask", "pos", "weight", "node_kind", "edge_index", "edge_kind", "edge_attr")


def read(path):
    """(graphs, quarantined) of a file."""
    items = list(stream(path))
    return [item for item in items if isinstance(item, Graph)], [item[0] for item in items if not isinstance(item, Graph)]


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in TENSORS)


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_fault_1_broken_files_among_good_ones_cost_themselves_alone(tmp_path, kind):
    good = write_netcdf(tmp_path / "good.nc", temperature(), kind=kind).read_bytes()
    flipped = bytearray(good)
    flipped[9] ^= 0xFF
    broken = {0: b"", 1: good[:40], 10: good[: len(good) // 2], 18: bytes(flipped), 19: b"id,flux\n1,2\n"}
    graphs, quarantined = [], []
    for number in range(20):
        path = tmp_path / f"{number}.nc"
        path.write_bytes(broken.get(number, good))
        found, lost = read(path)
        graphs += found
        quarantined += lost
    assert (len(graphs), len(quarantined)) == (15, 5)
    assert [Path(bad.source).stem for bad in quarantined] == ["0", "1", "10", "18", "19"]
    assert all(bad.reason and bad.source in bad.reason for bad in quarantined)


def test_fault_1_suffix_that_lies_does_not_hide_the_content(tmp_path):
    (tmp_path / "a.grib").write_bytes(write_netcdf(tmp_path / "t.nc", temperature(), kind="NETCDF3_CLASSIC").read_bytes())
    (tmp_path / "b.nc").write_bytes(grib_bytes(temperature()[0], "2t", 2, kind="heightAboveGround"))
    for name in ("a.grib", "b.nc"):
        graphs, quarantined = read(tmp_path / name)
        assert (len(graphs), len(quarantined)) == (1, 0)


@pytest.mark.parametrize("kind", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA", "NETCDF4", "grib1", "grib2"])
def test_fault_3_truncated_file_is_never_a_shorter_good_one(tmp_path, kind):
    values = temperature(5)  # a cut between two messages of GRIB cannot be seen: it leaves a whole file
    if kind.startswith("grib"):
        messages = [grib_bytes(one, step=6 * step, edition=int(kind[-1])) for step, one in enumerate(values)]
        whole = b"".join(messages)
    else:
        whole = write_netcdf(tmp_path / "t.nc", values, kind=kind).read_bytes()
    for kept in (len(whole) // 3, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.nc").write_bytes(whole[:kept])
        graphs, quarantined = read(tmp_path / "cut.nc")
        assert quarantined
        complete = kept // len(messages[0]) if kind.startswith("grib") else 0
        assert len(graphs) == complete  # whole messages before the cut are kept


def mutated(data, generator):
    data = bytearray(data)
    for _ in range(generator.integers(1, 4)):
        data[generator.integers(len(data) if generator.random() < 0.5 else min(len(data), 1500))] = generator.integers(256)
    return bytes(data)


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", ["classic", "netcdf4", "grib1", "grib2"])
def test_fault_4_damaged_bytes_raise_only_errors_of_ours_and_never_hang(tmp_path, kind):
    values, generator = temperature(2), np.random.default_rng(20)
    if kind.startswith("grib"):
        whole, name = b"".join(grib_bytes(one, level=500 + n, edition=int(kind[-1])) for n, one in enumerate(values)), "m.grib"
    else:
        form = {"classic": "NETCDF3_CLASSIC", "netcdf4": "NETCDF4"}[kind]
        whole, name = write_netcdf(tmp_path / "t.nc", values, kind=form).read_bytes(), "m.nc"
    reasons = Counter()
    for _ in range(60):
        (tmp_path / name).write_bytes(mutated(whole, generator))
        start = time.perf_counter()
        graphs, quarantined = read(tmp_path / name)
        assert graphs or quarantined
        assert time.perf_counter() - start < 5
        reasons.update(bad.error for bad in quarantined)
    ours = {"UnreadableFileError", "TruncatedFileError", "ValueRangeError", "EmptyGraphError", "BudgetError", "MissingFieldError",
            "UnsafeFileError", "SchemaError"}
    assert set(reasons) <= ours
    assert reasons


@pytest.mark.parametrize("axis", ["lat", "lon"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_fault_5_coordinate_that_is_no_place_is_named(tmp_path, axis, value):
    path = write_netcdf(tmp_path / "t.nc", temperature())
    with netCDF4.Dataset(path, "a") as file:
        file[axis][3] = value
    graphs, (bad,) = read(path)
    assert not graphs
    assert bad.error == "ValueRangeError"
    assert axis in bad.reason
    assert "leave out points without coordinates" in bad.reason


def test_fault_10_no_message_is_lost_and_their_order_does_not_matter(tmp_path):
    coarse, fine = temperature()[0], np.full((19, 36), 280.0)
    messages = [
        *(grib_bytes(coarse + step, "t", level, step=step) for step in (0, 6, 12) for level in (500, 850)),
        *(grib_bytes(fine + step, "t", 500, step=step, points=(19, 36)) for step in (0, 6)),
        *(grib_bytes(np.abs(coarse), "tp", 0, kind="surface", step_range=span, step=end) for span, end in (("0-6", 6), ("6-12", 12))),
        grib_bytes(coarse, "t", 5, kind="hybrid"), grib_bytes(coarse - 1, "2t", 2, kind="heightAboveGround", step=6),
    ]
    expected = None
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(messages)) if seed else range(len(messages))
        graphs, quarantined = read(write_grib(tmp_path / f"{seed}.grib", [messages[i] for i in order]))
        assert not quarantined
        assert sum(graph.notes["messages"] for graph in graphs) == len(messages)
        assert sum(len(graph.provenance.settings["variables"]) for graph in graphs) == len(messages)
        groups = {graph.record: graph for graph in graphs}
        expected = expected or groups
        assert groups.keys() == expected.keys()
        assert all(same(groups[key], expected[key]) for key in groups)
    assert sorted(expected) == sorted([
        "2001-01-01T00:00:00 regular_ll 312", "2001-01-01T00:00:00 regular_ll 684", "2001-01-01T06:00:00 +6h regular_ll 312",
        "2001-01-01T06:00:00 +6h regular_ll 684", "2001-01-01T12:00:00 +12h regular_ll 312",
    ])


@pytest.mark.parametrize("sentinel", ["default", "_FillValue", "missing_value", "nan", "beyond", "custom"])
def test_fault_11_missing_value_is_exactly_as_good_as_a_masked_one(tmp_path, sentinel):
    values = temperature()
    value = {"default": netCDF4.default_fillvals["f4"], "nan": np.nan, "beyond": -3.4e38, "custom": -9999.0}.get(sentinel, -1.0)
    values[0, 4, 5] = value
    path = write_netcdf(tmp_path / "t.nc", values, fill=np.float32(-1) if sentinel == "_FillValue" else None,
                        attrs={"missing_value": np.float32(-1)} if sentinel == "missing_value" else None)
    (graph,), _ = read(path)
    values[0, 4, 5] = np.nan
    (masked,), _ = read(write_netcdf(tmp_path / "masked.nc", values))
    assert same(graph, masked)
    assert int((~graph.mask[graph.node_kind == 0]).sum()) == 1
    assert graph.notes["missing"] == 1


@pytest.mark.parametrize(("south_first", "west", "celsius"), list(product((False, True), repeat=3)))
def test_fault_12_one_field_in_eight_conventions_is_one_graph(tmp_path, south_first, west, celsius):
    (expected,), _ = read(write_netcdf(tmp_path / "t.nc", temperature()))
    values, lat, lon = temperature().astype(np.float64), LAT, LON
    if south_first:
        values, lat = values[:, ::-1], lat[::-1]
    if west:
        order = np.argsort(np.where(lon >= 180, lon - 360, lon))
        values, lon = values[:, :, order], np.where(lon >= 180, lon - 360, lon)[order]
    path = write_netcdf(tmp_path / "other.nc", values - 273.15 * celsius, lat, lon, units="degC" if celsius else "K")
    (graph,), _ = read(path)
    for name in TENSORS[1:]:
        assert torch.equal(graph[name], expected[name]), name
    assert graph.edge_attr is expected.edge_attr
    torch.testing.assert_close(graph.x, expected.x, rtol=1e-6, atol=1e-6)
    assert ("units_converted" in graph.notes) is celsius


def test_fault_12_poles_are_kept_and_a_repeated_column_is_not(tmp_path):
    values = temperature()
    (graph,), _ = read(write_netcdf(tmp_path / "t.nc", np.concatenate([values, values[:, :, :1]], axis=2), lon=np.append(LON, 360)))
    (expected,), _ = read(write_netcdf(tmp_path / "once.nc", values))
    assert same(graph, expected)
    assert graph.notes["cyclic_columns_dropped"] == 1
    assert (graph.pos[graph.node_kind == 0][:, 2].abs() == 1).sum() == 48  # both pole rows


@pytest.mark.parametrize(("values", "units"), [(1013.25, "Pa"), (101325.0, "hPa")])
def test_fault_12_pressure_in_the_wrong_unit_is_refused_with_a_remedy(tmp_path, values, units):
    graphs, (bad,) = read(write_netcdf(tmp_path / "t.nc", np.full((1, 13, 24), values, np.float32), name="msl", units=units))
    assert not graphs
    assert bad.error == "ValueRangeError"
    assert "Correct the units attribute (hPa or Pa" in bad.reason


def test_fault_34_every_grid_reader_makes_graphs_without_isolated_nodes(tmp_path):
    for lat, lon in ((LAT, LON), (np.linspace(89, -89, 13), LON), (np.linspace(30, 60, 13), np.linspace(-20, 20, 24))):
        (graph,), _ = read(write_netcdf(tmp_path / "t.nc", temperature(), lat, lon))
        assert torch.equal(torch.unique(graph.edge_index), torch.arange(graph.num_nodes))
        back = graph.edge_index[1, graph.edge_kind == 2]
        assert torch.equal(torch.bincount(back), torch.full((13 * 24,), 3))


def test_fault_35_pole_row_has_its_exact_share():
    lat, lon = (axis.ravel() for axis in np.meshgrid(np.linspace(-90, 90, 181), np.arange(360.0), indexing="ij"))
    area = cell_areas(lat, lon).area
    assert area.sum() == pytest.approx(4 * np.pi, rel=1e-12)
    assert area[lat == 90].sum() / area.sum() == pytest.approx((1 - np.cos(np.radians(0.5))) / 2, rel=1e-12)
    assert area.min() > 0


def limited(path):
    """The error of a file, its seconds and the peak of memory that Python and numpy took."""
    list(stream(path.parent / "warm.nc"))  # imports are not what is measured
    tracemalloc.start()
    start = time.perf_counter()
    graphs, (bad,) = read(path)
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not graphs
    return bad.error, seconds, peak


@pytest.mark.parametrize(("times", "rows"), [(1, 100_000), (5_000_000, 10)])
def test_fault_65_netcdf_of_a_few_bytes_that_claims_gigabytes_is_refused_at_once(tmp_path, times, rows):
    write_netcdf(tmp_path / "warm.nc", temperature())
    path = tmp_path / "bomb.nc"
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", times), ("lat", rows), ("lon", rows)):
            file.createDimension(name, size)
        file.createVariable("t", "f4", ("time", "lat", "lon"), chunksizes=(1, min(rows, 1000), min(rows, 1000)))
        for name, word in (("lat", "north"), ("lon", "east")):
            file.createVariable(name, "f4", (name,)).units = f"degrees_{word}"
    error, seconds, peak = limited(path)
    assert error == "BudgetError"
    assert seconds < 1
    assert peak < 100 << 20


def test_fault_65_zarr_of_a_few_bytes_that_claims_terabytes_is_refused_at_once(tmp_path):
    write_netcdf(tmp_path / "warm.nc", temperature())
    path = tmp_path / "bomb.zarr"
    axes = {"lat": ("lat", LAT, {"units": "degrees_north"}), "lon": ("lon", LON, {"units": "degrees_east"})}
    xarray.Dataset({"t": (("lat", "lon"), temperature()[0])}, axes).to_zarr(path, zarr_format=2, consolidated=False)
    assert len(list(Zarr().records(path))) == 1
    metadata = json.loads((path / "t" / ".zarray").read_text())
    (path / "t" / ".zarray").write_text(json.dumps(metadata | {"shape": [1_000_000, 1_000_000], "chunks": [1000, 1000]}))
    error, seconds, peak = limited(path)
    assert error == "BudgetError"
    assert seconds < 1
    assert peak < 100 << 20


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
@pytest.mark.parametrize(("name", "graphs", "errors"), [
    ("empty_file.grib", 0, ["UnreadableFileError"]), ("era5-levels-corrupted.grib", 1, ["UnreadableFileError"]),
    ("spherical_harmonics.grib", 0, ["UnreadableFileError"]), ("hpa_and_pa.grib", 1, []), ("t_on_different_level_types.grib", 1, []),
    ("tp_on_different_grid_resolutions.grib", 2, []), ("cfrzr_and_cprat_0s.grib", 1, []), ("fields_with_missing_values.grib", 2, []),
    ("wave_spectra.grib", 1, []), ("single_gridpoint.grib", 3, []), ("test_padding.grib", 1, []), ("t_year_missing.grib", 1, []),
    ("regular_ll_wrong_increment.grib", 1, []), ("rotated_N32_subarea.grib", 1, []), ("shifted_ll_subarea.grib", 1, []),
    ("step_60m.grib", 0, ["ValueRangeError"] * 73), ("rgg_small_subarea_cellarea_ref.grib", 0, ["ValueRangeError"]),
    ("ll_sn_scanning_mode.grib", 1, []), ("test_single_with_missing.grib", 1, []), ("soil-surface-level-mix.grib", 1, []),
])
def test_files_that_break_other_readers_give_graphs_or_a_reason(name, graphs, errors):
    found, quarantined = read(SHARED / "climate" / "nasty" / name)
    assert len(found) == graphs
    assert [bad.error for bad in quarantined] == errors


def test_6_a_group_that_is_linked_inside_itself_is_refused_and_not_followed(tmp_path):
    """A flipped bit can do this; the library would walk round the circle until its stack ends."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "circle.nc"
    with h5py.File(path, "w") as file:
        group = file.create_group("inner")
        group["t"] = np.zeros((2, 3))
        group["again"] = file["/"]
    items = list(stream(path))
    assert len(items) == 1
    assert "linked from two places" in items[0][0].reason
