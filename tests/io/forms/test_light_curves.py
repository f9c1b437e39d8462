"""Light curves as tables: names, sentinels, objects, flags and zero points, against hand-made numbers."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from geoembed.errors import EmptyGraphError, GeoembedError, UnknownNameError, ValueRangeError
from geoembed.graphs.passbands import passband_index
from geoembed.io.forms.light_curves import LightCurveTable
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Graph
from hypothesis import given, settings
from hypothesis import strategies as st

FORM = LightCurveTable()


def graphs(table: pd.DataFrame, name: str = "table") -> dict[str, Graph]:
    found = list(FORM.records(table, 0, name))
    assert not [record for record in found if isinstance(record, BadRecord)]
    return {record.key: FORM.to_graph(record) for record in found if isinstance(record, Record)}


def errors(table: pd.DataFrame) -> dict[str, Exception]:
    return {record.key: record.error for record in FORM.records(table, 0, "table") if isinstance(record, BadRecord)}


def asinh_mag(flux: float, zero_point: float = 27.5, softening: float = 5.0) -> float:
    """Lupton, Gunn & Szalay 1999, eq. 3, in plain Python."""
    return zero_point - 2.5 / math.log(10) * (math.asinh(flux / (2 * softening)) + math.log(softening))


@pytest.mark.parametrize("time", ["mjd", "MJD", "jd", "hjd", "BJD - 2454833", " Time "])
@pytest.mark.parametrize(("value", "error"), [("mag", "magerr"), ("magnitude", "e_mag"), ("magpsf", "sigmapsf"), ("mag", "mag_error")])
def test_the_usual_names_of_a_column_mean_the_same(time: str, value: str, error: str) -> None:
    table = pd.DataFrame({time: [3.0, 1.0, 2.0], value: [17.5, 18.0, 18.5], error: [0.1, 0.2, 0.3]})
    assert FORM.matches(list(table.columns))
    graph = graphs(table)["table"]
    assert graph.pos[:, 0].tolist() == [1.0, 2.0, 3.0]
    torch.testing.assert_close(graph.x, torch.tensor([[18.0, 0.2], [18.5, 0.3], [17.5, 0.1]]))


@pytest.mark.parametrize("columns", [["mjd", "x"], ["mag", "magerr"], ["time", "flux", "wavelength"], ["time", "latitude", "mag"],
                                     ["t_milli", "mag_milli"]])
def test_tables_of_another_meaning_are_no_light_curves(columns: list[str]) -> None:
    assert not FORM.matches(columns)


def test_one_record_an_object_in_order_of_appearance() -> None:
    table = pd.DataFrame({"snid": [7, 3, 7, 3, 7], "mjd": [1, 1, 2, 2, 3], "mag": [1.0, 2.0, 3.0, 4.0, 5.0]})
    found = graphs(table)
    assert list(found) == ["7", "3"]
    assert found["7"].x[:, 0].tolist() == [1.0, 3.0, 5.0]
    assert found["3"].x[:, 0].tolist() == [2.0, 4.0]


def test_whole_numbers_stored_as_floats_name_objects_without_a_point() -> None:
    table = pd.DataFrame({"snid": [7.0, 7.0], "mjd": [1, 2], "mag": [1.0, 2.0]})
    assert list(graphs(table)) == ["7"]


def test_rows_without_an_object_are_reported_and_the_others_kept() -> None:
    table = pd.DataFrame({"object_id": ["a", None, "a"], "mjd": [1, 2, 3], "mag": [1.0, 2.0, 3.0]})
    found = list(FORM.records(table, 0, "table"))
    assert isinstance(found[0], BadRecord)
    assert "1 rows without an object" in str(found[0].error)
    assert FORM.to_graph(found[1]).num_nodes == 2


def test_an_id_that_differs_in_every_row_numbers_rows_and_not_objects() -> None:
    table = pd.DataFrame({"id": [1, 2, 3], "mjd": [1, 2, 3], "mag": [1.0, 2.0, 3.0]})
    assert graphs(table, "star")["star"].num_nodes == 3


@pytest.mark.parametrize("mark", [-9, -99, -999, 99, 99.9, 99.99, np.float32(99.99), 128, np.nan])
def test_a_magnitude_that_was_not_measured_is_an_absent_sample(mark: float) -> None:
    table = pd.DataFrame({"mjd": [1.0, 2.0, 3.0], "mag": [17.0, mark, 18.0], "magerr": [0.1, 0.2, 0.3]})
    graph = graphs(table)["table"]
    assert graph.x[:, 0].tolist() == [17.0, 18.0]
    assert graph.pos[:, 0].tolist() == [1.0, 3.0]
    assert graph.notes["missing_dropped"] == 1


def test_bright_negative_magnitudes_are_values() -> None:
    table = pd.DataFrame({"mjd": [1.0, 2.0], "mag": [-20.5, -26.7]})
    assert graphs(table)["table"].x[:, 0].tolist() == pytest.approx([-20.5, -26.7])


def test_a_negative_flux_is_a_value_unless_its_error_is_missing_too() -> None:
    table = pd.DataFrame({"mjd": [1.0, 2.0, 3.0], "fluxcal": [-9.0, -9.0, 40.0], "fluxcalerr": [2.0, -9.0, 4.0]})
    graph = graphs(table)["table"]
    assert graph.x[:, 0].tolist() == pytest.approx([asinh_mag(-9), asinh_mag(40)])
    assert graph.pos[:, 0].tolist() == [1.0, 3.0]


def test_rows_without_a_time_are_counted() -> None:
    table = pd.DataFrame({"mjd": [1.0, np.nan, -999.0], "mag": [17.0, 17.1, 17.2]})
    [record] = FORM.records(table, 0, "table")
    assert isinstance(record, Record)
    assert record.notes == {"without_time": 2}
    assert FORM.to_graph(record).num_nodes == 1


def test_an_error_of_zero_or_less_is_no_error() -> None:
    table = pd.DataFrame({"mjd": [1.0, 2.0], "mag": [17.0, 17.1], "magerr": [0.0, 0.1]})
    [record] = FORM.records(table, 0, "table")
    graph = FORM.to_graph(record)  # type: ignore[arg-type]
    assert record.notes == {"without_error": 1}  # type: ignore[union-attr]
    assert graph.measured.tolist() == [[True, False], [True, True]]


def test_magnitudes_give_way_to_fluxes_with_errors_which_keep_the_non_detections() -> None:
    table = pd.DataFrame({
        "MJD": [1.0, 2.0], "FLT": ["g", "r"], "FLUXCAL": [-3.0, 100.0], "FLUXCALERR": [1.0, 1.0], "MAG": [99.0, 22.5], "MAGERR": [5, 0.01],
    })
    graph = graphs(table)["table"]
    assert graph.x[:, 0].tolist() == pytest.approx([asinh_mag(-3), asinh_mag(100)])


def test_zero_points_in_the_rows_bring_fluxes_to_one_scale() -> None:
    bright = pd.DataFrame({"mjd": [1.0, 2.0], "flux": [1000.0, 100.0], "fluxerr": [1.0, 0.1], "zp": [27.5, 25.0]})
    graph = graphs(bright)["table"]  # 2.5 mag are a factor of 10
    assert graph.x[0].tolist() == pytest.approx(graph.x[1].tolist())


def test_forced_photometry_of_atlas_is_in_microjanskys_and_its_filter_is_called_f() -> None:
    table = pd.DataFrame({"MJD": [1.0, 2.0], "m": [18.0, 19.0], "dm": [0.1, 0.1], "uJy": [100.0, 200.0], "duJy": [10.0, 20.0],
                          "F": ["o", "c"], "err": [0, 0]})
    [record] = FORM.records(table, 0, "table")
    assert isinstance(record, Record)
    assert (record.notes, record.payload.error.tolist()) == ({}, [10.0, 20.0])
    graph = FORM.to_graph(record)
    assert graph.x[:, 0].tolist() == pytest.approx([asinh_mag(100, 23.9), asinh_mag(200, 23.9)])
    assert graph.token.flatten().tolist() == [passband_index("orange"), passband_index("cyan")]


def test_forced_photometry_of_ztf_has_its_own_errors_zero_points_and_mark_of_failure() -> None:
    """ZTF forced photometry service (Masci et al. 2023): zpdiff is the zero point of a row, -99999 a failed fit."""
    table = pd.DataFrame({"jd": [1.0, 2.0, 3.0], "filter": "ZTF_g", "forcediffimflux": [100.0, 10.0, -99999.0],
                          "forcediffimfluxunc": [10.0, 1.0, -99999.0], "zpdiff": [27.5, 25.0, 26.0]})
    [record] = FORM.records(table, 0, "table")
    assert isinstance(record, Record)
    assert record.notes == {}
    graph = FORM.to_graph(record)
    assert graph.x[:, 0].tolist() == pytest.approx([asinh_mag(100)] * 2)  # 2.5 mag are a factor of 10
    assert graph.x[0, 1].item() == pytest.approx(graph.x[1, 1].item())
    assert graph.measured.all()


def test_a_limit_is_no_measurement() -> None:
    """ASAS-SN writes nights without a detection as >17.1 among the magnitudes."""
    table = pd.DataFrame({"HJD": [1.0, 2.0, 3.0], "mag": [">17.1", "15.5", "> 16"], "mag_err": [99.99, 0.1, 99.99]})
    [record] = FORM.records(table, 0, "table")
    assert isinstance(record, Record)
    assert record.notes["upper_limits_absent"] == 2
    graph = FORM.to_graph(record)
    assert (graph.pos.tolist(), graph.x.tolist()) == ([[2.0]], [[pytest.approx(15.5), pytest.approx(0.1)]])


def test_difference_fluxes_of_rubin_are_in_nanojanskys() -> None:
    table = pd.DataFrame({"expMidptMJD": [1.0], "psfDiffFlux": [1000.0], "psfDiffFluxErr": [10.0], "band": ["r"]})
    assert graphs(table)["table"].x[0, 0].item() == pytest.approx(asinh_mag(1000, 31.4))


def test_a_zero_point_that_is_assumed_is_noted_and_one_that_is_known_is_not() -> None:
    rows = {"mjd": [1.0, 2.0], "flux": [100.0, -5.0], "flux_err": [1.0, 1.0]}
    [assumed] = FORM.records(pd.DataFrame(rows), 0, "table")
    [known] = FORM.records(pd.DataFrame(rows).rename(columns={"flux": "fluxcal"}), 0, "table")
    assert (assumed.notes, known.notes) == ({"zero_point_assumed": 27.5}, {})  # type: ignore[union-attr]


def test_fluxes_in_units_of_their_mean_keep_their_relative_changes() -> None:
    """A change of 1 % is 0.0108 mag, although fluxes near 1 lie below the softening of 5 units."""
    table = pd.DataFrame({"BJD - 2454833": [1.0, 2.0], " Corrected Flux": [1.0, 1.01]})
    graph = graphs(table)["table"]
    assert float(graph.x[0, 0] - graph.x[1, 0]) == pytest.approx(2.5 * math.log10(1.01), rel=1e-3)


def test_the_error_belongs_to_the_flux_in_use() -> None:
    table = pd.DataFrame({"time": [1.0], "sap_flux": [5e5], "sap_flux_err": [7.0], "pdcsap_flux": [1e6], "pdcsap_flux_err": [100.0]})
    graph = graphs(table)["table"]
    assert float(graph.x[0, 1]) == pytest.approx(2.5 / math.log(10) * 1e-4, rel=1e-3)


@pytest.mark.parametrize(("column", "codes", "names"), [("fid", [1, 2, 3], "gri"), ("fid", [1.0, 2.0, 3.0], "gri"),
                                                        ("passband", [0, 3, 5], "uiy"), ("band", ["zg", "ztfr", b"i"], "gri")])
def test_codes_and_names_of_surveys_are_the_same_passbands(column: str, codes: list[object], names: str) -> None:
    table = pd.DataFrame({"mjd": [1, 2, 3], "mag": [1.0, 2.0, 3.0], column: codes})
    assert graphs(table)["table"].token[:, 0].tolist() == [passband_index(name) for name in names]


def test_an_unknown_passband_is_refused_with_the_known_ones() -> None:
    table = pd.DataFrame({"mjd": [1, 2], "mag": [1.0, 2.0], "band": ["g", "qq"]})
    [record] = FORM.records(table, 0, "table")
    with pytest.raises(UnknownNameError, match=r"'qq'; expected one of .*\bg\b.*Rename the band"):
        FORM.to_graph(record)  # type: ignore[arg-type]


@pytest.mark.parametrize("cell", ["abc", "inf", "-inf", "1e400", "12,5"])
@pytest.mark.parametrize("column", ["mjd", "mag", "magerr"])
def test_a_cell_that_is_no_finite_number_quarantines_its_object_alone(column: str, cell: str) -> None:
    table = pd.DataFrame({
        "object_id": ["a", "a", "b"], "mjd": ["1", "2", "3"], "mag": ["17", "18", "19"], "magerr": [".1", ".2", ".3"],
    })
    table.loc[1, column] = cell
    found = list(FORM.records(table, 0, "table"))
    assert [record.key for record in found] == ["a", "b"]
    assert isinstance(found[0], BadRecord)
    with pytest.raises(ValueRangeError, match=f"{column}: found '.*' in row 1"):
        raise found[0].error
    assert isinstance(found[1], Record)


def test_text_marks_of_missing_values_are_missing() -> None:
    table = pd.DataFrame({"mjd": ["1", "2", "3"], "mag": ["17", "--", "N/A"]})
    assert graphs(table)["table"].x[:, 0].tolist() == [17.0]


def test_an_object_without_a_measurement_is_quarantined() -> None:
    table = pd.DataFrame({"object_id": ["a", "b"], "mjd": [1, 2], "mag": [99.0, 17.0]})
    with pytest.raises(EmptyGraphError, match="without a measured mag"):
        raise errors(table)["a"]


def test_a_table_of_no_rows_has_no_records() -> None:
    assert list(FORM.records(pd.DataFrame({"mjd": [], "mag": []}), 0, "table")) == []


def test_flagged_samples_are_kept_and_counted() -> None:
    table = pd.DataFrame({"mjd": [1, 2, 3], "mag": [1.0, 2.0, 3.0], "catflags": [0, 2, 32768]})
    [record] = FORM.records(table, 0, "table")
    assert record.notes == {"flagged_kept": 2}  # type: ignore[union-attr]


def test_lists_in_cells_are_the_rows_of_their_object() -> None:
    wide = pd.DataFrame({"object_id": ["a", "b"], "mjd": [[1.0, 2.0], [3.0]], "mag": [np.array([17.0, 18.0]), np.array([19.0])]})
    found = graphs(wide)
    assert found["a"].x[:, 0].tolist() == [17.0, 18.0]
    assert found["b"].x[:, 0].tolist() == [19.0]


def test_lists_of_different_lengths_are_refused() -> None:
    wide = pd.DataFrame({"object_id": ["a"], "mjd": [[1.0, 2.0]], "mag": [[17.0]]})
    with pytest.raises(ValueRangeError, match="as many times as values"):
        list(FORM.records(wide, 0, "table"))


def test_calendar_times_are_modified_julian_dates() -> None:
    table = pd.DataFrame({"time": pd.to_datetime(["2000-01-01T12:00", "2000-01-02T00:00"]), "mag": [1.0, 2.0]})
    assert graphs(table)["table"].pos[:, 0].tolist() == [51544.5, 51545.0]  # J2000.0 is MJD 51544.5


@settings(max_examples=10)
@given(st.permutations(range(8)))
def test_the_order_of_rows_does_not_matter(order: list[int]) -> None:
    table = pd.DataFrame({
        "mjd": [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0, np.nan], "band": list("grgrgrgg"),
        "mag": [17.0, 18.0, 17.5, 99.0, 17.0, 17.2, 17.1, 16.0], "magerr": [0.1] * 8,
    })
    one, other = (graphs(rows)["table"] for rows in (table, table.iloc[order].reset_index(drop=True)))
    assert one.notes == other.notes
    assert all(torch.equal(one[name], other[name]) for name in ("x", "pos", "token", "edge_index", "edge_attr"))


def test_an_object_without_lists_before_those_with_lists_costs_itself_alone() -> None:
    table = pd.DataFrame({"object_id": ["a", "b"], "mjd": [None, [1.0, 2.0]], "mag": [None, [19.0, 19.5]]})
    first, second = LightCurveTable().records(table, 0, "t")
    assert isinstance(first, BadRecord)
    assert isinstance(second, Record)
    assert LightCurveTable().to_graph(second).pos.flatten().tolist() == [1.0, 2.0]


def test_a_list_among_numbers_is_a_cell_that_is_no_number() -> None:
    table = pd.DataFrame({"object_id": ["a", "b"], "mjd": [1.0, [2.0, 3.0]], "mag": [19.0, 20.0]})
    first, second = LightCurveTable().records(table, 0, "t")
    assert isinstance(first, Record)
    assert isinstance(second, BadRecord)
    with pytest.raises(GeoembedError, match=r"'\[2.0, 3.0\]' in row 1; expected finite numbers"):
        raise second.error
