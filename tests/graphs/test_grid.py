"""Patch grids: what is in a patch, who neighbors whom, and that neither border, mask nor turn changes a measured number."""

import numpy as np
import pytest
import torch
from geoembed.errors import EmptyGraphError, SchemaError, UnknownNameError, ValueRangeError
from geoembed.graphs.bands import sentinel2_slots
from geoembed.graphs.grid import SDSS, SENTINEL2, grid_batch, grid_graph, image_of, place_bands, turn
from geoembed.graphs.patches import from_patches, grid_topology, to_patches
from geoembed.schema import GraphBatch, validate
from hypothesis import given, settings
from hypothesis import strategies as st


def same(a, b):
    """Two graphs hold the same tensors, bit by bit."""
    assert set(a.keys()) == set(b.keys())
    for name, value in a.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, b[name]), name
    return True


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_patch_holds_its_pixels_channel_by_channel_and_row_by_row():
    image = torch.arange(2 * 4 * 6).reshape(2, 4, 6)
    graph = grid_graph(image, patch=2)
    # patch (1, 2) starts at pixel (2, 4): 2·6 + 4 = 16 in channel 0, 24 more in channel 1
    assert graph.x[5].tolist() == [16, 17, 22, 23, 40, 41, 46, 47]
    assert graph.pos[5].tolist() == [1, 2]
    assert graph.x.dtype == torch.float32
    assert validate(graph) is graph


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 4), (3, 1), (2, 2), (3, 5)])
def test_edges_are_the_pairs_of_patches_that_touch(rows, cols):
    places = [(r, c) for r in range(rows) for c in range(cols)]
    brute = [
        (places.index(s), places.index(t), (s[0] - t[0], s[1] - t[1]))
        for t in places for s in places if s != t and max(abs(s[0] - t[0]), abs(s[1] - t[1])) == 1
    ]
    graph = grid_graph(torch.ones(rows * 3, cols * 3), patch=3)
    assert list(zip(*graph.edge_index.tolist(), strict=True)) == [(s, t) for s, t, _ in brute]
    expected = torch.tensor([[float(np.hypot(*d)), *d] for *_, d in brute]).reshape(-1, 3)
    torch.testing.assert_close(graph.edge_attr, expected)
    validate(graph)


def test_images_of_one_size_hold_one_topology():
    first, second = grid_graph(noise(3, 8, 8)), grid_graph(noise(1, 8, 8))
    assert first.provenance.topology == "grid:2x2"
    for name in ("pos", "edge_index", "edge_attr"):
        assert first[name].data_ptr() == second[name].data_ptr()
    assert grid_topology(2, 2) is grid_topology(2, 2)


def test_a_181_by_360_field_keeps_all_its_rows():
    field = noise(1, 181, 360)
    graph = grid_graph(field, patch=8)
    assert graph.num_nodes == 23 * 45
    assert graph.provenance.settings["padded_rows"] == 3
    assert graph.provenance.settings["padded_cols"] == 0
    assert int(graph.measured.sum()) == 181 * 360
    assert torch.equal(image_of(graph)[0], field)


@settings(max_examples=60, deadline=None)
@given(c=st.integers(1, 3), h=st.integers(1, 13), w=st.integers(1, 13), p=st.integers(1, 6), seed=st.integers(0, 99))
def test_nothing_is_cut_at_the_border_and_nothing_is_invented(c, h, w, p, seed):
    image = noise(c, h, w, seed=seed)
    mask = torch.rand(c, h, w, generator=torch.Generator().manual_seed(seed)) < 0.7
    mask[0, 0, 0] = True
    graph = grid_graph(image, patch=p, mask=mask)
    back, measured = image_of(graph)
    assert torch.equal(measured, mask)
    assert torch.equal(back, torch.where(mask, image, 0.0))
    assert graph.num_nodes == -(-h // p) * -(-w // p)
    assert int(graph.measured.sum()) == int(mask.sum())
    assert torch.equal(graph.mask, graph.measured.any(1))
    validate(graph)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 4), cols=st.integers(1, 4), p=st.integers(1, 4), k=st.integers(-3, 5), flip=st.booleans(),
       holes=st.booleans())
def test_turning_the_graph_is_building_the_graph_of_the_turned_image(rows, cols, p, k, flip, holes):
    image, mask = noise(2, rows * p, cols * p), torch.ones(2, rows * p, cols * p, dtype=torch.bool)
    if holes:
        mask = noise(2, rows * p, cols * p, seed=1) > 0
        mask[0, 0, 0] = True

    def moved(values):
        turned = torch.rot90(values, k, (-2, -1))
        return turned.flip(-1) if flip else turned

    for drop in (False, True):
        graph = turn(grid_graph(image, patch=p, mask=mask, drop_empty=drop), k, flip)
        expected = grid_graph(moved(image), patch=p, mask=moved(mask), drop_empty=drop)
        assert same(graph, expected)
        assert graph.provenance.topology == expected.provenance.topology
        assert graph.provenance.settings == expected.provenance.settings
        validate(graph)


@settings(max_examples=20, deadline=None)
@given(h=st.integers(1, 9), w=st.integers(1, 9), p=st.integers(2, 4))
def test_four_quarter_turns_bring_a_padded_grid_back(h, w, p):
    graph = grid_graph(noise(1, h, w), patch=p)
    assert same(turn(turn(turn(turn(graph)))), graph)
    assert same(turn(turn(graph, 0, flip=True), 0, flip=True), graph)


def test_a_users_fields_turn_with_their_nodes_and_edges():
    graph = grid_graph(noise(1, 4, 6), patch=2)
    graph.node_id = torch.arange(6)
    graph.edge_pair = torch.stack([graph.node_id[graph.edge_index[0]], graph.node_id[graph.edge_index[1]]], 1)
    graph.y = torch.tensor([[1.0]])
    turned = turn(graph, 1)
    assert turned.node_id.tolist() == [2, 5, 1, 4, 0, 3]
    assert torch.equal(turned.edge_pair, turned.node_id[turned.edge_index].T)
    assert turned.y.tolist() == [[1.0]]


def test_a_batch_is_its_graphs_one_by_one():
    images = noise(3, 2, 7, 5)
    mask = noise(3, 7, 5, seed=2) > 0
    batch = grid_batch(images, patch=3, mask=mask, modality="galaxy")
    assert batch.stacked
    assert batch.x.shape == (3, 6, 18)
    singles = [grid_graph(image, patch=3, mask=m, modality="galaxy") for image, m in zip(images, mask, strict=True)]
    for one, single in zip(batch.to_data_list(), singles, strict=True):
        assert same(one, single)
        assert one.provenance == single.provenance
    again = GraphBatch.from_data_list(singles)
    assert torch.equal(again.x, batch.x)
    assert torch.equal(again.ptr, batch.ptr)


def test_a_mask_by_channel_and_a_mask_for_all_channels_mean_what_they_say():
    images, mask = noise(2, 3, 4, 4), noise(2, 4, 4, seed=3) > 0
    assert torch.equal(
        grid_batch(images, mask=mask).measured, grid_batch(images, mask=mask.unsqueeze(1).expand(2, 3, 4, 4)).measured
    )


@pytest.mark.parametrize("under", [float("nan"), float("inf"), -9999.0, -3.4e38, 9.97e36, 0.0])
def test_the_value_under_a_mask_changes_nothing(under):
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[1, 2] = False
    image = noise(2, 4, 4)
    hidden = torch.where(mask, image, under)
    assert same(grid_graph(hidden, patch=2, mask=mask), grid_graph(image, patch=2, mask=mask))
    assert grid_graph(hidden, patch=2, mask=mask).notes == {}


def test_nan_and_infinity_are_not_measured_and_are_counted():
    image = torch.ones(1, 4, 4)
    image[0, 0, 0], image[0, 3, 3] = float("nan"), float("-inf")
    graph = grid_graph(image, patch=2)
    assert graph.notes["not_finite"] == 2
    assert graph.measured.sum() == 14
    assert graph.x.sum() == 14


def test_a_number_beyond_float32_is_not_measured():
    graph = grid_graph(np.array([[1e300, 2.0]]), patch=1)
    assert graph.mask.tolist() == [False, True]


def test_a_masked_array_brings_its_mask():
    image = np.ma.masked_greater(np.arange(16.0).reshape(4, 4), 11)
    assert grid_graph(image, patch=2).mask.tolist() == [True] * 4
    assert grid_graph(image, patch=2).measured.sum() == 12


@pytest.mark.parametrize("dtype", [">f4", "<f8", ">u2", "u1", "i8", "f2", "?", "longdouble"])
def test_every_real_dtype_and_byte_order_gives_the_same_numbers(dtype):
    values = np.array([[0, 1], [1, 0]])
    array = values.astype(dtype)
    array.flags.writeable = False
    assert grid_graph(array, patch=2).x.tolist() == [[0, 1, 1, 0]]


def test_the_image_of_the_caller_is_neither_changed_nor_shared():
    image = noise(1, 4, 4)
    before = image.clone()
    graph = grid_graph(image, patch=4)
    graph.x.zero_()
    assert torch.equal(image, before)


def test_empty_patches_can_be_left_out_and_their_neighbors_stay_linked():
    mask = torch.zeros(6, 6, dtype=torch.bool)
    mask[:2], mask[5, 5] = True, True  # the first row of patches, and the last patch alone
    graph = grid_graph(torch.ones(6, 6), patch=2, mask=mask, drop_empty=True)
    assert graph.pos.tolist() == [[0, 0], [0, 1], [0, 2], [2, 2]]
    assert graph.edge_index.tolist() == [[1, 0, 2, 1], [0, 1, 1, 2]]  # patch (2, 2) is isolated
    assert graph.provenance.topology == ""
    assert graph.notes["patches_dropped"] == 5
    validate(graph)
    assert torch.equal(image_of(graph)[1][0], mask)


def test_an_image_without_a_measured_pixel_is_refused():
    with pytest.raises(EmptyGraphError, match="nodata"):
        grid_graph(torch.full((3, 8, 8), float("nan")))
    with pytest.raises(EmptyGraphError, match="0 × 5"):
        grid_graph(torch.ones(1, 0, 5))


@pytest.mark.parametrize(("call", "remedy"), [
    (lambda: grid_graph(torch.ones(2, 1, 4, 4)), "grid_batch"),
    (lambda: grid_batch(torch.ones(1, 4, 4)), "grid_graph"),
    (lambda: grid_graph(torch.ones(4, 4), mask=torch.ones(4, 5)), "True = measured"),
    (lambda: grid_graph(torch.ones(4, 4), patch=0), "side of a patch"),
    (lambda: grid_graph(torch.ones(2, 4, 4), bands=["g"]), "Name each channel"),
    (lambda: grid_graph(np.ones((4, 4), complex)), "magnitude"),
    (lambda: grid_graph(torch.ones(4, 4, dtype=torch.complex64)), "magnitude"),
    (lambda: grid_graph(np.array([["a"]])), "Decode"),
])
def test_a_wrong_shape_or_type_is_named_with_its_remedy(call, remedy):
    with pytest.raises(ValueRangeError, match=remedy):
        call()


def test_only_a_patch_grid_can_be_turned():
    graph = grid_graph(torch.ones(4, 4)).with_provenance(settings={})
    with pytest.raises(SchemaError, match="grid_graph"):
        turn(graph)


@settings(max_examples=30, deadline=None)
@given(b=st.integers(1, 3), c=st.integers(1, 3), r=st.integers(1, 4), q=st.integers(1, 4), p=st.integers(1, 4))
def test_cutting_into_patches_and_joining_them_is_the_identity(b, c, r, q, p):
    images = noise(b, c, r * p, q * p)
    assert torch.equal(from_patches(to_patches(images, p), r, q, p), images)


def test_bands_go_to_their_slots_and_absent_ones_are_not_measured():
    image = torch.stack([torch.full((2, 2), 8.0), torch.full((2, 2), 2.0)])
    placed, mask = place_bands(image, ["B08", "B02"], SENTINEL2)
    assert len(SENTINEL2) == 13
    assert placed[:, 0, 0].tolist() == [0, 2, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0]
    assert mask[:, 1, 1].nonzero().flatten().tolist() == [1, 7]
    graph = grid_graph(placed, patch=2, mask=mask, bands=SENTINEL2)
    assert graph.provenance.settings["bands"] == list(SENTINEL2)


def test_a_bands_own_mask_follows_it_into_its_slot():
    mask = torch.tensor([[True, False], [True, True]])
    _, placed = place_bands(torch.ones(2, 2, 2), ["r", "g"], SDSS, mask)
    assert torch.equal(placed[1], mask)
    assert torch.equal(placed[2], mask)
    assert not placed[[0, 3, 4]].any()


def test_an_unknown_band_is_refused_with_the_nearest_names():
    with pytest.raises(UnknownNameError, match="B8A"):
        place_bands(torch.ones(1, 2, 2), ["B8B"], SENTINEL2)
    with pytest.raises(ValueRangeError, match="average or drop"):
        place_bands(torch.ones(2, 2, 2), ["g", "g"], SDSS)


@pytest.mark.parametrize(("names", "slots"), [
    (["B02", "B08"], {0: "B02", 1: "B08"}),
    (["B2", "B5", "B8A"], {0: "B02", 1: "B05", 2: "B8A"}),
    (["B2", "B3", "B4"], {0: "B02", 1: "B03", 2: "B04"}),
    (["B4", "B5", "B6"], {}),  # near infrared is B5 of Landsat 8 and B08 of Sentinel-2
    (["red", "", "NIR", "SCL"], {0: "B04", 2: "B08"}),
    (["red", "B04"], {}),
])
def test_band_names_are_understood_only_where_they_are_certain(names, slots):
    assert sentinel2_slots(names) == slots
