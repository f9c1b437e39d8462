"""NetCDF: any grid, any convention of missing values, times as records; and what is refused."""

from pathlib import Path

import netCDF4
import numpy as np
import pytest
import torch
from geoembed.errors import EmptyGraphError, MissingFieldError, UnreadableFileError, UnsafeFileError, ValueRangeError
from geoembed.graphs.geodesy import healpix_centers
from geoembed.graphs.sphere import sphere_graph
from geoembed.io.netcdf import NetCdf
from geoembed.io.record import BadRecord

from climate_files import LAT, LON, temperature, write_netcdf

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CLIMATE = SHARED / "climate"
needs_data = pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")


def records(path):
    return list(NetCdf().records(path))


def only(path):
    (record,) = records(path)
    assert not isinstance(record, BadRecord), record.error
    return record


def raw(path, write, kind="NETCDF4"):
    with netCDF4.Dataset(path, "w", format=kind) as file:
        write(file)
    return path


def put(file, name, dims, values, **attrs):
    for dim, length in zip(dims, np.shape(values), strict=True):
        if dim not in file.dimensions:
            file.createDimension(dim, length)
    variable = file.createVariable(name, np.asarray(values).dtype.str[1:], dims, fill_value=attrs.pop("_FillValue", None))
    variable.set_auto_maskandscale(False)
    variable.setncatts(attrs)
    variable[...] = values
    return variable


@pytest.mark.parametrize("kind", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA", "NETCDF4"])
def test_each_time_is_a_record_with_its_date_and_its_values(tmp_path, kind):
    values = temperature(3)
    found = records(write_netcdf(tmp_path / "t.nc", values, kind=kind))
    assert [record.key for record in found] == ["2001-01-01T00:00:00", "2001-01-02T00:00:00", "2001-01-03T00:00:00"]
    graphs = [NetCdf().to_graph(record) for record in found]
    for graph, one in zip(graphs, values, strict=True):
        expected = sphere_graph(one[None], lat=LAT, lon=LON, level=2)
        assert torch.equal(graph.x, expected.x)
        assert graph.edge_index is graphs[0].edge_index  # one topology for the file
        assert graph.provenance.settings["variables"] == ["t2m"]


def test_without_a_time_the_file_is_one_record(tmp_path):
    record = only(write_netcdf(tmp_path / "t.nc", temperature()[0], times=False))
    assert record.payload.values.shape == (1, 13, 24)


def test_days_written_as_one_number_name_their_records_in_full(tmp_path):
    def write(file):
        put(file, "lat", ("lat",), LAT, units="degrees_north")
        put(file, "lon", ("lon",), LON, units="degrees_east")
        put(file, "time", ("time",), np.array([20200101.0, 20200102.25]), units="day as %Y%m%d.%f")
        put(file, "t", ("time", "lat", "lon"), temperature(2), units="K")

    found = records(raw(tmp_path / "days.nc", write))
    assert [record.key for record in found] == ["time 20200101", "time 20200102.25"]


def test_levels_become_channels_in_order_of_pressure_in_hectopascals(tmp_path):
    def write(file):
        put(file, "lat", ("lat",), LAT, units="degrees_north")
        put(file, "lon", ("lon",), LON, units="degrees_east")
        put(file, "plev", ("plev",), np.array([85000.0, 50000.0]), units="Pa")
        put(file, "ta", ("plev", "lat", "lon"), np.stack([temperature()[0] + 1, temperature()[0]]), units="K")
        put(file, "orog", ("lon", "lat"), np.arange(24 * 13, dtype=np.float32).reshape(24, 13), units="m")

    record = only(raw(tmp_path / "t.nc", write))
    assert record.payload.variables == ("orog", "ta@500", "ta@850")
    np.testing.assert_array_equal(record.payload.values[1], temperature()[0])
    np.testing.assert_array_equal(record.payload.values[0], np.arange(24 * 13).reshape(24, 13).T)  # axes in their own order


def test_members_and_times_are_all_records_and_fixed_fields_join_each(tmp_path):
    def write(file):
        put(file, "lat", ("lat",), LAT, units="degrees_north")
        put(file, "lon", ("lon",), LON, units="degrees_east")
        put(file, "time", ("time",), np.array([0, 6]), units="hours since 2020-02-28 18:00", calendar="noleap")
        put(file, "member", ("member",), np.array([1, 2, 3]))
        put(file, "t", ("time", "member", "lat", "lon"), temperature(6).reshape(2, 3, 13, 24), units="K")
        put(file, "lsm", ("lat", "lon"), np.ones((13, 24), np.float32))

    found = records(raw(tmp_path / "t.nc", write))
    assert [record.key for record in found][:4] == [
        "2020-02-28T18:00:00 member 1", "2020-02-28T18:00:00 member 2", "2020-02-28T18:00:00 member 3", "2020-03-01T00:00:00 member 1",
    ]  # the calendar has no 29 February
    for number, record in enumerate(found):
        assert record.payload.variables == ("lsm", "t")
        np.testing.assert_array_equal(record.payload.values[1], temperature(6)[number])


@pytest.mark.parametrize(("dtype", "attrs", "sentinel"), [
    ("f4", {"_FillValue": np.float32(-9999)}, -9999), ("f4", {"missing_value": np.float32(-9999)}, -9999),
    ("f4", {"_FillValue": np.float32(np.nan)}, np.nan), ("f4", {}, netCDF4.default_fillvals["f4"]), ("f4", {}, 1e35), ("f4", {}, np.inf),
    ("f8", {"missing_value": np.array([-1.0, -2.0])}, -2), ("f4", {"valid_range": np.array([100, 400], "f4")}, 50),
    ("f4", {"valid_max": np.float32(400)}, 500), ("f4", {}, -9999), ("f4", {}, 99999.0),
])
def test_each_sentinel_of_a_missing_value_is_unmeasured(tmp_path, dtype, attrs, sentinel):
    values = temperature()[0].astype(dtype)
    values[3, 4] = sentinel
    attrs = dict(attrs)
    path = write_netcdf(tmp_path / "t.nc", values, times=False, fill=attrs.pop("_FillValue", None), attrs=attrs)
    record = only(path)
    assert not record.payload.measured[0, 3, 4]
    assert record.payload.measured.sum() == 13 * 24 - 1
    assert record.notes["missing"] == 1


@pytest.mark.parametrize(("attrs", "packed"), [
    ({"scale_factor": 0.01, "add_offset": 273.15, "_FillValue": np.int16(-32768)}, np.int16(-32768)),
    ({"scale_factor": 0.01, "add_offset": 273.15}, np.int16(-32767)),  # the default fill of the type
    ({"scale_factor": 0.01, "add_offset": 273.15, "valid_range": np.array([-10000, 10000], np.int16)}, np.int16(20000)),
    ({"scale_factor": 0.01, "add_offset": 273.15, "valid_min": 100.0, "valid_max": 350.0}, np.int16(20000)),  # unpacked bounds
])
def test_packed_values_are_unpacked_and_their_fills_are_not(tmp_path, attrs, packed):
    codes = np.arange(13 * 24, dtype=np.int16).reshape(13, 24)
    codes[3, 4] = packed
    path = write_netcdf(tmp_path / "t.nc", codes, times=False, fill=attrs.get("_FillValue"),
                        attrs={key: value for key, value in attrs.items() if key != "_FillValue"})
    record = only(path)
    assert np.flatnonzero(~record.payload.measured[0]).tolist() == [3 * 24 + 4]
    assert record.payload.values[0, 0, 7] == pytest.approx(273.22)


def test_unsigned_bytes_of_classic_files_are_unsigned(tmp_path):
    codes = np.full((13, 24), -56, np.int8)  # 200
    record = only(write_netcdf(tmp_path / "t.nc", codes, times=False, name="count", units="1", attrs={"_Unsigned": "true"}))
    assert (record.payload.values == 200).all()


def test_variable_that_is_all_missing_is_dropped_from_a_single_record_and_kept_among_many(tmp_path):
    def write(times):
        def inner(file):
            put(file, "lat", ("lat",), LAT, units="degrees_north")
            put(file, "lon", ("lon",), LON, units="degrees_east")
            put(file, "time", ("time",), np.arange(times), units="days since 2000-01-01")
            put(file, "a", ("time", "lat", "lon"), temperature(times))
            put(file, "b", ("time", "lat", "lon"), np.full((times, 13, 24), np.nan, np.float32))
        return inner

    single = only(raw(tmp_path / "one.nc", write(1)))
    assert single.payload.variables == ("a",)
    assert single.notes["all_missing"] == "b"
    for record in records(raw(tmp_path / "two.nc", write(2))):
        assert record.payload.variables == ("a", "b")  # a fixed width for an encoder
        assert not record.payload.measured[1].any()


def test_one_empty_time_is_quarantined_and_its_neighbors_are_read(tmp_path):
    values = temperature(3)
    values[1] = np.nan
    first, second, third = records(write_netcdf(tmp_path / "t.nc", values))
    assert isinstance(second, BadRecord)
    assert isinstance(second.error, EmptyGraphError)
    assert second.key == "2001-01-02T00:00:00"
    np.testing.assert_array_equal(third.payload.values[0], values[2])
    np.testing.assert_array_equal(first.payload.values[0], values[0])


def test_sea_mask_in_another_variable_hides_the_land(tmp_path):
    wet = np.ones((13, 24), np.int8)
    wet[:5] = 0
    salt = np.where(wet, temperature()[0], 0).astype(np.float32)

    def write(file):
        put(file, "lat", ("lat",), LAT, units="degrees_north")
        put(file, "lon", ("lon",), LON, units="degrees_east")
        put(file, "wet_c", ("lat", "lon"), wet)
        put(file, "so", ("lat", "lon"), salt)
        put(file, "ice", ("lat", "lon"), temperature(seed=1)[0])  # has values on land: the mask is not its own

    record = only(raw(tmp_path / "t.nc", write))
    assert record.payload.variables == ("ice", "so")
    assert record.payload.measured[0].all()
    np.testing.assert_array_equal(record.payload.measured[1], wet == 1)
    assert record.notes["masked_by"] == "wet_c"


def test_stations_without_valid_coordinates_are_left_out_and_counted(tmp_path):
    lat = np.array([50, 51, np.nan, -1e10, 52, 53], np.float32)
    lon = np.array([8, 9, 10, 11, -790.2, 12], np.float32)

    def write(file):
        put(file, "lat", ("station",), lat, units="degrees_N")
        put(file, "lon", ("station",), lon, units="degrees_E")
        put(file, "T", ("station",), np.array([1, 2, 3, 4, 5, 9999], np.float32), units="celsius", long_name="temperature")

    record = only(raw(tmp_path / "t.nc", write))
    assert record.notes["points_without_coordinates"] == 3
    assert record.notes["undeclared_sentinels"] == 1
    assert record.payload.lat.tolist() == [50, 51, 53]
    np.testing.assert_allclose(record.payload.values[0, :2], [274.15, 275.15])
    assert record.payload.measured[0].tolist() == [True, True, False]


def test_cells_in_radians_are_where_they_are(tmp_path):
    def write(file):
        put(file, "clat", ("ncells",), np.radians([90.0, 0, -45]).astype(np.float32), units="radian", standard_name="latitude")
        put(file, "clon", ("ncells",), np.radians([0.0, 120, 300]), units="radian", standard_name="longitude")
        put(file, "S", ("ncells",), np.array([1.0, 2, 3]), coordinates="clat clon")

    record = only(raw(tmp_path / "t.nc", write))
    np.testing.assert_allclose(record.payload.lat, [90, 0, -45], atol=1e-5)
    np.testing.assert_allclose(record.payload.lon, [0, 120, 300])


def test_curvilinear_variable_is_placed_by_the_coordinates_it_names(tmp_path):
    lat, lon = np.meshgrid([40.0, 41, 42], [10.0, 11, 12, 13], indexing="ij")

    def write(file):
        for name, shift in (("TLAT", 0.0), ("ULAT", 0.5)):
            put(file, name, ("j", "i"), lat + shift, units="degrees_north")
        for name, shift in (("TLONG", 0.0), ("ULONG", 0.5)):
            put(file, name, ("j", "i"), lon + shift, units="degrees_east")
        put(file, "SST", ("j", "i"), np.full((3, 4), 15.0), units="degC", coordinates="TLONG TLAT")
        put(file, "UVEL", ("j", "i"), np.zeros((3, 4)), coordinates="ULONG ULAT")

    by_variable = {record.payload.variables[0]: record.payload for record in records(raw(tmp_path / "t.nc", write))}
    assert by_variable["SST"].lat[0, 0] == 40.0
    assert (by_variable["UVEL"].lat[0, 0], by_variable["UVEL"].lon[0, 0]) == (40.5, 10.5)


def test_grid_repeated_at_every_time_is_one_and_a_moving_one_moves(tmp_path):
    lat, lon = np.meshgrid([40.0, 41, 42], [10.0, 11, 12, 13], indexing="ij")

    def write(moving):
        def inner(file):
            put(file, "XLAT", ("Time", "sn", "we"), np.stack([lat, lat + moving]), units="degree_north")
            put(file, "XLONG", ("Time", "sn", "we"), np.stack([lon, lon]), units="degree_east")
            put(file, "Times", ("Time", "DateStrLen"), np.array([list("2005-08-28_00:00:00"), list("2005-08-28_06:00:00")], "S1"))
            put(file, "T2", ("Time", "sn", "we"), np.full((2, 3, 4), 290.0), units="K")
        return inner

    fixed = records(raw(tmp_path / "fixed.nc", write(0.0)))
    moved = records(raw(tmp_path / "moving.nc", write(2.0)))
    assert [record.key for record in fixed] == ["2005-08-28_00:00:00", "2005-08-28_06:00:00"]
    assert [record.payload.lat[0, 0] for record in fixed] == [40, 40]
    assert [record.payload.lat[0, 0] for record in moved] == [40, 42]


def test_faces_of_an_unstructured_mesh_lie_at_the_mean_of_their_corners(tmp_path):
    def write(file):
        put(file, "mesh", (), np.int32(0), cf_role="mesh_topology", topology_dimension=2, node_coordinates="nx ny",
            face_node_connectivity="faces")
        put(file, "nx", ("node",), np.array([0.0, 90, 180, 270, 0]), standard_name="longitude", units="degrees_east")
        put(file, "ny", ("node",), np.array([0.0, 0, 0, 0, 90]), standard_name="latitude", units="degrees_north")
        put(file, "faces", ("face", "corner"), np.array([[1, 2, 5, -1], [1, 2, 3, 4]], np.int32), start_index=1, _FillValue=np.int32(-1))
        put(file, "depth", ("face",), np.array([10.0, 20.0]), location="face")

    record = only(raw(tmp_path / "t.nc", write))
    assert record.payload.lat[0] == pytest.approx(np.degrees(np.arctan(1 / np.sqrt(2))))
    assert record.payload.lon[0] == pytest.approx(45)


def test_healpix_map_without_coordinates_is_placed_by_its_length_and_says_so(tmp_path):
    path = raw(tmp_path / "t.nc", lambda file: put(file, "psi", ("cell",), np.arange(192.0)))
    record = only(path)
    np.testing.assert_array_equal(record.payload.lat, healpix_centers(4)[0])
    assert "nside 4 in ring order" in record.notes["grid"]


def test_healpix_in_nested_order_is_not_placed_in_ring_order(tmp_path):
    path = raw(tmp_path / "t.nc", lambda file: put(file, "psi", ("cell",), np.arange(192.0), healpix_order="nested"))
    with pytest.raises(MissingFieldError, match="psi"):
        records(path)


def test_single_point_given_by_scalar_coordinates_is_a_graph_at_each_time(tmp_path):
    def write(file):
        put(file, "latitude", (), np.float64(52.5), units="degrees_north")
        put(file, "longitude", (), np.float64(13.4), units="degrees_east")
        put(file, "time", ("time",), np.arange(2), units="days since 2000-01-01")
        put(file, "t2m", ("time",), np.array([280.0, 281.0]), units="K")

    found = records(raw(tmp_path / "t.nc", write))
    assert [float(record.payload.values[0, 0]) for record in found] == [280, 281]
    assert NetCdf().to_graph(found[0]).num_nodes == 4  # the point and the corners of its triangle


def test_groups_are_read_with_the_coordinates_of_their_parents(tmp_path):
    def write(file):
        put(file, "lat", ("lat",), LAT, units="degrees_north")
        put(file, "lon", ("lon",), LON, units="degrees_east")
        group = file.createGroup("forecast")
        variable = group.createVariable("t", "f4", ("lat", "lon"))
        variable[:] = temperature()[0]

    record = only(raw(tmp_path / "t.nc", write))
    assert record.key == "forecast field"
    np.testing.assert_array_equal(record.payload.values[0], temperature()[0])


def test_swath_whose_coordinates_lie_in_a_sibling_group_is_read(tmp_path):
    def write(file):
        file.createDimension("line", 3)
        file.createDimension("pixel", 4)
        values = file.createGroup("geophysical_data").createVariable("chlor_a", "f4", ("line", "pixel"))
        navigation = file.createGroup("navigation_data")
        values[:] = np.arange(12).reshape(3, 4)
        for name, start in (("latitude", 40), ("longitude", 10)):
            navigation.createVariable(name, "f4", ("line", "pixel"))[:] = start + np.arange(12).reshape(3, 4) / 10

    record = only(raw(tmp_path / "t.nc", write))
    assert record.key == "geophysical_data field"
    np.testing.assert_allclose(record.payload.lat.ravel(), 40 + np.arange(12) / 10, rtol=1e-6)


def test_field_whose_coordinates_lie_elsewhere_says_which_and_what_to_do(tmp_path):
    path = raw(tmp_path / "t.nc", lambda file: put(file, "psi", ("ncol",), np.arange(5400.0)))
    with pytest.raises(MissingFieldError, match=r"psi \(ncol 5400\).*merge both"):
        records(path)


def test_mesh_without_a_field_is_named_as_such(tmp_path):
    def write(file):
        put(file, "lat", ("cell",), np.arange(5.0), units="degrees_north")
        put(file, "lon", ("cell",), np.arange(5.0), units="degrees_east")

    with pytest.raises(EmptyGraphError, match="add it to the file of its fields"):
        records(raw(tmp_path / "t.nc", write))


def test_time_axis_of_length_zero_is_no_success(tmp_path):
    with pytest.raises(EmptyGraphError, match="0 steps along time"):
        records(write_netcdf(tmp_path / "t.nc", np.zeros((0, 13, 24), np.float32)))


@pytest.mark.parametrize(("value", "units", "name"), [(1013.25, "Pa", "msl"), (15.0, "K", "t2m"), (288.0, "degC", "tas"), (300.0, "m/s", "u")])
def test_value_that_its_unit_cannot_have_is_refused(tmp_path, value, units, name):
    path = write_netcdf(tmp_path / "t.nc", np.full((1, 13, 24), value, np.float32), units=units, name=name)
    (record,) = records(path)
    assert isinstance(record.error, ValueRangeError)
    with pytest.raises(ValueRangeError, match="Correct the units attribute"):
        raise record.error


def test_broken_unit_of_time_leaves_the_numbers_as_keys(tmp_path):
    path = write_netcdf(tmp_path / "t.nc", temperature(2))
    with netCDF4.Dataset(path, "a") as file:
        file["time"].units = "months since 2001-01-01"
    assert [record.key for record in records(path)] == ["0 months since 2001-01-01", "1 months since 2001-01-01"]


def test_link_to_another_file_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = write_netcdf(tmp_path / "t.nc", temperature())
    with h5py.File(path, "a") as file:
        file["secret"] = h5py.ExternalLink("/etc/other.h5", "/x")
    with pytest.raises(UnsafeFileError, match="Copy the data into one file"):
        records(path)


def test_suffix_and_content_decide_which_hdf5_files_are_netcdf(tmp_path):
    head = write_netcdf(tmp_path / "t.nc", temperature()).read_bytes()[:4096]
    reader = NetCdf()
    assert reader.can_open(head, "anything.nc")
    assert reader.can_open(b"CDF\x02" + bytes(100), "no_suffix")
    assert not reader.can_open(b"\x89HDF\r\n\x1a\n" + bytes(100), "table.h5")
    assert not reader.can_open(b"GRIB", "t.nc")


def test_file_that_is_not_netcdf_inside_is_an_error_of_ours(tmp_path):
    path = tmp_path / "t.nc"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(3000))
    with pytest.raises(UnreadableFileError, match="Fetch or write the file again"):
        records(path)


@needs_data
def test_reanalysis_streams_day_by_day_on_one_topology():
    reader = NetCdf()
    found = records(CLIMATE / "slp_ncep_natl_2001_2010.nc")
    assert len(found) == 3652
    assert (found[0].key, found[-1].key) == ("2001-01-01T00:00:00", "2010-12-31T00:00:00")
    with netCDF4.Dataset(CLIMATE / "slp_ncep_natl_2001_2010.nc") as file:
        np.testing.assert_array_equal(found[1000].payload.values[0], np.asarray(file["slp"][1000]))
    first, second = reader.to_graph(found[0]), reader.to_graph(found[1000])
    assert first.edge_index is second.edge_index


@needs_data
@pytest.mark.parametrize(("name", "nodes", "missing"), [
    ("icon_ocean_salinity_surface.nc", 20480, 7866), ("nemo_orca2_sst.nc", 27118, 10367), ("healpix_nside32_psi.nc", 12288, 0),
    ("stations_sao_19950318_18z.nc", 1614, None),
])
def test_real_grids_have_their_known_numbers_of_cells_and_gaps(name, nodes, missing):
    record = only(CLIMATE / "files" / name)
    graph = NetCdf().to_graph(record)
    assert int((graph.node_kind == 0).sum()) == nodes
    if missing is not None:
        assert int((~graph.mask[:nodes]).sum()) == missing


@needs_data
def test_mesh_and_field_in_two_files_are_each_told_what_is_missing():
    with pytest.raises(MissingFieldError, match="file of the mesh|that of the mesh"):
        records(CLIMATE / "files" / "outCSne30_vortex.nc")
    with pytest.raises(EmptyGraphError, match="mesh or index file"):
        records(CLIMATE / "files" / "outCSne30.ug")
