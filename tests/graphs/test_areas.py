"""Areas of grid cells against closed forms: sums, bands, Gauss-Legendre, and Voronoi cells of a published mesh."""

from pathlib import Path

import numpy as np
import pytest
from geoembed.graphs.areas import cell_areas, quad_areas
from geoembed.graphs.geodesy import healpix_centers, lat_lon, unit_vectors
from geoembed.graphs.icosahedron import icosahedral_mesh
from geoembed.graphs.sphere_topology import mesh_areas
from geoembed.graphs.voronoi import region_areas, voronoi_areas
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import SphericalVoronoi
from scipy.special import roots_legendre

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SPHERE = 4 * np.pi


def canonical(lat, lon):
    lat, lon = np.asarray(lat, float), np.asarray(lon, float) % 360
    order = np.lexsort((lon, lat))
    return lat[order], lon[order]


def grid(lat, lon):
    phi, lam = np.meshgrid(lat, lon, indexing="ij")
    return canonical(phi.ravel(), lam.ravel())


def gaussian_latitudes(rows):
    return np.degrees(np.arcsin(roots_legendre(rows)[0]))


def reduced(lats, counts):
    return canonical(np.repeat(lats, counts), np.concatenate([np.arange(n) * 360 / n for n in counts]))


def random_points(count, seed=0):
    points = np.random.default_rng(seed).normal(size=(count, 3))
    return canonical(*lat_lon(points / np.linalg.norm(points, axis=1, keepdims=True)))


def turned(lat, lon, angle=0.7):
    c, s = np.cos(angle), np.sin(angle)
    return canonical(*lat_lon(unit_vectors(lat, lon) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T))


GLOBAL = {
    "181 rows with poles": grid(np.linspace(90, -90, 181), np.arange(360)),
    "180 rows of cell centers": grid(np.arange(-89.5, 90), np.arange(0.5, 360)),
    "180 rows, the South Pole cut off": grid(np.linspace(90, -89, 180), np.arange(360)),
    "stretched longitudes": grid(np.linspace(90, -90, 19), np.cumsum(np.linspace(5, 15, 36)) % 360),
    "Gaussian N32": grid(gaussian_latitudes(64), np.arange(128) * 360 / 128),
    "reduced Gaussian O16": reduced(gaussian_latitudes(32), [20 + 4 * min(i, 31 - i) for i in range(32)]),
    "one point at each pole": canonical([-90, *np.repeat([-45, 0, 45], 8), 90], [0, *np.tile(np.arange(8) * 45, 3), 0]),
    "HEALPix": canonical(*healpix_centers(8)),
    "icosahedral cells": canonical(*lat_lon(icosahedral_mesh(3).vertices)),
    "500 random points": random_points(500),
    "points twice": canonical(*(np.concatenate([axis, axis]) for axis in random_points(200))),
}


@pytest.mark.parametrize("name", GLOBAL)
def test_cells_of_a_global_grid_cover_the_sphere_once(name):
    areas = cell_areas(*GLOBAL[name])
    assert areas.covers_sphere
    assert areas.area.sum() == pytest.approx(SPHERE, abs=1e-12 * SPHERE)
    assert areas.area.min() > 0


def test_pole_cell_has_its_exact_share_where_the_cosine_gives_nothing():
    lat, lon = GLOBAL["181 rows with poles"]
    area = cell_areas(lat, lon).area
    cap = 2 * np.pi * (1 - np.cos(np.radians(0.5)))
    np.testing.assert_allclose(area[lat == 90], cap / 360, rtol=1e-12)
    assert area[lat == 90].sum() / SPHERE == pytest.approx(1.9e-5, rel=0.01)


@given(st.integers(2, 40), st.integers(3, 40), st.booleans())
def test_regular_cells_have_the_area_between_their_borders(rows, columns, poles):
    step = 180 / (rows if not poles else rows - 1) if rows > 1 else 180
    lats = np.linspace(-90, 90, rows) if poles else -90 + step * (np.arange(rows) + 0.5)
    lat, lon = grid(lats, np.arange(columns) * 360 / columns)
    south, north = np.clip(lat - step / 2, -90, 90), np.clip(lat + step / 2, -90, 90)
    expected = (np.sin(np.radians(north)) - np.sin(np.radians(south))) * 2 * np.pi / columns
    np.testing.assert_allclose(cell_areas(lat, lon).area, expected, rtol=1e-9)


def test_gaussian_rows_integrate_polynomials_of_latitude_exactly():
    for name in ("Gaussian N32", "reduced Gaussian O16"):
        lat, lon = GLOBAL[name]
        areas = cell_areas(lat, lon)
        assert areas.layout == "gaussian"
        z = np.sin(np.radians(lat))
        for power in (2, 4, 20):
            assert (areas.area * z**power).sum() == pytest.approx(SPHERE / (power + 1), rel=1e-12)


def test_gaussian_rows_are_known_in_the_millidegrees_of_grib_1():
    lat, lon = grid(gaussian_latitudes(64).round(3), np.arange(128) * 360 / 128)
    assert cell_areas(lat, lon).layout == "gaussian"


@pytest.mark.parametrize("name", ["181 rows with poles", "180 rows of cell centers", "HEALPix", "icosahedral cells"])
def test_second_harmonic_integrates_to_zero_and_a_constant_to_itself(name):
    lat, lon = GLOBAL[name]
    area = cell_areas(lat, lon).area
    z = np.sin(np.radians(lat))
    assert (area * (3 * z**2 - 1) / 2).sum() / SPHERE == pytest.approx(0, abs=20 / len(lat))
    assert (area * 273.15).sum() / area.sum() == pytest.approx(273.15, rel=1e-12)


def test_error_of_the_second_harmonic_falls_with_the_square_of_the_spacing():
    errors = []
    for rows in (45, 90, 180):
        lat, lon = grid(-90 + (np.arange(rows) + 0.5) * 180 / rows, np.arange(8) * 45)
        errors.append(abs((cell_areas(lat, lon).area * (3 * np.sin(np.radians(lat)) ** 2 - 1)).sum()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.02)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.02)


def test_region_has_the_area_between_its_outer_borders():
    areas = cell_areas(*grid(np.arange(30, 70.1, 2.5), np.arange(-70, 10.1, 2.5)))
    assert not areas.covers_sphere
    assert areas.area.sum() == pytest.approx(np.radians(82.5) * (np.sin(np.radians(71.25)) - np.sin(np.radians(28.75))), rel=1e-12)


def test_region_across_the_seam_has_the_area_of_one_that_is_not():
    lats = np.arange(-10, 11, 5.0)
    seam, other = (cell_areas(*grid(lats, start + np.arange(0, 40, 5.0))).area for start in (-20, 100))
    np.testing.assert_allclose(np.sort(seam), np.sort(other), rtol=1e-12)


def test_turned_grid_has_the_area_of_its_original():
    lat, lon = grid(np.arange(-20, 20.1, 2.5), np.arange(-40, 40.1, 2.5))
    original = cell_areas(lat, lon)
    voronoi = cell_areas(*turned(lat, lon))
    assert (original.layout, voronoi.layout) == ("rows", "points")
    assert voronoi.area.sum() == pytest.approx(original.area.sum(), rel=1e-3)
    assert voronoi.area.max() < 1.02 * original.area.max()


@pytest.mark.parametrize("aspect", [0.1, 0.4, 1.0])
def test_cells_at_the_border_of_a_point_cloud_are_as_large_as_those_inside(aspect):
    lat, lon = grid(np.arange(-5, 5.01, 0.5), np.arange(-4, 4.01, 0.5 * aspect))
    area, whole = region_areas(unit_vectors(*turned(lat, lon)))
    assert not whole
    assert area.min() == pytest.approx(area.max(), rel=0.01)


def test_curvilinear_cells_tile_the_solid_angle_of_their_outline():
    count, step = 40, 4e-3
    side = (np.arange(count) - 3) * step
    x, y = np.meshgrid(side, side)
    points = np.stack([np.ones_like(x), x, y], axis=-1)
    area = quad_areas(points / np.linalg.norm(points, axis=-1, keepdims=True))

    def corner(u, v):  # solid angle of the rectangle (0, 0)–(u, v) in the plane at distance 1
        return np.arctan(u * v / np.sqrt(1 + u * u + v * v))

    a, b = side[0] - step / 2, side[-1] + step / 2
    assert area.sum() == pytest.approx(corner(b, b) - corner(a, b) - corner(b, a) + corner(a, a), rel=1e-4)


def test_a_grid_that_winds_round_the_sphere_is_no_tiling_of_quadrilaterals():
    lat, lon = np.meshgrid(np.linspace(-60, 60, 13), np.arange(0, 361, 10.0), indexing="ij")
    assert quad_areas(unit_vectors(lat, lon)) is None


def test_voronoi_cells_of_all_points_agree_with_another_construction():
    lat, lon = random_points(300, seed=3)
    points = unit_vectors(lat, lon)
    np.testing.assert_allclose(cell_areas(lat, lon).area, SphericalVoronoi(points).calculate_areas(), rtol=1e-9)


def test_points_at_one_place_share_its_cell():
    lat, lon = random_points(50)
    alone = cell_areas(lat, lon).area
    twice = cell_areas(*canonical(np.append(lat, lat[7]), np.append(lon, lon[7]))).area
    shared = np.sort(twice)[np.searchsorted(np.sort(twice), alone[7] / 2 * (1 - 1e-9))]
    assert shared == pytest.approx(alone[7] / 2)


@pytest.mark.parametrize("points", [
    ([3.0], [4.0]), ([3.0, 3.1], [4.0, 4.0]), ([3.0, 3.1, 4.0], [4.0, 4.0, 5.0]), (np.full(9, 10.0), np.full(9, 1.0)),
    (np.linspace(0, 20, 30), np.linspace(0, 20, 30)), (np.full(30, 10.0), np.linspace(0, 20, 30)), (np.linspace(-90, 90, 19), np.zeros(19)),
])
def test_few_points_and_points_on_a_line_have_small_positive_cells(points):
    areas = cell_areas(*canonical(*points))
    assert not areas.covers_sphere
    assert areas.area.min() > 0
    assert areas.area.sum() < 0.2 * SPHERE


@pytest.mark.parametrize("level", [0, 2, 5])
def test_areas_of_mesh_vertices_sum_to_the_sphere(level):
    area = mesh_areas(level)
    assert area.sum() == pytest.approx(SPHERE, abs=1e-12 * SPHERE)
    assert area.min() > 0.7 * area.max()
    points = icosahedral_mesh(level).vertices
    np.testing.assert_allclose(area[:12], area[0], rtol=1e-9)  # the twelve corners are alike
    assert np.abs((area[:, None] * points).sum(axis=0)).max() < 1e-10  # no direction is preferred


def test_obtuse_triangles_are_shared_out_with_signs():
    points = unit_vectors(np.array([90.0, -90.0, 0.0, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 100.0, 200.0]))
    triangles = np.array([[2, 3, 0], [3, 4, 0], [4, 2, 0], [3, 2, 1], [4, 3, 1], [2, 4, 1]])
    np.testing.assert_allclose(voronoi_areas(points, triangles), SphericalVoronoi(points).calculate_areas(), rtol=1e-9)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
def test_voronoi_cells_are_the_cells_of_a_centroidal_mesh():
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(SHARED / "climate" / "files" / "mpas_mesh_QU_1920km.nc", engine="netcdf4") as mesh:
        lat, lon = np.degrees(mesh.latCell.values), np.degrees(mesh.lonCell.values) % 360
        order = np.lexsort((lon, lat))
        published = mesh.areaCell.values[order]
    area = cell_areas(lat[order], lon[order]).area
    np.testing.assert_allclose(area, published * SPHERE / published.sum(), rtol=1e-6)
