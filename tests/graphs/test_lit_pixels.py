"""Lit-pixel graphs: what is dark is not there, where the frame ends does not matter, and grid encoders take them."""

from __future__ import annotations

import geoembed as ge
import numpy as np
import pytest
import torch
from geoembed.errors import EmptyGraphError, ValueRangeError
from geoembed.graphs.grid import grid_graph, image_of, turn
from geoembed.graphs.lit_pixels import lit_pixel_graph
from torch import Tensor


def sparse(seed: int, height: int = 40, width: int = 30, channels: int = 1, share: float = 0.06) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(channels, height, width, generator=generator) + 0.1
    lit = torch.rand(height, width, generator=generator) < share
    return torch.where(lit, image, 0.0)


@pytest.mark.parametrize("radius", [1.0, 1.5, 2.0, 2.9, 4.3])
def test_edges_are_all_pairs_of_lit_pixels_within_the_radius(radius: float) -> None:
    image = sparse(1)
    graph = lit_pixel_graph(image, radius=radius)
    place = (image[0] > 0).nonzero().double()
    distance = torch.cdist(place, place)
    near = (distance <= radius + 1e-9) & (distance > 0)
    target, source = near.nonzero(as_tuple=True)  # brute force, by target, then source
    assert torch.equal(graph.edge_index, torch.stack([source, target]))
    assert torch.allclose(graph.edge_attr[:, 0].double(), distance[target, source])
    assert torch.equal(graph.edge_attr[:, 1:], (place[source] - place[target]).float())


def test_radius_one_and_a_half_is_the_dense_grid_without_its_dark_pixels() -> None:
    image = sparse(2)
    dense = grid_graph(image, patch=1, mask=image[0] > 0, drop_empty=True)
    graph = lit_pixel_graph(image)
    for name in ("x", "measured", "pos", "edge_index", "edge_attr"):
        assert torch.equal(graph[name], dense[name]), name


@pytest.mark.parametrize("frame", [(40, 30), (64, 64), (41, 97)])
def test_the_place_in_the_frame_and_its_size_change_nothing_but_the_positions(frame: tuple[int, int]) -> None:
    image = sparse(3, 20, 20)
    first = lit_pixel_graph(image)
    canvas = torch.zeros(1, *frame)
    canvas[:, 7:27, 5:25] = image
    moved = lit_pixel_graph(canvas)
    assert torch.equal(moved.pos, first.pos + torch.tensor([7.0, 5.0]))
    for name in ("x", "edge_index", "edge_attr"):
        assert torch.equal(moved[name], first[name]), name
    encoder = ge.BioacousticEncoder(ge.BioacousticEncoder.config_for(first)).eval()
    vectors = [encoder(ge.GraphBatch.from_data_list([graph])) for graph in (first, moved)]
    assert torch.equal(*vectors)


def test_what_is_dark_masked_or_not_a_number_is_not_there() -> None:
    image = sparse(4)
    dark = image.clone()
    dark[0, 0, 0] = -1e30  # below the threshold, whatever it is
    dark[0, 1, 1] = torch.nan
    dark[0, 2, 2] = 7.0
    mask = torch.ones(40, 30, dtype=torch.bool)
    image[0, :3, :3] = 0.0
    dark[0, :3, :3] = torch.where(torch.eye(3, dtype=torch.bool), dark[0, :3, :3], 0.0)
    mask[2, 2] = False
    assert torch.equal(lit_pixel_graph(dark, mask=mask).x, lit_pixel_graph(image).x)
    assert torch.equal(lit_pixel_graph(dark, mask=mask).edge_index, lit_pixel_graph(image).edge_index)


def test_a_channel_that_was_not_measured_is_so_marked_where_another_is_lit() -> None:
    image = np.zeros((2, 4, 4))
    image[0, 1, 2], image[1, 1, 2] = 5.0, np.nan
    graph = lit_pixel_graph(image, bands=["g", "r"])
    assert (graph.x.tolist(), graph.measured.tolist(), graph.pos.tolist()) == ([[5.0, 0.0]], [[True, False]], [[1.0, 2.0]])


@pytest.mark.parametrize("radius", [1.5, 2.9])
@pytest.mark.parametrize(("k", "flip"), [(1, False), (2, True), (3, True)])
def test_a_turned_graph_is_the_graph_of_the_turned_image(radius: float, k: int, flip: bool) -> None:
    image = sparse(5, channels=2)
    turned = torch.rot90(image, k, (-2, -1))
    expected = lit_pixel_graph(torch.flip(turned, (-1,)) if flip else turned, radius=radius)
    graph = turn(lit_pixel_graph(image, radius=radius), k, flip)
    for name in ("x", "pos", "edge_index", "edge_attr"):
        assert torch.equal(graph[name], expected[name]), name


def test_the_lit_pixels_of_a_graph_are_those_of_its_image() -> None:
    image = sparse(6)
    back, measured = image_of(lit_pixel_graph(image))
    assert torch.equal(back, image)
    assert torch.equal(measured, image > 0)


def test_galaxies_may_be_turned_as_lit_pixels_too() -> None:
    graph = lit_pixel_graph(sparse(7), modality="galaxy")
    encoder = ge.GalaxyMorphologyEncoder(ge.GalaxyMorphologyEncoder.config_for(graph))
    assert ge.trust.check(encoder, [graph]).worst < 1e-5


def test_memory_is_that_of_the_lit_pixels_and_not_of_the_frame() -> None:
    image = torch.zeros(3000, 3000)
    image[[5, 6, 2999], [7, 8, 2999]] = 1.0
    graph = lit_pixel_graph(image)
    assert (graph.num_nodes, graph.num_edges, graph.notes["pixels_not_lit"]) == (3, 2, 8_999_997)


@pytest.mark.parametrize(("image", "settings", "error", "match"), [
    (torch.zeros(4, 4), {}, EmptyGraphError, r"no pixel above 0 in \[1, 4, 4\].*Lower the threshold"),
    (torch.ones(4), {}, ValueRangeError, r"shape \[4\]; expected \[C, H, W\] or \[H, W\]"),
    (torch.ones(4, 4), {"radius": 0.5}, ValueRangeError, "radius: found 0.5 pixels; expected 1…32"),
    (torch.ones(4, 4), {"threshold": float("nan")}, ValueRangeError, "threshold: found NaN"),
    (torch.ones(4, 4), {"bands": ["g", "r"]}, ValueRangeError, "2 names; expected 1, one a channel"),
    (torch.ones(4, 4), {"mask": torch.ones(2, 2)}, ValueRangeError, r"mask: found shape \[2, 2\]"),
])
def test_impossible_arguments_say_so(image: Tensor, settings: dict[str, object], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        lit_pixel_graph(image, **settings)  # type: ignore[arg-type]
