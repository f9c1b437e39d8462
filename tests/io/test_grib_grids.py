"""Every type of grid that GRIB names, placed by formulas of its projection that are written here again."""

import eccodes
import numpy as np
import pytest
from geoembed.errors import UnreadableFileError
from geoembed.graphs.geodesy import lat_lon, unit_vectors
from geoembed.io.grib import Grib
from geoembed.io.reader import stream
from geoembed.io.record import BadRecord
from geoembed.schema import Graph
from scipy.special import roots_legendre

EARTH = {1: 6_367_470.0, 2: 6_371_229.0}
"""Radius [m] of the sphere of each edition (edition 2: shape of the Earth 6)."""

DEGREE = "InDegrees"
WIDE, HIGH = 24, 18


def message(sample, edition, keys):
    """One message of temperatures, 280 K and the number of the point / 100, on a grid of these keys."""
    handle = eccodes.codes_grib_new_from_samples(f"{sample}_grib{edition}")
    for key, value in keys.items():
        if key != "numberOfDataPoints" or edition == 2:  # edition 1 counts them itself
            eccodes.codes_set(handle, key, value)
    size = eccodes.codes_get(handle, "numberOfDataPoints")
    for key, value in {"shortName": "t", "bitsPerValue": 24}.items():
        eccodes.codes_set(handle, key, value)
    eccodes.codes_set_values(handle, 280.0 + np.arange(size) % 10_000 / 100.0)
    content = eccodes.codes_get_message(handle)
    eccodes.codes_release(handle)
    return content


def lambert(edition):
    keys = {"gridType": "lambert", "numberOfDataPoints": WIDE * HIGH, "Nx": WIDE, "Ny": HIGH, f"latitudeOfFirstGridPoint{DEGREE}": 30.0,
            f"longitudeOfFirstGridPoint{DEGREE}": 350.0, f"LoV{DEGREE}": 10.0, f"Latin1{DEGREE}": 40.0, f"Latin2{DEGREE}": 50.0,
            "DxInMetres": 80_000, "DyInMetres": 80_000, "jScansPositively": 1}
    if edition == 2:
        keys |= {f"LaD{DEGREE}": 45.0, "shapeOfTheEarth": 6}
    return message("regular_ll_pl", edition, keys)


def polar(edition):
    keys = {"Nx": WIDE, "Ny": HIGH, "numberOfDataPoints": WIDE * HIGH, f"latitudeOfFirstGridPoint{DEGREE}": 70.0,
            f"longitudeOfFirstGridPoint{DEGREE}": 310.0, "orientationOfTheGridInDegrees": 0.0, "DxInMetres": 190_000,
            "DyInMetres": 190_000, "jScansPositively": 1}
    if edition == 2:
        keys |= {f"LaD{DEGREE}": 60.0, "shapeOfTheEarth": 6}
    return message("polar_stereographic_pl", edition, keys)


def rotated(edition):
    return message("rotated_ll_pl", edition, {
        "Ni": WIDE, "Nj": HIGH, "numberOfDataPoints": WIDE * HIGH, f"latitudeOfFirstGridPoint{DEGREE}": 8.5,
        f"latitudeOfLastGridPoint{DEGREE}": -8.5, f"longitudeOfFirstGridPoint{DEGREE}": 348.0, f"longitudeOfLastGridPoint{DEGREE}": 11.0,
        f"iDirectionIncrement{DEGREE}": 1.0, f"jDirectionIncrement{DEGREE}": 1.0, f"latitudeOfSouthernPole{DEGREE}": -39.25,
        f"longitudeOfSouthernPole{DEGREE}": 18.0,
    })


def record_of(tmp_path, content):
    (tmp_path / "one.grib").write_bytes(content)
    (record,) = Grib().records(tmp_path / "one.grib")
    assert not isinstance(record, BadRecord), record.error
    return record


def plane(x0, y0, step):
    """Coordinates [H, W] of the points, the first at (x0, y0)."""
    return x0 + step * np.arange(WIDE)[None], y0 + step * np.arange(HIGH)[:, None]


def lambert_places(radius):
    """(lat, lon, scale) [H, W] by Snyder (1987), equations 15-1 to 15-5, sphere."""
    first, one, two = np.radians([30.0, 40.0, 50.0])
    tangent = [np.tan(np.pi / 4 + angle / 2) for angle in (first, one, two)]
    n = np.log(np.cos(one) / np.cos(two)) / np.log(tangent[2] / tangent[1])
    f = np.cos(one) * tangent[1] ** n / n
    start, theta = radius * f / tangent[0] ** n, n * np.radians(-20.0)  # 350° is 20° west of 10°
    x, y = plane(start * np.sin(theta), -start * np.cos(theta), 80_000.0)
    rho = np.hypot(x, y)
    phi = 2 * np.arctan((radius * f / rho) ** (1 / n)) - np.pi / 2
    return np.degrees(phi), 10.0 + np.degrees(np.arctan2(x, -y) / n), n * rho / (radius * np.cos(phi))


def polar_places(radius):
    """(lat, lon, scale) [H, W] by Snyder (1987), equations 21-33, 21-34, north, true at 60°."""
    k = (1 + np.sin(np.radians(60.0))) * radius
    start = k * np.tan(np.radians(10.0))  # half of the way from 70° to the pole
    x, y = plane(start * np.sin(np.radians(-50.0)), -start * np.cos(np.radians(-50.0)), 190_000.0)
    phi = np.pi / 2 - 2 * np.arctan(np.hypot(x, y) / k)
    return np.degrees(phi), np.degrees(np.arctan2(x, -y)), k / radius / (1 + np.sin(phi))


@pytest.mark.parametrize("edition", [1, 2])
@pytest.mark.parametrize(("write", "places", "step"), [(lambert, lambert_places, 80_000.0), (polar, polar_places, 190_000.0)])
def test_points_and_cells_of_a_projected_grid_are_those_of_its_formula(tmp_path, write, places, step, edition):
    record = record_of(tmp_path, write(edition))
    lat, lon, scale = places(EARTH[edition])
    found = unit_vectors(record.payload.lat, record.payload.lon)
    assert record.payload.lat.shape == (HIGH, WIDE)
    assert np.degrees(np.linalg.norm(found - unit_vectors(lat, lon), axis=-1)).max() < 1e-3
    graph = Grib().to_graph(record)
    assert graph.provenance.settings["layout"] == "curvilinear"
    size = lat.size
    order = np.round((graph.x[:size, 0].double().numpy() - 280.0) * 100.0).astype(int)  # the number of each point is its value
    np.testing.assert_allclose(graph.pos[:size].numpy(), unit_vectors(lat, lon).reshape(-1, 3)[order], atol=2e-5)
    area = np.empty(size)
    area[order] = graph.weight[:size].numpy()
    exact = (step / (EARTH[edition] * scale)) ** 2
    np.testing.assert_allclose(area.reshape(HIGH, WIDE)[1:-1, 1:-1], exact[1:-1, 1:-1], rtol=2e-3)


@pytest.mark.parametrize("edition", [1, 2])
def test_rotated_grid_is_the_grid_of_its_own_poles_turned_to_where_they_are(tmp_path, edition):
    record = record_of(tmp_path, rotated(edition))
    lat, lon = np.meshgrid(np.linspace(8.5, -8.5, HIGH), np.linspace(-12.0, 11.0, WIDE), indexing="ij")
    tilt, turn = np.radians(90.0 - 39.25), np.radians(18.0)
    about_y = np.array([[np.cos(tilt), 0, -np.sin(tilt)], [0, 1, 0], [np.sin(tilt), 0, np.cos(tilt)]])
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    expected = unit_vectors(lat, lon) @ (about_z @ about_y).T
    np.testing.assert_allclose(unit_vectors(record.payload.lat, record.payload.lon), expected, atol=1e-6)
    # Turning changes no area: the sum is that of the box, 18° by 24°, half a cell beyond the points.
    graph = Grib().to_graph(record)
    box = np.radians(WIDE) * 2 * np.sin(np.radians(9.0))
    assert graph.weight[: WIDE * HIGH].double().sum().item() == pytest.approx(box, rel=1e-3)


@pytest.mark.parametrize(("sample", "rows"), [("regular_gg_pl", 64), ("reduced_gg_pl_32", 64), ("reduced_gg_pl_80", 160)])
@pytest.mark.parametrize("edition", [1, 2])
def test_rows_of_gaussian_grids_lie_at_the_roots_and_weigh_the_weights(tmp_path, sample, rows, edition):
    record = record_of(tmp_path, message(sample, edition, {}))
    roots, weights = roots_legendre(rows)
    lat, row = np.unique(np.round(record.payload.lat, 3), return_inverse=True)
    np.testing.assert_allclose(lat, np.degrees(np.arcsin(roots)), atol=1e-3)
    graph = Grib().to_graph(record)
    assert graph.provenance.settings["layout"] == "gaussian"
    size = record.payload.lat.size
    shares = np.bincount(np.sort(row), weights=graph.weight[:size].double().numpy()) / (4 * np.pi)  # nodes are in order of latitude
    np.testing.assert_allclose(shares, weights / 2, rtol=1e-6)
    assert (np.ptp(np.bincount(row)) > 0) == sample.startswith("reduced")


@pytest.mark.parametrize("edition", [1, 2])
def test_spectral_field_among_others_is_named_with_what_to_do_and_costs_itself_alone(tmp_path, edition):
    spectral = eccodes.codes_grib_new_from_samples(f"sh_pl_grib{edition}")
    content = eccodes.codes_get_message(spectral)
    eccodes.codes_release(spectral)
    (tmp_path / "mixed.grib").write_bytes(message("regular_gg_pl", edition, {}) + content + rotated(edition))
    items = list(Grib().records(tmp_path / "mixed.grib"))
    (bad,) = [item for item in items if isinstance(item, BadRecord)]
    assert len(items) == 3
    with pytest.raises(UnreadableFileError, match=r"spectral coefficients.*Transform them to a grid first, for example with cdo sp2gpl"):
        raise bad.error


def test_six_types_of_grid_in_one_shuffled_file_are_six_records_whatever_their_order(tmp_path):
    contents = [message("regular_gg_pl", 2, {}), message("reduced_gg_pl_32", 2, {}), message("regular_ll_pl", 2, {}), lambert(2),
                polar(2), rotated(2), lambert(1), rotated(1)]
    expected = None
    for seed in (1, 2):
        order = np.random.default_rng(seed).permutation(len(contents))
        (tmp_path / "all.grib").write_bytes(b"".join(contents[i] for i in order))
        graphs = list(stream(tmp_path / "all.grib"))
        assert all(isinstance(graph, Graph) for graph in graphs)
        assert sum(graph.notes["messages"] for graph in graphs) == len(contents)
        found = {graph.provenance.topology: sorted(graph.provenance.settings["variables"]) for graph in graphs}
        expected = expected or found
        assert found == expected
    # Lambert of edition 1 lies on another sphere (6,367 km) and in millidegrees: another grid. The rotated one is the same.
    assert len(expected) == 7


def test_places_are_those_of_the_decoder_on_each_grid(tmp_path):
    record = record_of(tmp_path, polar(2))
    lat, lon = lat_lon(unit_vectors(record.payload.lat, record.payload.lon))
    assert lat.max() > 88.0  # the pole is inside
    assert np.ptp(lon) > 300.0
    graph = Grib().to_graph(record)
    assert set(np.unique(graph.edge_index.numpy())) == set(range(graph.num_nodes))  # no node is isolated


def test_steps_in_minutes_are_states_of_their_own(tmp_path):
    contents = [message("regular_ll_pl", 2, {"stepUnits": "m", "step": step, "date": 20010101, "time": 0}) for step in (90, 0, 30, 60)]
    (tmp_path / "steps.grib").write_bytes(b"".join(contents))
    keys = [record.key for record in Grib().records(tmp_path / "steps.grib")]
    assert keys == ["2001-01-01T00:00:00", "2001-01-01T00:30:00 +30m", "2001-01-01T01:00:00 +1h", "2001-01-01T01:30:00 +90m"]
