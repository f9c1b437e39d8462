"""Spherical geometry against closed forms and independent formulas."""

import numpy as np
import pytest
from geoembed.graphs.geodesy import displacements, great_circle, healpix_centers, healpix_nside, lat_lon, solid_angles, unit_vectors
from hypothesis import given
from hypothesis import strategies as st

LATITUDES = st.floats(-90, 90)
LONGITUDES = st.floats(-360, 720)


def at(lat, lon):
    return unit_vectors(np.array([lat]), np.array([lon]))


def test_poles_are_one_point_whatever_their_longitude():
    poles = unit_vectors(np.full(5, 90.0), np.arange(5) * 77.0)
    np.testing.assert_array_equal(poles, np.tile([0.0, 0.0, 1.0], (5, 1)))


@given(LATITUDES, LONGITUDES)
def test_positions_and_angles_are_inverse(lat, lon):
    back_lat, back_lon = lat_lon(at(lat, lon))
    assert back_lat[0] == pytest.approx(lat, abs=1e-9)
    if abs(lat) < 89.999:
        assert (back_lon[0] - lon + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)


@given(LATITUDES, LONGITUDES, LATITUDES, LONGITUDES)
def test_distance_is_the_haversine_formula(lat1, lon1, lat2, lon2):
    p1, p2, half = np.radians(lat1), np.radians(lat2), np.radians(lon2 - lon1) / 2
    haversine = np.sin((p2 - p1) / 2) ** 2 + np.cos(p1) * np.cos(p2) * np.sin(half) ** 2
    assert great_circle(at(lat1, lon1), at(lat2, lon2))[0] == pytest.approx(2 * np.arcsin(np.sqrt(min(haversine, 1.0))), abs=2e-8)


def test_distance_of_a_meter_keeps_its_digits():
    meter = 1.0 / 6.371e6
    assert great_circle(at(0, 0), at(0, np.degrees(meter)))[0] == pytest.approx(meter, rel=1e-9)


@pytest.mark.parametrize(("source", "east", "north"), [((30, 10.1), 1, 0), ((30, 9.9), -1, 0), ((30.1, 10), 0, 1), ((29.9, 10), 0, -1)])
def test_displacement_points_to_the_source_in_compass_directions(source, east, north):
    d, e, n = displacements(at(*source), at(30, 10))[0]
    scale = d * np.cos(np.radians(30))  # components carry the cosine of the target's latitude
    assert (e / scale, n / scale) == pytest.approx((east, north), abs=1e-3)


@given(LATITUDES, LONGITUDES, LATITUDES, LONGITUDES, st.floats(-180, 180))
def test_displacement_does_not_feel_a_turn_about_the_axis(lat1, lon1, lat2, lon2, turn):
    here = displacements(at(lat1, lon1), at(lat2, lon2))
    there = displacements(at(lat1, lon1 + turn), at(lat2, lon2 + turn))
    np.testing.assert_allclose(here, there, atol=1e-12)


def test_displacement_at_a_pole_is_a_distance_without_a_direction():
    d, e, n = displacements(at(80, 123), at(90, 5))[0]
    assert d == pytest.approx(np.radians(10))
    assert (e, n) == (0.0, 0.0)


def test_solid_angle_of_a_small_triangle_is_its_plane_area():
    size = 1e-6
    a, b, c = np.array([[1.0, 0, 0]]), np.array([[1.0, size, 0]]), np.array([[1.0, 0, size]])
    b, c = b / np.linalg.norm(b), c / np.linalg.norm(c)
    assert solid_angles(a, b, c)[0] == pytest.approx(size**2 / 2, rel=1e-9)
    assert solid_angles(a, c, b)[0] == pytest.approx(-(size**2) / 2, rel=1e-9)


def test_spherical_excess_of_a_lune_half_is_its_angle():
    # Corners at the pole and at two points of the equator 50° apart: excess = 50°.
    assert solid_angles(at(90, 0), at(0, 0), at(0, 50))[0] == pytest.approx(np.radians(50))


@pytest.mark.parametrize("nside", [1, 2, 4, 32])
def test_healpix_rings_follow_the_published_layout(nside):
    lat, lon = healpix_centers(nside)
    assert len(lat) == 12 * nside**2
    assert healpix_nside(len(lat)) == nside
    assert len(np.unique(lat.round(9))) == 4 * nside - 1
    assert (np.diff(lat) <= 1e-12).all()
    np.testing.assert_allclose(np.sort(lat), np.sort(-lat), atol=1e-12)
    assert np.sin(np.radians(lat[0])) == pytest.approx(1 - 1 / (3 * nside**2))
    assert lon[:4].tolist() == [45, 135, 225, 315]
    # Every pixel has the same area, so means of low spherical harmonics over pixels nearly vanish.
    z = np.sin(np.radians(lat))
    assert z.mean() == pytest.approx(0, abs=1e-12)
    assert (3 * z**2 - 1).mean() == pytest.approx(0, abs=0.2 / nside**2)


@pytest.mark.parametrize("count", [0, 5400, 13 * 12, 12 * 9, 12 * 25])
def test_other_numbers_of_cells_are_no_healpix_map(count):
    assert healpix_nside(count) == 0
