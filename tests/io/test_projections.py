"""Grids given by a projection alone: placed where PROJ places them, and refused where the mapping does not say enough."""

import netCDF4
import numpy as np
import pytest
import xarray
from geoembed.errors import MissingFieldError
from geoembed.graphs.geodesy import unit_vectors
from geoembed.graphs.sphere import sphere_graph
from geoembed.io.netcdf import NetCdf
from geoembed.io.projections import places
from geoembed.io.zarr import Zarr
from rasterio.crs import CRS
from rasterio.warp import transform

WGS84 = {"semi_major_axis": 6378137.0, "inverse_flattening": 298.257223563}
HUGHES = {"semi_major_axis": 6378273.0, "semi_minor_axis": 6356889.449}
SPHERE = {"earth_radius": 6371229.0}
X, Y = np.linspace(-1.4e6, 1.1e6, 26), np.linspace(-1.2e6, 1.3e6, 21)

CASES = {
    "lambert, two parallels": ("lambert_conformal_conic", WGS84, {
        "standard_parallel": [33.0, 45.0], "longitude_of_central_meridian": -97.5, "latitude_of_projection_origin": 38.5},
        "+proj=lcc +lat_1=33 +lat_2=45 +lon_0=-97.5 +lat_0=38.5 +ellps=WGS84"),
    "lambert, one parallel, sphere": ("lambert_conformal_conic", SPHERE, {
        "standard_parallel": 38.5, "longitude_of_central_meridian": 262.5, "latitude_of_projection_origin": 38.5,
        "false_easting": 20_000.0, "false_northing": -5_000.0},
        "+proj=lcc +lat_1=38.5 +lon_0=262.5 +lat_0=38.5 +R=6371229 +x_0=20000 +y_0=-5000"),
    "lambert, south": ("lambert_conformal_conic", WGS84, {
        "standard_parallel": [-20.0, -60.0], "longitude_of_central_meridian": -60.0, "latitude_of_projection_origin": -40.0},
        "+proj=lcc +lat_1=-20 +lat_2=-60 +lon_0=-60 +lat_0=-40 +ellps=WGS84"),
    "polar stereographic, north": ("polar_stereographic", HUGHES, {
        "standard_parallel": 70.0, "straight_vertical_longitude_from_pole": -45.0, "latitude_of_projection_origin": 90.0},
        "+proj=stere +lat_0=90 +lat_ts=70 +lon_0=-45 +a=6378273 +b=6356889.449"),
    "polar stereographic, south": ("polar_stereographic", HUGHES, {
        "standard_parallel": -70.0, "straight_vertical_longitude_from_pole": 0.0, "latitude_of_projection_origin": -90.0},
        "+proj=stere +lat_0=-90 +lat_ts=-70 +lon_0=0 +a=6378273 +b=6356889.449"),
    "polar stereographic, by scale": ("polar_stereographic", WGS84, {
        "scale_factor_at_projection_origin": 0.994, "straight_vertical_longitude_from_pole": 10.0, "latitude_of_projection_origin": 90.0},
        "+proj=stere +lat_0=90 +k=0.994 +lon_0=10 +ellps=WGS84"),
    "mercator": ("mercator", WGS84, {"standard_parallel": 20.0, "longitude_of_projection_origin": 150.0},
                 "+proj=merc +lat_ts=20 +lon_0=150 +ellps=WGS84"),
    "equal area, north pole": ("lambert_azimuthal_equal_area", WGS84, {
        "latitude_of_projection_origin": 90.0, "longitude_of_projection_origin": 0.0}, "+proj=laea +lat_0=90 +lon_0=0 +ellps=WGS84"),
    "equal area, oblique": ("lambert_azimuthal_equal_area", WGS84, {
        "latitude_of_projection_origin": 52.0, "longitude_of_projection_origin": 10.0, "false_easting": 43_210.0,
        "false_northing": 32_100.0}, "+proj=laea +lat_0=52 +lon_0=10 +x_0=43210 +y_0=32100 +ellps=WGS84"),
    "equal area, sphere": ("lambert_azimuthal_equal_area", SPHERE, {
        "latitude_of_projection_origin": -35.0, "longitude_of_projection_origin": 140.0}, "+proj=laea +lat_0=-35 +lon_0=140 +R=6371229"),
}


@pytest.mark.parametrize("name", CASES)
def test_cells_lie_where_proj_puts_them_to_a_centimeter(name):
    mapping, figure, numbers, proj = CASES[name]
    lat, lon, note = places({"grid_mapping_name": mapping, **figure, **numbers}, X / 1000.0, Y / 1000.0, "km")
    assert lat.shape == lon.shape == (21, 26)
    assert note == ""
    east, north = np.meshgrid(X, Y)
    source = CRS.from_proj4(proj)  # to degrees on the same figure of the Earth: no change of datum
    figure_of = "+R=6371229" if figure is SPHERE else "+a=6378273 +b=6356889.449" if figure is HUGHES else "+ellps=WGS84"
    expected_lon, expected_lat = transform(source, CRS.from_proj4(f"+proj=longlat {figure_of}"), east.ravel(), north.ravel())
    found = unit_vectors(lat.ravel(), lon.ravel())
    expected = unit_vectors(np.array(expected_lat), np.array(expected_lon))
    assert np.linalg.norm(found - expected, axis=1).max() < 2e-9


def rotated_dataset():
    values = 280.0 + np.arange(12 * 15, dtype=np.float32).reshape(12, 15) / 10
    return xarray.Dataset(
        {"tas": (("rlat", "rlon"), values, {"units": "K", "grid_mapping": "pole"}),
         "pole": ((), np.int32(0), {"grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": 39.25,
                                    "grid_north_pole_longitude": -162.0})},
        {"rlat": ("rlat", np.linspace(-5.5, 5.5, 12), {"standard_name": "grid_latitude", "units": "degrees"}),
         "rlon": ("rlon", np.linspace(-7.0, 7.0, 15), {"standard_name": "grid_longitude", "units": "degrees"})})


def turned(lat, lon):
    """Points of the system whose north pole lies at 39.25 N, 162 W: about y, then about z."""
    tilt, turn = np.radians(90.0 - 39.25), np.radians(18.0)
    about_y = np.array([[np.cos(tilt), 0, -np.sin(tilt)], [0, 1, 0], [np.sin(tilt), 0, np.cos(tilt)]])
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    return unit_vectors(lat, lon) @ (about_z @ about_y).T


@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_rotated_grid_without_latitudes_is_placed_by_its_pole_in_netcdf_and_zarr(tmp_path, suffix):
    dataset, path = rotated_dataset(), tmp_path / f"t.{suffix}"
    if suffix == "nc":
        dataset.to_netcdf(path)
        reader = NetCdf()
    else:
        dataset.to_zarr(path, zarr_format=2, consolidated=False)
        reader = Zarr()
    (record,) = reader.records(path)
    graph = reader.to_graph(record)
    grid = np.meshgrid(dataset.rlat.values, dataset.rlon.values, indexing="ij")
    order = np.round((graph.x[:180, 0].double().numpy() - 280.0) * 10).astype(int)
    np.testing.assert_allclose(graph.pos[:180].numpy(), turned(*grid).reshape(-1, 3)[order], atol=1e-6)
    assert graph.weight[:180].double().sum().item() == pytest.approx(np.radians(15) * 2 * np.sin(np.radians(6)), rel=1e-3)


def test_latitudes_that_are_there_are_taken_before_the_formula(tmp_path):
    dataset = rotated_dataset()
    lat, lon = np.meshgrid(np.linspace(10, 21, 12), np.linspace(40, 54, 15), indexing="ij")
    dataset["tas"].attrs["coordinates"] = "lat lon"
    dataset["lat"] = (("rlat", "rlon"), lat, {"units": "degrees_north"})
    dataset["lon"] = (("rlat", "rlon"), lon, {"units": "degrees_east"})
    dataset.to_netcdf(tmp_path / "t.nc")
    (record,) = NetCdf().records(tmp_path / "t.nc")
    np.testing.assert_allclose(record.payload.lat, lat)


def projected_file(path, attrs, x_units="m"):
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("y", 6)
        file.createDimension("x", 8)
        for axis, values in (("y", np.arange(6) * 25_000.0), ("x", np.arange(8) * 25_000.0)):
            variable = file.createVariable(axis, "f8", (axis,))
            variable.setncatts({"standard_name": f"projection_{axis}_coordinate", "units": x_units})
            variable[:] = values
        file.createVariable("crs", "i4").setncatts(attrs)
        field = file.createVariable("sic", "f4", ("y", "x"))
        field.setncatts({"units": "1", "grid_mapping": "crs: x y"})
        field[:] = np.arange(48).reshape(6, 8) / 48
    return path


def test_sea_ice_grid_without_a_figure_of_the_earth_says_what_was_assumed(tmp_path):
    attrs = {"grid_mapping_name": "polar_stereographic", "standard_parallel": 70.0, "straight_vertical_longitude_from_pole": -45.0,
             "latitude_of_projection_origin": 90.0}
    (record,) = NetCdf().records(projected_file(tmp_path / "t.nc", attrs))
    assert record.notes["grid"] == "no figure of the Earth is given: WGS 84"
    graph = NetCdf().to_graph(record)
    lat, lon, _ = places({**attrs, **WGS84}, np.arange(8) * 25_000.0, np.arange(6) * 25_000.0, "m")
    expected = sphere_graph((np.arange(48).reshape(1, 6, 8) / 48).astype(np.float32), lat=lat, lon=lon)
    np.testing.assert_array_equal(graph.x[:48].numpy(), expected.x[:48].numpy())
    np.testing.assert_array_equal(graph.pos[:48].numpy(), expected.pos[:48].numpy())


@pytest.mark.parametrize(("attrs", "units"), [
    ({"grid_mapping_name": "vertical_perspective"}, "m"), ({"grid_mapping_name": "polar_stereographic"}, "m"),
    ({"grid_mapping_name": "lambert_conformal_conic", "standard_parallel": 30.0}, "m"),
    ({"grid_mapping_name": "mercator"}, "furlong"),
])
def test_mapping_that_does_not_say_enough_is_named_with_what_would_do(tmp_path, attrs, units):
    with pytest.raises(MissingFieldError, match=rf"grid mapping {attrs['grid_mapping_name']}.*Add latitudes and longitudes"):
        list(NetCdf().records(projected_file(tmp_path / "t.nc", attrs, units)))
