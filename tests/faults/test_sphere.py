"""Faults of fields on the sphere, from the file to the embedding: sentinels, conventions, meshes, areas (numbers: FAULTS)."""

from itertools import product

import netCDF4
import numpy as np
import pytest
import torch
import xarray
from geoembed.encoders.pretrained import default_encoder
from geoembed.graphs.areas import cell_areas
from geoembed.graphs.geodesy import healpix_centers, lat_lon
from geoembed.graphs.refinement import refined_mesh
from geoembed.graphs.sphere import sphere_graph
from geoembed.io.reader import stream
from geoembed.schema import Graph, GraphBatch
from scipy.special import roots_legendre

from climate_files import LAT, LON, grib_bytes, temperature, write_grib, write_netcdf


def read_one(path):
    (graph,) = stream(path)
    assert isinstance(graph, Graph), graph
    return graph


@pytest.fixture(scope="module")
def embed(tmp_path_factory):
    """Embedding of one graph by one encoder, in float64."""
    path = write_netcdf(tmp_path_factory.mktemp("reference") / "t.nc", temperature(3))
    encoder = default_encoder(list(stream(path)))

    def embedding(graph):
        with torch.no_grad():
            return encoder(GraphBatch.from_data_list([graph]))

    return embedding


def write_zarr(path, values, **attrs):
    axes = {"lat": ("lat", LAT, {"units": "degrees_north"}), "lon": ("lon", LON, {"units": "degrees_east"})}
    xarray.Dataset({"t2m": (("lat", "lon"), values, {"units": "K", **attrs})}, axes).to_zarr(path, zarr_format=2, consolidated=False)
    return path


SENTINELS = {
    "default fill": netCDF4.default_fillvals["f4"], "nan": np.nan, "1e20": 1e20, "beyond": -3.4e38, "-9999": -9999.0, "1e36": 1e36,
}


@pytest.mark.parametrize("form", ["nc", "zarr"])
@pytest.mark.parametrize("name", SENTINELS)
def test_fault_11_embedding_of_a_sentinel_is_that_of_the_masked_cell_bit_for_bit(tmp_path, embed, name, form):
    values = temperature()
    values[0, 4, 5] = SENTINELS[name]
    graph = read_one(write_netcdf(tmp_path / "t.nc", values) if form == "nc" else write_zarr(tmp_path / "t.zarr", values[0]))
    values[0, 4, 5] = np.nan
    masked = read_one(write_netcdf(tmp_path / "masked.nc", values))
    assert int((~graph.mask[:312]).sum()) == 1
    assert torch.equal(embed(graph), embed(masked))


@pytest.mark.parametrize("edition", [1, 2])
def test_fault_11_cell_under_a_bitmap_has_no_influence(tmp_path, embed, edition):
    hole = np.zeros((13, 24), bool)
    hole[4, 5] = True
    whole, holed = (
        read_one(write_grib(tmp_path / f"{number}.grib", [grib_bytes(temperature()[0], "2t", 0, kind="surface", edition=edition, missing=cells)]))
        for number, cells in enumerate((None, hole)))
    (cell,) = torch.nonzero(~holed.mask[:312]).flatten().tolist()
    assert cell == 8 * 24 + 5  # row 4 from the north of 13, south first
    masked = whole.clone()
    masked.mask[cell], masked.measured[cell], masked.x[cell] = False, False, 9999.0
    assert torch.equal(embed(holed), embed(masked))
    assert not torch.equal(embed(holed), embed(whole))


def test_fault_11_field_below_ground_is_masked_or_refused_and_never_a_number(tmp_path, embed):
    values = temperature()
    values[0, 6:] = 9e36
    graph = read_one(write_netcdf(tmp_path / "t.nc", values))
    assert graph.x.abs().max() < 400
    assert torch.isfinite(embed(graph)).all()
    values[0, 6:] = 9e11  # no sentinel of anybody: an impossible temperature
    ((bad, *_),) = stream(write_netcdf(tmp_path / "u.nc", values))
    assert bad.error == "ValueRangeError"


@pytest.mark.parametrize(("south_first", "west", "celsius"), list(product((False, True), repeat=3)))
def test_fault_12_one_field_in_eight_conventions_has_one_embedding(tmp_path, embed, south_first, west, celsius):
    expected = embed(read_one(write_netcdf(tmp_path / "t.nc", temperature())))
    values, lat, lon = temperature().astype(np.float64), LAT, LON
    if south_first:
        values, lat = values[:, ::-1], lat[::-1]
    if west:
        order = np.argsort(np.where(lon >= 180, lon - 360, lon))
        values, lon = values[:, :, order], np.where(lon >= 180, lon - 360, lon)[order]
    path = write_netcdf(tmp_path / "other.nc", values - 273.15 * celsius, lat, lon, units="degC" if celsius else "K")
    torch.testing.assert_close(embed(read_one(path)), expected, rtol=0, atol=1e-6)


def random_points(count, seed=0):
    points = np.random.default_rng(seed).normal(size=(count, 3))
    return lat_lon(points / np.linalg.norm(points, axis=1, keepdims=True))


def swath():
    """A strip of scans as a polar orbiter makes them: lines across its track, 2 km apart, over the seam and near the pole."""
    along, side = np.meshgrid(np.linspace(0, 2.0, 120), np.linspace(-0.15, 0.15, 45), indexing="ij")
    track = np.stack([np.cos(along) * np.cos(side), np.sin(side), np.sin(along) * np.cos(side)], axis=-1)
    lat, lon = lat_lon(track)
    return lat.ravel(), lon.ravel() + 170.0 - 360.0 * (lon.ravel() > 180)


def cluster():
    """Stations: many in one place, few elsewhere, two at one site."""
    lat, lon = random_points(30, 3)
    near = np.random.default_rng(1).normal(size=(2, 200))
    return np.concatenate([lat, 48 + near[0], [10.0, 10.0]]), np.concatenate([lon, 11 + near[1], [20.0, 20.0]])


ODD = {
    "sparse stations": random_points(11), "clustered stations": cluster(), "swath": swath(), "cells of a random mesh": random_points(2562, 5),
    "one station": (np.array([51.0]), np.array([7.0])), "poles and seam": (np.array([90.0, -90, 0, 0]), np.array([0.0, 77, 180, -180])),
    "box at the pole": tuple(axis.ravel() for axis in np.meshgrid(np.arange(80, 90.1, 0.5), np.arange(0, 360, 2.0), indexing="ij")),
}


@pytest.mark.parametrize("mesh", ["1", "4", "6", "refined"])
@pytest.mark.parametrize("name", ODD)
def test_fault_34_no_node_is_isolated_on_any_grid_and_each_point_is_in_one_triangle(name, mesh):
    lat, lon = ODD[name]
    chosen = refined_mesh(2, region=[(30, -20), (30, 40), (70, 40), (70, -20)], fine_level=5) if mesh == "refined" else None
    graph = sphere_graph(np.ones((1, len(lat))), lat=lat, lon=lon, level=int(mesh) if chosen is None else 5, mesh=chosen)
    points = int((graph.node_kind == 0).sum())
    assert points == len(lat)
    source, target = graph.edge_index
    for kind, senders, receivers in ((0, range(points), range(points, graph.num_nodes)), (2, None, range(points)),
                                     (1, None, range(points, graph.num_nodes))):
        here = graph.edge_kind == kind
        assert torch.equal(torch.unique(target[here]), torch.tensor(receivers))
        if senders is not None:
            assert torch.equal(torch.unique(source[here]), torch.tensor(senders))
    back = graph.edge_kind == 2
    assert torch.equal(torch.bincount(target[back]), torch.full((points,), 3))
    corners, place = graph.pos.double()[source[back]].reshape(-1, 3, 3), graph.pos.double()[:points]
    assert torch.linalg.solve(corners.transpose(1, 2), place.unsqueeze(-1)).min() > -2e-4  # between its corners; a pole is nudged


def grid(lat, lon):
    phi, lam = (axis.ravel() for axis in np.meshgrid(lat, lon, indexing="ij"))
    return phi, lam


def reduced(rows):
    lat = np.degrees(np.arcsin(roots_legendre(rows)[0]))
    counts = [20 + 4 * min(i, rows - 1 - i) for i in range(rows)]
    return np.repeat(lat, counts), np.concatenate([np.arange(n) * 360.0 / n for n in counts])


@pytest.mark.parametrize(("name", "tolerance"), [  # of a rule: exact for Gaussian rows, of second order for the others
    ("regular", 1e-4), ("gaussian", 1e-13), ("reduced", 1e-13), ("healpix", 1e-3), ("unstructured", 5e-3),
])
def test_fault_35_areas_sum_to_the_sphere_pool_a_constant_to_itself_and_cancel_the_second_harmonic(name, tolerance):
    lat, lon = {
        "regular": grid(np.linspace(-90, 90, 181), np.arange(360.0)), "reduced": reduced(64), "healpix": healpix_centers(16),
        "gaussian": grid(np.degrees(np.arcsin(roots_legendre(64)[0])), np.arange(128) * 360 / 128), "unstructured": random_points(4000),
    }[name]
    order = np.lexsort((lon % 360, lat))
    areas = cell_areas(lat[order], lon[order] % 360)
    assert areas.area.sum() == pytest.approx(4 * np.pi, abs=1e-12 * 4 * np.pi)
    assert areas.area.min() > 0
    z = np.sin(np.radians(lat[order]))
    assert (areas.area * 273.15).sum() / areas.area.sum() == pytest.approx(273.15, rel=1e-13)
    assert abs((areas.area * (3 * z**2 - 1) / 2).sum()) / (4 * np.pi) < tolerance
