"""Spectra as tables: wavelengths in any unit, masks by inverse variance, redshifts, against hand-made numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from geoembed.errors import EmptyGraphError, ValueRangeError
from geoembed.io.forms.spectra import SpectrumTable
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Graph
from hypothesis import given
from hypothesis import strategies as st

FORM = SpectrumTable()
WAVE = np.array([4000.0, 5000.0, 6000.0, 8000.0])


def only(table: pd.DataFrame) -> tuple[Graph, Record]:
    [record] = FORM.records(table, 0, "table")
    if isinstance(record, BadRecord):
        raise record.error
    return FORM.to_graph(record), record


@pytest.mark.parametrize(("column", "values"), [
    ("wavelength", WAVE), ("LAMBDA", WAVE), ("wave", WAVE), ("loglam", np.log10(WAVE)), ("wavelength_nm", WAVE / 10),
    ("wave_um", WAVE / 1e4),
])
def test_wavelengths_in_any_unit_are_the_same_spectrum(column: str, values: np.ndarray) -> None:
    table = pd.DataFrame({column: values, "flux": [1.0, 2.0, 3.0, 4.0]})
    assert FORM.matches(list(table.columns))
    graph, _ = only(table)
    torch.testing.assert_close(graph.pos[:, 0], torch.from_numpy(np.log10(WAVE)))
    assert graph.x[:, 0].tolist() == pytest.approx([0.5, 1.0, 1.5, 2.0])  # in units of the (lower) median, 2


@pytest.mark.parametrize("columns", [["wavelength", "err"], ["flux", "mjd"], ["x", "y"]])
def test_tables_without_wavelength_and_flux_are_no_spectra(columns: list[str]) -> None:
    assert not FORM.matches(columns)


def test_an_inverse_variance_is_the_inverse_square_of_the_error() -> None:
    graph, _ = only(pd.DataFrame({"wave": WAVE, "flux": [1.0] * 4, "ivar": [1.0, 4.0, 16.0, 100.0]}))
    assert graph.x[:, 1].tolist() == pytest.approx([1.0, 0.5, 0.25, 0.1])


@pytest.mark.parametrize("bad", [{"ivar": [1, 0, 1, 1]}, {"ivar": [1, np.nan, 1, 1]}, {"err": [1, -1, 1, 1]}, {"var": [1, 0, 1, 1]},
                                 {"mask": [0, 4, 0, 0]}, {"mask": [False, True, False, False]}])
def test_a_masked_pixel_stays_as_a_node_whose_flux_has_no_influence(bad: dict[str, list[float]]) -> None:
    found = []
    for flux in (7.0, 1e35, np.nan, np.inf):
        graph, record = only(pd.DataFrame({"wave": WAVE, "flux": [1.0, flux, 3.0, 4.0], **bad}))
        assert record.notes == {"masked_pixels": 1}
        found.append(graph)
    assert found[0].mask.tolist() == [True, False, True, True]
    assert all(torch.equal(graph[name], found[0][name]) for graph in found for name in ("x", "pos", "measured", "edge_index", "mask"))


def test_errors_that_are_all_zero_mask_nothing() -> None:
    graph, record = only(pd.DataFrame({"wave": WAVE, "flux": [1.0, 2.0, 3.0, 4.0], "err": [0.0] * 4}))
    assert bool(graph.mask.all())
    assert not bool(graph.measured[:, 1].any())
    assert record.notes == {}


def test_a_redshift_that_is_one_number_brings_the_spectrum_to_rest() -> None:
    graph, _ = only(pd.DataFrame({"wave": WAVE, "flux": [1.0] * 4, "z": [0.25] * 4}))
    torch.testing.assert_close(graph.pos[:, 0], torch.from_numpy(np.log10(WAVE / 1.25)))


@pytest.mark.parametrize(("z", "note"), [([-9.0] * 4, "-9.0"), ([0.1, 0.2, 0.1, 0.1], "2 different values")])
def test_a_redshift_that_is_unknown_is_ignored_and_noted(z: list[float], note: str) -> None:
    graph, record = only(pd.DataFrame({"wave": WAVE, "flux": [1.0] * 4, "z": z}))
    torch.testing.assert_close(graph.pos[:, 0], torch.from_numpy(np.log10(WAVE)))
    assert record.notes == {"redshift_ignored": note}


@pytest.mark.parametrize("factor", [1e-10, 1e-4, 1e4])
def test_wavelengths_of_an_undeclared_unit_are_refused(factor: float) -> None:
    with pytest.raises(ValueRangeError, match="wavelengths in Å, or name the column wavelength_nm"):
        only(pd.DataFrame({"wave": WAVE * factor, "flux": [1.0] * 4}))


@pytest.mark.parametrize("fill", [9.96921e36, np.inf, -np.inf])
def test_a_default_fill_that_no_mask_declares_is_refused(fill: float) -> None:
    with pytest.raises(ValueRangeError, match=r"flux: found .*not masked.*Mask the pixel"):
        only(pd.DataFrame({"wave": WAVE, "flux": [1.0, fill, 1.0, 1.0]}))


@pytest.mark.parametrize("column", ["wave", "flux", "ivar"])
def test_a_cell_that_is_no_number_is_refused_by_name(column: str) -> None:
    table = pd.DataFrame({"wave": WAVE, "flux": [1.0] * 4, "ivar": [1.0] * 4}).astype(object)
    table.loc[2, column] = "x7"
    with pytest.raises(ValueRangeError, match=f"{column}: found 'x7' in row 2"):
        only(table)


def test_a_spectrum_without_a_good_pixel_is_refused() -> None:
    with pytest.raises(EmptyGraphError, match="4 pixels, none of them good"):
        only(pd.DataFrame({"wave": WAVE, "flux": [1.0] * 4, "ivar": [0.0] * 4}))


def test_a_column_of_objects_makes_several_spectra() -> None:
    table = pd.DataFrame({"object_id": ["b", "a", "b", "a"], "wave": [4000, 4000, 5000, 5000], "flux": [1.0, 3.0, 1.0, np.inf]})
    found = list(FORM.records(table, 0, "table"))
    assert [record.key for record in found] == ["b", "a"]
    assert isinstance(found[0], Record)
    assert isinstance(found[1], BadRecord)


def test_a_table_of_no_rows_has_no_records() -> None:
    assert list(FORM.records(pd.DataFrame({"wave": [], "flux": []}), 0, "table")) == []


@given(st.permutations(range(4)))
def test_the_order_of_pixels_does_not_matter(order: list[int]) -> None:
    table = pd.DataFrame({"wave": WAVE, "flux": [1.0, 2.0, np.nan, 4.0], "ivar": [1.0, 0.0, 1.0, 2.0]})
    one, other = (only(rows)[0] for rows in (table, table.iloc[order].reset_index(drop=True)))
    assert all(torch.equal(one[name], other[name]) for name in ("x", "pos", "mask", "measured", "edge_index", "edge_attr"))
