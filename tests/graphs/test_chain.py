"""Chains: order, repeats and gaps of the input leave one graph; magnitudes and scales have their closed forms."""

from __future__ import annotations

import math
import random

import numpy as np
import pandas as pd
import pytest
import torch
from geoembed.errors import EmptyGraphError, UnknownNameError, ValueRangeError
from geoembed.graphs.chain import asinh_magnitude, chain_graph, light_curve_graph, spectrum_graph
from geoembed.graphs.passbands import PASSBANDS
from geoembed.schema import Graph
from hypothesis import given
from hypothesis import strategies as st

from generators import numbers

samples = st.lists(
    st.tuples(st.integers(0, 40).map(float), st.integers(10, 25).map(float), st.sampled_from("gri")), min_size=1, max_size=15, unique=True
)


def assert_same(a: Graph, b: Graph) -> None:
    assert set(a.to_dict()) == set(b.to_dict())
    for name, value in a.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, b[name]), name


def curve(rows: list[tuple[float, float, str]]) -> Graph:
    return light_curve_graph([t for t, _, _ in rows], [m for _, m, _ in rows], [0.1] * len(rows), passband=[b for _, _, b in rows])


@given(samples, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_their_exact_repeats_make_no_difference(rows, random):
    shuffled = rows + random.choices(rows, k=3)
    random.shuffle(shuffled)
    graph = curve(shuffled)
    assert_same(curve(rows), graph)
    assert graph.notes["duplicates_merged"] == 3
    assert bool((graph.pos.diff(dim=0) >= 0).all())


@given(samples, st.integers(1, 3))
def test_a_row_without_a_measurement_is_absent_and_counted(rows, missing):
    holes = [(7.5, math.nan, "g")] * missing
    graph = curve(rows + holes)
    assert_same(curve(rows), graph)
    assert graph.notes["missing_dropped"] == missing


def test_two_values_at_one_time_are_kept_and_counted():
    graph = curve([(1.0, 20.0, "g"), (1.0, 21.0, "g"), (1.0, 20.0, "r")])
    assert graph.x[:, 0].tolist() == [20.0, 21.0, 20.0]
    assert graph.notes == {"conflicting_samples": 1}


def test_a_missing_error_is_unmeasured_and_an_error_alone_measures_nothing():
    graph = light_curve_graph([1.0, 2.0, 3.0], [20.0, 21.0, math.nan], [math.nan, 0.2, 0.3], passband="ggg")
    assert graph.measured.tolist() == [[True, False], [True, True]]
    assert graph.x.tolist() == [[20.0, 0.0], [21.0, pytest.approx(0.2)]]


def test_what_a_bad_pixel_holds_changes_nothing_not_even_the_number_of_nodes():
    wave, good = [5000.0, 5001.0, 5001.0, 5002.0], [True, False, False, True]
    graphs = [spectrum_graph(wave, [1.0, a, b, 3.0], [0.1, b, a, 0.1], mask=good)
              for a, b in ((7.0, 7.0), (8.0, 9.0), (math.nan, 1e30), (math.inf, -math.inf))]
    for graph in graphs[1:]:
        assert_same(graphs[0], graph)


def test_names_of_surveys_become_tokens_of_one_vocabulary():
    graph = light_curve_graph([1.0, 2.0, 3.0], [20.0, 20.0, 20.0], passband=["ztfg", "SDSS_i", "Bessell V"])
    assert [PASSBANDS[t] for t in graph.token.flatten().tolist()] == ["g", "i", "V"]
    assert light_curve_graph([1.0], [20.0]).token.tolist() == [[0]]
    for tokens in (torch.tensor([1, 2]), np.array([1, 2]), [1, 2], pd.Series([1, 2])):
        assert chain_graph([1.0, 2.0], [0.0, 0.0], passband=tokens).token.flatten().tolist() == [1, 2]


def test_columns_of_any_container_give_one_graph():
    t, m = [3.0, 1.0, 2.0], [20.0, 21.0, 22.0]
    reference = chain_graph(t, m)
    big_endian = np.array(t, dtype=">f8"), np.array(m, dtype=">f4")
    masked = np.ma.array([*t, 9.0], mask=[0, 0, 0, 0]), np.ma.array([*m, 1.0], mask=[0, 0, 0, 1])
    plain = [(make(t), make(m)) for make in (np.array, pd.Series, torch.tensor)]
    for position, values in (*plain, big_endian, masked):
        assert_same(reference, chain_graph(position, values))


def test_a_builder_does_not_write_into_what_it_is_given():
    t, m = torch.tensor([3.0, 1.0]).double(), torch.tensor([20.0, math.nan]).double()
    before = t.clone(), m.clone()
    chain_graph(t, m)
    assert torch.equal(t, before[0])
    torch.testing.assert_close(m, before[1], equal_nan=True)


@given(st.floats(1e3, 1e7), st.floats(0.1, 50))
def test_the_asinh_magnitude_of_a_bright_source_is_its_magnitude(flux, error):
    value, spread = asinh_magnitude(*torch.tensor([[flux], [error]], dtype=torch.float64), 27.5)
    assert value.item() == pytest.approx(27.5 - 2.5 * math.log10(flux), abs=1.1 * (5 / flux) ** 2 * 2.5 / math.log(10) + 1e-12)
    assert spread.item() == pytest.approx(2.5 / math.log(10) * error / flux, rel=1e-3)


@given(st.floats(-1e4, 1e4))
def test_the_asinh_magnitude_is_finite_monotone_and_has_its_derivative_as_error(flux):
    step = 1e-4
    near = torch.tensor([flux, flux + step], dtype=torch.float64)
    value, spread = asinh_magnitude(near, torch.ones(2, dtype=torch.float64), 25.0)
    assert math.isfinite(value[0])
    assert value[1] < value[0]
    assert spread[0].item() == pytest.approx((value[0] - value[1]).item() / step, rel=1e-3)


def test_no_flux_is_the_faintest_magnitude_of_its_softening():
    value, _ = asinh_magnitude(torch.zeros(1).double(), None, 27.5)
    assert value.item() == pytest.approx(27.5 - 2.5 * math.log10(5))


def test_flux_and_magnitude_light_curves_say_their_unit():
    flux = light_curve_graph([1.0, 2.0], flux=[1e6, -3.0], flux_error=[10.0, 10.0], passband="gg")
    assert flux.provenance.settings["unit"] == "asinh mag"
    assert flux.x[0].tolist() == pytest.approx([27.5 - 15.0, 2.5 / math.log(10) * 1e-5], abs=1e-5)
    assert curve([(1.0, 20.0, "g")]).provenance.settings["unit"] == "mag"


def test_a_spectrum_is_scaled_by_its_median_and_brought_to_the_rest_frame():
    graph = spectrum_graph([4000.0, 5000.0, 6000.0, 7000.0], [2.0, 4.0, 8.0, 1e9], [1.0, 1.0, 1.0, 1.0], mask=[1, 1, 1, 0], redshift=1.0)
    assert graph.provenance.settings["flux_scale"] == 4.0
    assert graph.provenance.settings["redshift"] == 1.0
    assert graph.x[:, 0].tolist() == [0.5, 1.0, 2.0, 0.0]
    assert graph.mask.tolist() == [True, True, True, False]
    assert graph.pos.flatten().tolist() == pytest.approx([math.log10(w / 2) for w in (4000, 5000, 6000, 7000)])


def test_a_spectrum_in_another_unit_of_flux_is_the_same_graph():
    wave, flux = torch.linspace(4000, 9000, 50), numbers(50).abs() + 1
    a, b = spectrum_graph(wave, flux, flux * 0.1), spectrum_graph(wave, flux * 1e-17, flux * 1e-18)
    torch.testing.assert_close(a.x, b.x)
    assert torch.equal(a.edge_index, b.edge_index)


def test_wavelengths_that_are_none_are_left_out_and_counted():
    graph = spectrum_graph([math.nan, 0.0, -5.0, 5000.0], [1.0, 1.0, 1.0, 1.0])
    assert graph.num_nodes == 1
    assert graph.notes == {"unusable_wavelengths": 3}
    dark = spectrum_graph([5000.0, 5001.0], [0.0, 0.0])
    assert dark.provenance.settings["flux_scale"] == 1.0


@pytest.mark.parametrize(("call", "error", "match"), [
    (lambda: light_curve_graph([1.0], [math.nan]), EmptyGraphError, r"light_curve: found no measured sample.*Leave the record out"),
    (lambda: chain_graph([], []), EmptyGraphError, "no measured sample"),
    (lambda: spectrum_graph([5000.0], [1.0], mask=[False]), EmptyGraphError, "spectrum: found no measured sample"),
    (lambda: chain_graph([1.0, math.nan], [1.0, 2.0]), ValueRangeError, r"chain: position: found nan in row 1.*Leave the row out"),
    (lambda: chain_graph([1.0, 2.0], [1.0]), ValueRangeError, "values: found 1 values; expected 2, one a row"),
    (lambda: chain_graph([1.0], [1.0], passband="gr"), ValueRangeError, "passband: found 2 values"),
    (lambda: light_curve_graph([1.0, 2.0], [1.0, 2.0], [0.1]), ValueRangeError, "error: found 1 values; expected 2"),
    (lambda: spectrum_graph([1.0, 2.0], [1.0]), ValueRangeError, "flux: found 1 values; expected 2"),
    (lambda: light_curve_graph([1.0], [20.0], passband=["qq"]), UnknownNameError, r"passband: found 'qq'; expected one of FUV.*Rename"),
    (lambda: light_curve_graph([1.0]), ValueRangeError, "neither magnitude nor flux"),
    (lambda: chain_graph([1.0, 2.0], [1.0, 2.0], offsets=(0, 1)), ValueRangeError, "offsets: found 0; expected steps of at least 1"),
    (lambda: chain_graph([1.0], [1.0], passband=[64]), ValueRangeError, "passband: found token 64; expected 0…63"),
    (lambda: chain_graph([1.0], [1.0], passband=[-1]), ValueRangeError, "passband: found token -1"),
])
def test_what_is_no_chain_is_refused_with_its_reason(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_a_long_light_curve_is_built_at_once():
    rng = random.Random(0)
    n = 5000
    graph = light_curve_graph([rng.random() * 1e3 for _ in range(n)], [20.0] * n, passband=rng.choices("ugriz", k=n))
    assert graph.num_nodes == n
    assert graph.num_edges >= 2 * (5 * n - 31)
