"""What is drawn of clouds, spheres, grids and chains."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from geoembed.graphs.bands import SDSS, SENTINEL2
from geoembed.graphs.chain import chain_graph, light_curve_graph
from geoembed.graphs.cloud import cloud_graph
from geoembed.graphs.grid import grid_graph
from geoembed.graphs.sphere import sphere_graph
from geoembed.viz.chains import LETTERS_DRAWN, arcs, band_color, draw_chain, strongest_line
from geoembed.viz.clouds import around_axis, draw_cloud
from geoembed.viz.grids import draw_grid, shown_image
from geoembed.viz.palette import VOID, new_figure
from geoembed.viz.spheres import draw_sphere, orthographic
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from viz_graphs import curve, globe, letters, photo, sound, spectrum


@pytest.fixture
def ax() -> Axes:
    return new_figure(4, 3).add_subplot()


def _lines(ax: Axes) -> list[np.ndarray]:
    return [line for collection in ax.collections if isinstance(collection, LineCollection) for line in collection.get_segments()]


# — clouds —


def test_a_link_across_the_seam_goes_the_short_way_on_both_sides(ax: Axes) -> None:
    draw_cloud(cloud_graph(pt=[2.0, 1.0], eta=[0.0, 0.0], phi=[3.1, -3.1]), ax)
    lines = _lines(ax)
    assert len(lines) == 2
    for line in lines:
        assert np.linalg.norm(line[1] - line[0]) == pytest.approx(2 * np.pi - 6.2, abs=1e-5)


def test_a_jet_at_the_seam_is_drawn_in_one_piece(ax: Axes) -> None:
    rng = np.random.default_rng(0)
    phi = np.pi + rng.normal(0, 0.1, 30)
    draw_cloud(cloud_graph(pt=rng.exponential(10, 30), eta=rng.normal(1, 0.1, 30), phi=phi, modality="jet"), ax)
    assert max(np.linalg.norm(line[1] - line[0]) for line in _lines(ax)) < 1


def test_the_axis_of_a_jet_does_not_feel_a_turn_round_the_beam() -> None:
    rng = np.random.default_rng(3)
    pt, eta, phi = rng.exponential(10, 20), rng.normal(0, 0.2, 20), rng.normal(0, 0.2, 20)
    one = around_axis(pt, eta, phi)
    other = around_axis(pt, eta, (phi + 3.0 + np.pi) % (2 * np.pi) - np.pi)
    np.testing.assert_allclose(one, other, atol=1e-12)


def test_the_area_of_a_mark_grows_with_pt(ax: Axes) -> None:
    draw_cloud(cloud_graph(pt=[1.0, 16.0, 81.0], eta=[0, 1, 2], phi=[0, 1, 2], particle_id=[5, 5, 5]), ax)
    sizes = np.concatenate([collection.get_sizes() for collection in ax.collections if hasattr(collection, "get_sizes")])
    assert sizes.tolist() == pytest.approx([360.0, 360 * (16 / 81) ** 0.75, 360 / 27])  # hardest first


def test_an_empty_cloud_says_so(ax: Axes) -> None:
    draw_cloud(cloud_graph(pt=[], eta=[], phi=[]), ax)
    assert any(text.get_text() == "no particles" for text in ax.texts)


# — spheres —


def test_the_globe_keeps_lengths_and_has_the_eye_in_front() -> None:
    rng = np.random.default_rng(5)
    points = rng.normal(size=(50, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    seen = orthographic(points, 33.0, -71.0)
    np.testing.assert_allclose(seen @ seen.T, points @ points.T, atol=1e-12)
    lat, lon = np.radians([33.0, -71.0])
    below = np.array([[np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]])
    np.testing.assert_allclose(orthographic(below, 33.0, -71.0), [[0, 0, 1]], atol=1e-12)


def test_north_is_up_and_east_is_right() -> None:
    east_and_north = np.array([[np.cos(0.1), np.sin(0.1), 0], [np.cos(0.1), 0, np.sin(0.1)]])
    seen = orthographic(east_and_north, 0.0, 0.0)
    np.testing.assert_allclose(seen[:, :2], [[np.sin(0.1), 0], [0, np.sin(0.1)]], atol=1e-12)


def test_missing_points_leave_a_hole_in_the_globe(ax: Axes) -> None:
    lat, lon = np.arange(90.0, -91, -10), np.arange(0.0, 360, 10)
    field = np.ones((19, 36))
    hole = (np.abs(lat[:, None] - 30) < 15) & (np.abs(lon - 60) < 15)
    draw_sphere(globe(np.where(hole, np.nan, field + lat[:, None])), ax)
    mesh = next(collection for collection in ax.collections if type(collection).__name__ == "TriMesh")
    triangles = mesh._triangulation.get_masked_triangles()
    middle = np.stack([mesh._triangulation.x, mesh._triangulation.y], 1)[triangles].mean(1)
    place = orthographic(np.array([[np.cos(np.pi / 6) * np.cos(np.pi / 3), np.cos(np.pi / 6) * np.sin(np.pi / 3), 0.5]]), 25.0, 60.0)[0, :2]
    assert np.linalg.norm(middle - place, axis=1).min() > 0.15


def test_only_mesh_links_on_the_near_side_are_drawn(ax: Axes) -> None:
    graph = globe()
    draw_sphere(graph, ax)
    front = orthographic(graph.pos.numpy().astype(float), 25.0, 60.0)[:, 2] > 0.02
    source, target = graph.edge_index[:, graph.edge_kind == 1].numpy()
    assert len(_lines(ax)) == int((front[source] & front[target] & (source < target)).sum())


def test_a_regional_field_is_seen_from_above_its_middle(ax: Axes) -> None:
    draw_sphere(sphere_graph(np.ones((1, 3, 4)), lat=[-40, -35, -30], lon=[140, 145, 150, 155], level=3, variables=["t"]), ax)
    dots = next(collection for collection in ax.collections if type(collection).__name__ == "PathCollection")
    assert np.linalg.norm(np.asarray(dots.get_offsets()).mean(0)) < 0.02


def test_a_globe_without_values_in_view_has_no_color_bar() -> None:
    figure = new_figure(4, 3)
    field = np.full((19, 36), np.nan)
    field[9, 24] = 1.0  # on the far side
    draw_sphere(globe(field), figure.add_subplot())
    assert len(figure.axes) == 1


# — grids —


def test_a_photograph_is_drawn_as_it_is() -> None:
    ramp = np.linspace(0, 1, 32)
    picture = shown_image(photo())
    np.testing.assert_allclose(picture[..., 0], np.tile(ramp, (32, 1)), atol=1e-6)
    np.testing.assert_allclose(picture[..., 1], np.tile(ramp[:, None], (1, 32)), atol=1e-6)


def test_what_was_not_measured_is_gray() -> None:
    mask = np.ones((16, 16), dtype=bool)
    mask[3, 5] = False
    graph = grid_graph(np.full((3, 16, 16), 0.5), patch=8, mask=mask, bands=("red", "green", "blue"), modality="photo")
    gray = [int(VOID[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    assert shown_image(graph)[3, 5].tolist() == pytest.approx(gray)
    assert shown_image(graph)[3, 6].tolist() == pytest.approx([0.5] * 3)


def test_sentinel_scenes_show_their_red_green_and_blue_bands() -> None:
    image = np.zeros((13, 16, 16)) + 0.1
    image[SENTINEL2.index("B04"), :, 8:] = 0.9  # red on the right
    picture = shown_image(grid_graph(image, patch=8, bands=SENTINEL2, modality="scene"))
    assert (picture[:, 8:, 0] > picture[:, 8:, 1] + 0.2).all()
    assert np.ptp(picture[:, :8], axis=2).max() < 1e-6


def test_stretching_a_galaxy_keeps_its_colors() -> None:
    y, x = np.mgrid[-16:16, -16:16]
    profile = np.exp(-(x**2 + y**2) / 60)
    flux = {"u": 0.2, "g": 0.5, "r": 1.0, "i": 1.5, "z": 1.7}
    picture = shown_image(grid_graph(np.stack([flux[band] * profile for band in SDSS]), patch=4, bands=SDSS, modality="galaxy"))
    faint = (profile > 0.05) & (picture.max(-1) < 0.99)
    np.testing.assert_allclose(picture[faint][:, 1] / picture[faint][:, 0], 1.0 / 1.5, rtol=1e-2)
    np.testing.assert_allclose(picture[faint][:, 2] / picture[faint][:, 1], 0.5, rtol=1e-2)


def test_a_photograph_is_cut_to_what_was_measured(ax: Axes) -> None:
    mask = np.zeros((64, 64), dtype=bool)
    mask[:24, :40] = True
    draw_grid(grid_graph(np.ones((3, 64, 64)), patch=8, mask=mask, bands=("red", "green", "blue"), modality="photo"), ax)
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 40), (24, 0))


def test_a_spectrogram_has_low_sounds_below(ax: Axes) -> None:
    draw_grid(sound(), ax)
    assert ax.get_ylim() == (0, 16)


# — chains —


def test_an_arc_rises_to_its_height_in_the_middle_of_its_ends() -> None:
    line = arcs(np.array([2.0]), np.array([6.0]), np.array([3.0]), points=41)[0]
    assert line[[0, -1]].round(9).tolist() == [[2, 0], [6, 0]]
    assert line[20].tolist() == pytest.approx([4, 3])
    np.testing.assert_allclose(((line[:, 0] - 4) / 2) ** 2 + (line[:, 1] / 3) ** 2, 1)  # a half ellipse


def test_a_sequence_shows_its_first_letters_and_their_links(ax: Axes) -> None:
    graph = letters()
    draw_chain(graph, ax)
    assert "".join(text.get_text() for text in ax.texts[:LETTERS_DRAWN]) == ("ACGTN" * 7)[:LETTERS_DRAWN]
    source, target = graph.edge_index
    assert len(_lines(ax)) == int(((source < target) & (target < LETTERS_DRAWN)).sum())


def test_bright_stars_are_above_faint_ones(ax: Axes) -> None:
    draw_chain(curve(), ax)
    bottom, top = ax.get_ylim()
    assert bottom > top


def test_passbands_are_named_in_order_of_wavelength(ax: Axes) -> None:
    draw_chain(curve(), ax)
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["g", "r", "i"]


def test_colors_of_passbands_are_far_apart() -> None:
    colors = np.array([band_color(i, 6) for i in range(6)])
    away = np.linalg.norm(colors[:, None] - colors[None], axis=-1)
    assert away[~np.eye(6, dtype=bool)].min() > 0.2


def test_a_light_curve_with_one_sample_is_drawn(ax: Axes) -> None:
    draw_chain(light_curve_graph([59000.5], [18.0], [0.1]), ax)
    assert "1 measurements, 0 links" in ax.texts[-1].get_text()


def test_the_enlarged_part_is_at_the_strongest_line_up_or_down() -> None:
    rng = np.random.default_rng(4)
    for sign in (1, -1):
        flux = np.linspace(3, 1, 400) + rng.normal(0, 0.02, 400)
        flux[137] += sign * 1.5
        assert strongest_line(flux) == 137


def test_bad_pixels_are_gaps_in_the_line_of_a_spectrum(ax: Axes) -> None:
    draw_chain(spectrum(), ax)
    flux = ax.lines[0].get_ydata()
    assert np.flatnonzero(np.isnan(np.asarray(flux))).tolist() == list(range(20, 30))


def test_other_chains_show_every_column(ax: Axes) -> None:
    place = torch.arange(50.0)
    draw_chain(chain_graph(place, torch.stack([place, -place], 1)), ax)
    np.testing.assert_allclose(np.asarray(ax.lines[1].get_ydata()), -place.numpy())
