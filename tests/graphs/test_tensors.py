"""Rectangles of a whole batch give the graphs that the builders give one by one."""

from __future__ import annotations

import math

import pytest
import torch
from geoembed.errors import EmptyGraphError, SchemaError, ValueRangeError
from geoembed.graphs.chain import chain_graph, light_curve_graph, spectrum_graph
from geoembed.graphs.cloud import cloud_graph
from geoembed.graphs.sequence import ALPHABET
from geoembed.graphs.tensors import check_shapes, crystal_batch, event_batch, jet_batch, light_curve_batch, sequence_batch, spectrum_batch
from geoembed.schema import Graph, GraphBatch
from torch import Tensor

from generators import event, letters, numbers


def assert_same_batch(ready: GraphBatch, graphs: list[Graph], names: tuple[str, ...]) -> None:
    collated = GraphBatch.from_data_list(graphs)
    assert torch.equal(ready.ptr, collated.ptr)
    for name in names:
        torch.testing.assert_close(ready[name], collated[name], atol=1e-6, rtol=1e-6, check_dtype=False)


def curves() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    z = numbers(3, 15, 3, seed=2)
    times, magnitudes, errors = 59000 + 40 * z[..., 0], 20 + z[..., 1], z[..., 2].abs() * 0.1
    magnitudes[0, 9:] = errors[0, 9:] = math.nan  # padding
    errors[1, ::3] = math.nan
    times[2, 3] = times[2, 4]  # two bands at one time
    return times, magnitudes, errors, torch.arange(15).remainder(3).expand(3, -1).contiguous()


def test_light_curves_in_any_order_with_padding_and_bands():
    times, magnitudes, errors, bands = curves()
    ready = light_curve_batch(times, magnitudes, errors, bands)
    graphs = [light_curve_graph(t, m, e, passband=b.tolist()) for t, m, e, b in zip(times, magnitudes, errors, bands, strict=True)]
    assert_same_batch(ready, graphs, ("x", "measured", "mask", "pos", "token", "edge_index", "edge_attr"))
    assert ready.ptr.tolist() == [0, 9, 24, 39]


def test_light_curves_without_bands_are_of_the_unspecified_one():
    times, magnitudes, errors, _ = curves()
    ready = light_curve_batch(times, magnitudes, errors)
    assert_same_batch(ready, [light_curve_graph(*row) for row in zip(times, magnitudes, errors, strict=True)],
                      ("x", "token", "edge_index", "edge_attr"))


def test_spectra_with_bad_pixels_missing_errors_and_redshifts():
    wave = torch.linspace(3800, 9200, 30, dtype=torch.float64).expand(3, -1)
    flux, error, mask = numbers(3, 30).abs() * 5, numbers(3, 30, seed=1).abs(), numbers(3, 30, seed=2) > -1
    flux[0, 4], error[0, 4], error[1, 5:9] = math.nan, math.nan, math.nan
    redshift = torch.tensor([0.0, 0.3, 2.0])
    ready = spectrum_batch(wave, flux, error, mask, redshift)
    graphs = [spectrum_graph(w, f, e, mask=m, redshift=float(z)) for w, f, e, m, z in zip(wave, flux, error, mask, redshift, strict=True)]
    assert_same_batch(ready, graphs, ("x", "measured", "mask", "pos", "edge_index", "edge_attr"))


def test_sequences_of_one_length():
    texts = [letters(25, seed, ALPHABET) for seed in range(3)]
    ready = sequence_batch(torch.tensor([[ALPHABET.index(c) for c in text] for text in texts]))
    assert_same_batch(ready, [chain_graph.from_sequence(text) for text in texts], ("token", "pos", "edge_index", "edge_attr"))


def test_events_padded_to_one_length_with_phi_of_any_turn():
    columns = [event(n, seed=n) for n in (6, 1, 0)]
    kinematics, ids, charges, mask = torch.full((3, 6, 4), math.nan).double(), *(torch.zeros(3, 6) for _ in range(3))
    for b, c in enumerate(columns):
        n = len(c["pt"])
        kinematics[b, :n] = torch.stack([c["pt"], c["eta"], c["phi"] + 6 * math.pi, c["energy"]], -1)
        ids[b, :n], charges[b, :n], mask[b, :n] = c["particle_id"], c["charge"], 1
    ready = event_batch(kinematics, ids, charges, mask, neighbors=3)
    assert_same_batch(ready, [cloud_graph(**c, neighbors=3) for c in columns], ("x", "token", "pos", "edge_index"))
    torch.testing.assert_close(ready.edge_attr, torch.cat([cloud_graph(**c, neighbors=3).edge_attr for c in columns]), atol=1e-4, rtol=1e-4)
    assert event_batch(kinematics[:, :1].nan_to_num(), ids[:, :1], charges[:, :1]).ptr.tolist() == [0, 1, 2, 2]  # no mask: no pT is padding


def test_rows_of_zeros_are_no_constituents():
    constituents = numbers(2, 8, 7)
    constituents[1, 3:] = 0
    ready = jet_batch(constituents, neighbors=2)
    assert ready.ptr.tolist() == [0, 8, 11]
    assert torch.equal(ready.x, torch.cat([constituents[0], constituents[1, :3]]))
    assert torch.equal(ready.pos, ready.x[:, :2])
    assert torch.bincount(ready.edge_index[1]).tolist() == [2] * 11


def test_crystals_with_unsorted_edges_atoms_and_graphs():
    """Graphs are interleaved; an edge repeats, one is a self-loop; graph 1 has no atom."""
    numbers_, batch = torch.tensor([8, 3, 8, 11]), torch.tensor([2, 0, 2, 0])
    edges, attr = torch.tensor([[0, 1, 2, 2, 3], [2, 3, 0, 0, 3]]), torch.arange(5.0).view(-1, 1)
    ready = crystal_batch(numbers_, edges, attr, batch)
    assert ready.ptr.tolist() == [0, 2, 2, 4]
    assert ready.token.flatten().tolist() == [3, 11, 8, 8]
    assert ready.edge_index.tolist() == [[0, 1, 3, 3, 2], [1, 1, 2, 2, 3]]
    assert ready.edge_attr.flatten().tolist() == [1.0, 4.0, 2.0, 3.0, 0.0]
    assert [graph.num_nodes for graph in ready.to_data_list()] == [2, 0, 2]


def test_graph_numbers_that_are_none_are_refused():
    edges, attr = torch.zeros(2, 1, dtype=torch.int64), torch.zeros(1, 4)
    with pytest.raises(ValueRangeError, match=r"crystal_batch: batch: found 1 entries from 0; expected 2 graph numbers ≥ 0"):
        crystal_batch(torch.tensor([1, 1]), edges, attr, torch.tensor([0]))
    with pytest.raises(ValueRangeError, match="Give the graph of each atom"):
        crystal_batch(torch.tensor([1, 1]), edges, attr, torch.tensor([-1, 0]))


def test_a_light_curve_with_errors_without_magnitudes_and_exact_duplicates_is_the_builders():
    times, magnitudes, errors, bands = curves()
    magnitudes[0, 2] = math.nan  # its error stays
    for part in (times, magnitudes, errors, bands):
        part[1, 7] = part[1, 3]
        part[2, 9] = part[2, 0]
    errors[2, 0] = errors[2, 9] = math.nan  # two missing errors are the same
    magnitudes[2, 5], times[2, 5], bands[2, 5] = magnitudes[2, 6] + 1, times[2, 6], bands[2, 6]  # conflicting: both stay
    ready = light_curve_batch(times, magnitudes, errors, bands)
    graphs = [light_curve_graph(t, m, e, passband=b.tolist()) for t, m, e, b in zip(times, magnitudes, errors, bands, strict=True)]
    assert_same_batch(ready, graphs, ("x", "measured", "mask", "pos", "token", "edge_index", "edge_attr"))
    assert ready.ptr.tolist() == [0, 8, 22, 36]


def test_a_spectrum_in_any_order_with_unknown_redshift_and_unusable_wavelengths_is_the_builders():
    wave = torch.linspace(3800, 9200, 20, dtype=torch.float64).expand(2, -1).clone()
    flux, error = numbers(2, 20).abs() * 5, numbers(2, 20, seed=1).abs()
    wave[0], wave[1, 4] = wave[0].flip(0), -1.0
    flux[1, 4] = 1e6  # beyond use, and no part of the scale
    redshift = torch.tensor([math.nan, 0.1])
    ready = spectrum_batch(wave, flux, error, torch.ones(2, 20, dtype=torch.bool), redshift)
    graphs = [spectrum_graph(w, f, e, redshift=float(z)) for w, f, e, z in zip(wave, flux, error, redshift, strict=True)]
    assert_same_batch(ready, graphs, ("x", "measured", "mask", "pos", "edge_index", "edge_attr"))


def test_rows_without_a_measured_sample_are_named():
    times = torch.arange(6.0).view(2, 3)
    with pytest.raises(EmptyGraphError, match=r"row 1 of 2.*\[1\]"):
        light_curve_batch(times, torch.tensor([[1.0, 2, 3], [math.nan] * 3]), torch.ones(2, 3))
    with pytest.raises(EmptyGraphError, match="row 0 of 1"):
        spectrum_batch(times[:1] + 4000, times[:1], times[:1], torch.zeros(1, 3, dtype=torch.bool), torch.zeros(1))
    with pytest.raises(EmptyGraphError, match="no letters"):
        sequence_batch(torch.zeros(2, 0, dtype=torch.int64))
    with pytest.raises(ValueRangeError, match="position is not finite"):
        light_curve_batch(torch.tensor([[0.0, math.nan]]), torch.ones(1, 2), torch.ones(1, 2))


def test_a_mask_of_a_jet_is_used():
    constituents = torch.rand(1, 4, 7) + 0.1
    assert jet_batch(constituents, torch.tensor([[1, 0, 1, 0]])).ptr.tolist() == [0, 2]


@pytest.mark.parametrize("wrong", [-1, 3])
def test_an_edge_to_an_atom_that_is_not_there_is_refused(wrong):
    with pytest.raises(ValueRangeError, match="Number the atoms through the whole batch"):
        crystal_batch(torch.tensor([1, 2, 3]), torch.tensor([[0, wrong], [1, 2]]), torch.rand(2, 10), torch.zeros(3, dtype=torch.int64))


def test_shapes_bind_their_letters_and_name_what_was_found():
    check_shapes("x", [torch.zeros(2, 5), torch.zeros(2, 3, 5)], "B T", "B T|B C T", "B", optional=1)
    for tensors in ([torch.zeros(2, 5)], [torch.zeros(2, 5), torch.zeros(2, 4)], [torch.zeros(2, 5, 1), torch.zeros(2, 5)],
                    [torch.zeros(2, 5)] * 4, [torch.zeros(2, 5), "text"]):
        with pytest.raises(SchemaError, match=r"expected \[B, T\]; \[B, T\] or \[B, C, T\]; \[B\], the last 1 optional"):
            check_shapes("x", tensors, "B T", "B T|B C T", "B", optional=1)
    with pytest.raises(SchemaError, match=r"\[B, n, 4\]"):
        check_shapes("x", [torch.zeros(2, 5, 3)], "B n 4")
