"""GRIB of both editions: no message is lost, states are records, the order of the file does not matter."""

from pathlib import Path

import eccodes
import numpy as np
import pytest
import torch
from geoembed.errors import EmptyGraphError, MissingFieldError, TruncatedFileError, UnreadableFileError, ValueRangeError
from geoembed.graphs.geodesy import healpix_centers
from geoembed.graphs.sphere import sphere_graph
from geoembed.io.grib import Grib
from geoembed.io.record import BadRecord

from climate_files import LAT, LON, grib_bytes, temperature, write_grib, write_multi_field

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CLIMATE = SHARED / "climate"
needs_data = pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
T = temperature()[0]


def records(path):
    return list(Grib().records(path))


def only(path):
    (record,) = records(path)
    assert not isinstance(record, BadRecord), record.error
    return record


def changed(message, **keys):
    handle = eccodes.codes_new_from_message(message)
    for key, value in keys.items():
        eccodes.codes_set(handle, key, value)
    message = eccodes.codes_get_message(handle)
    eccodes.codes_release(handle)
    return message


@pytest.mark.parametrize("edition", [1, 2])
def test_message_is_the_field_that_was_written(tmp_path, edition):
    record = only(write_grib(tmp_path / "t.grib", [grib_bytes(T, edition=edition)]))
    assert record.key == "2001-01-01T00:00:00"
    assert record.payload.variables == ("t@500",)
    graph = Grib().to_graph(record)
    expected = sphere_graph(T[None], lat=LAT, lon=LON, level=2)
    assert torch.allclose(graph.x, expected.x, atol=1e-4)  # 24 bits
    assert graph.edge_index is expected.edge_index


def test_both_editions_of_one_grid_are_one_record(tmp_path):
    record = only(write_grib(tmp_path / "t.grib", [grib_bytes(T, edition=1), grib_bytes(T + 1, level=850, edition=2)]))
    assert record.payload.variables == ("t@500", "t@850")


def test_steps_members_and_times_are_records_and_levels_are_channels(tmp_path):
    messages = [grib_bytes(T, level=level, step=step, member=member)
                for step in (0, 6) for member in (1, 2) for level in (850, 500)]
    found = records(write_grib(tmp_path / "t.grib", messages))
    assert [record.key for record in found] == [
        "2001-01-01T00:00:00 member 1", "2001-01-01T00:00:00 member 2",
        "2001-01-01T06:00:00 +6h member 1", "2001-01-01T06:00:00 +6h member 2",
    ]
    assert all(record.payload.variables == ("t@500", "t@850") for record in found)
    assert sum(record.notes["messages"] for record in found) == len(messages)


def test_level_types_and_step_types_are_channels_of_their_own(tmp_path):
    messages = [
        grib_bytes(T, level=500), grib_bytes(T, level=5, kind="hybrid"), grib_bytes(T, level=50, kind="isobaricInPa"),
        grib_bytes(T, "2t", 2, kind="heightAboveGround"), grib_bytes(np.abs(T), "tp", 0, kind="surface", step_range="0-6", step=6),
        grib_bytes(T, level=500, step=6),
    ]
    start, later = records(write_grib(tmp_path / "t.grib", messages))
    assert start.payload.variables == ("2t", "t@0.5", "t@500", "t@hybrid,5")
    assert later.payload.variables == ("t@500", "tp:accum")


def test_fields_that_share_a_message_are_all_read(tmp_path):
    fields = {name: T * 0 + number for number, name in enumerate(("u", "v", "t"), start=250)}
    fields["u"], fields["v"] = T * 0 + 5, T * 0 - 7
    path = write_multi_field(tmp_path / "t.grib2", [grib_bytes(values, name) for name, values in fields.items()])
    assert path.read_bytes().count(b"GRIB") == 1
    record = only(path)
    assert record.payload.variables == ("t@500", "u@500", "v@500")
    np.testing.assert_allclose(record.payload.values.mean(axis=1), [252, 5, -7], atol=1e-3)


def test_two_messages_of_one_channel_fill_two_records(tmp_path):
    path = write_grib(tmp_path / "t.grib", [grib_bytes(T), grib_bytes(T + 5), grib_bytes(T, level=850)])
    first, second = records(path)
    assert (first.payload.variables, second.payload.variables) == (("t@500", "t@850"), ("t@500",))
    assert second.payload.values.mean() - first.payload.values[0].mean() == pytest.approx(5, abs=1e-3)


def test_bitmap_is_the_mask(tmp_path):
    missing = np.zeros((13, 24), bool)
    missing[4:6, 3:9] = True
    record = only(write_grib(tmp_path / "t.grib", [grib_bytes(T, missing=missing)]))
    assert record.notes["missing"] == missing.sum()
    np.testing.assert_array_equal(record.payload.measured[0].reshape(13, 24), ~missing)
    assert (record.payload.values[0].reshape(13, 24)[missing] == 0).all()


def test_field_without_a_value_is_dropped_and_a_record_of_such_fields_is_refused(tmp_path):
    empty = grib_bytes(T, level=850, missing=np.ones((13, 24), bool))
    record = only(write_grib(tmp_path / "one.grib", [grib_bytes(T), empty]))
    assert record.payload.variables == ("t@500",)
    assert record.notes["all_missing"] == "t@850"
    (bad,) = records(write_grib(tmp_path / "none.grib", [empty]))
    with pytest.raises(EmptyGraphError, match="every value is missing"):
        raise bad.error


def test_bytes_between_messages_and_a_bulletin_header_are_passed_over(tmp_path):
    path = write_grib(tmp_path / "t.grib", [b"\r\nHTVK50 ECMF 010000\r\n", grib_bytes(T), bytes(40), grib_bytes(T, level=850), bytes(8)])
    assert only(path).payload.variables == ("t@500", "t@850")
    assert Grib().can_open(path.read_bytes()[:4096], "t.grib")


@pytest.mark.parametrize("cut", [1, 100, "half", "indicator"])
def test_cut_message_is_named_and_those_before_it_are_kept(tmp_path, cut):
    first, second = grib_bytes(T), grib_bytes(T, level=850)
    kept = {"half": len(second) // 2, "indicator": 3}.get(cut, len(second) - cut if isinstance(cut, int) else 0)
    found = records(write_grib(tmp_path / "t.grib", [first, second[:kept]]))
    bad = [record for record in found if isinstance(record, BadRecord)]
    good = [record for record in found if not isinstance(record, BadRecord)]
    assert [record.payload.variables for record in good] == [("t@500",)]
    (broken,) = bad
    with pytest.raises((TruncatedFileError, UnreadableFileError), match=r"messages before are kept|damaged or cut off"):
        raise broken.error
    assert str(len(first)) in broken.key


def test_one_damaged_message_does_not_cost_the_next(tmp_path):
    broken = bytearray(grib_bytes(T))
    broken[8:16] = (len(broken) - 10).to_bytes(8, "big")  # a length that its end section contradicts
    found = records(write_grib(tmp_path / "t.grib", [grib_bytes(T, level=300), bytes(broken), grib_bytes(T, level=850)]))
    assert [isinstance(record, BadRecord) for record in found] == [True, False]
    assert found[1].payload.variables == ("t@300", "t@850")


def test_file_without_a_message_is_an_error(tmp_path):
    path = tmp_path / "t.grib"
    path.write_bytes(bytes(100))
    with pytest.raises(UnreadableFileError, match="no GRIB message"):
        records(path)


def test_impossible_value_is_refused(tmp_path):
    (bad,) = records(write_grib(tmp_path / "t.grib", [grib_bytes(T - 273.15)]))
    with pytest.raises(ValueRangeError, match="degC or K"):
        raise bad.error


def test_reading_a_file_half_way_leaves_nothing_for_the_next(tmp_path):
    path = write_multi_field(tmp_path / "t.grib2", [grib_bytes(T, name) for name in ("t", "t", "t")])
    for _ in range(3):
        stream = Grib().records(path)
        next(stream)
        stream.close()
    assert len(records(path)) == 3


@needs_data
def test_atmospheric_state_has_its_seventy_one_channels():
    record = only(CLIMATE / "gfs_2p5deg_pl.grib2")
    names = record.payload.variables
    assert len(names) == 71
    assert {f"{name}@{level}" for name in "tuvr" for level in (50, 500, 1000)} <= set(names)
    assert {"2t", "10u", "10v", "prmsl"} <= set(names)
    assert record.payload.values[names.index("prmsl")].mean() == pytest.approx(101_000, rel=0.01)


@needs_data
@pytest.mark.parametrize("name", ["lambert_grid.grib", "reduced_gg.grib", "O32_global.grib2", "regular_gg_pl.grib"])
def test_values_and_places_are_those_of_the_decoder(name):
    record = only(CLIMATE / "files" / name)
    with open(CLIMATE / "files" / name, "rb") as file:
        handle = eccodes.codes_grib_new_from_file(file)
        lat, lon, values = (eccodes.codes_get_array(handle, key) for key in ("latitudes", "longitudes", "values"))
        eccodes.codes_release(handle)
    np.testing.assert_array_equal(record.payload.lat.ravel(), lat)
    np.testing.assert_array_equal(record.payload.lon.ravel(), lon)
    np.testing.assert_array_equal(record.payload.values.ravel(), values.astype(np.float32))


@needs_data
@pytest.mark.parametrize(("name", "shape"), [("alternate-scanning.grib", (171, 291)), ("mercator.grib", (225, 339))])
def test_rows_that_run_to_and_fro_are_smooth_in_the_graph(name, shape):
    record = only(CLIMATE / "files" / name)
    order = np.lexsort((record.payload.lon, record.payload.lat))
    field = record.payload.values[0][order].reshape(shape)
    along, across = np.abs(np.diff(field, axis=1)).mean(), np.abs(np.diff(field, axis=0)).mean()
    assert across < 2 * along  # with every second row mirrored it is fourteen times


def test_rows_that_run_to_and_fro_give_the_field_that_was_written(tmp_path):
    to_and_fro = T.copy()
    to_and_fro[1::2] = T[1::2, ::-1]
    message = changed(grib_bytes(to_and_fro), alternativeRowScanning=1)
    record = only(write_grib(tmp_path / "t.grib", [message]))
    np.testing.assert_allclose(Grib().to_graph(record).x[:312, 0], sphere_graph(T[None], lat=LAT, lon=LON, level=2).x[:312, 0], atol=1e-4)


def test_increments_that_contradict_the_corners_do_not_move_the_rows(tmp_path):
    expected = Grib().to_graph(only(write_grib(tmp_path / "right.grib", [grib_bytes(T)])))
    wrong = changed(grib_bytes(T), jDirectionIncrementInDegrees=2.0, iDirectionIncrementInDegrees=2.0)
    record = only(write_grib(tmp_path / "wrong.grib", [wrong]))
    assert "placed by its corners" in record.notes["grid"]
    assert torch.equal(Grib().to_graph(record).x, expected.x)
    assert Grib().to_graph(record).edge_index is expected.edge_index


@pytest.mark.parametrize("keys", [
    {"longitudeOfFirstGridPointInDegrees": 300.0, "longitudeOfLastGridPointInDegrees": 285.0},
    {"longitudeOfFirstGridPointInDegrees": -60.0, "longitudeOfLastGridPointInDegrees": -75.0},
])
def test_grid_that_crosses_the_seam_stays_where_it_is(tmp_path, keys):
    record = only(write_grib(tmp_path / "t.grib", [changed(grib_bytes(np.roll(T, 4, axis=1)), **keys)]))
    assert "grid" not in record.notes
    expected = sphere_graph(T[None], lat=LAT, lon=LON, level=2)
    np.testing.assert_allclose(Grib().to_graph(record).x[:312], expected.x[:312], atol=1e-4)


@needs_data
def test_healpix_points_of_the_decoder_are_the_published_centers():
    record = records(CLIMATE / "files" / "healpix_H8.grib2")[0]
    lat, lon = healpix_centers(8)
    np.testing.assert_allclose(record.payload.lat, lat, atol=1e-9)
    np.testing.assert_allclose(record.payload.lon, lon, atol=1e-9)


@needs_data
def test_south_to_north_rows_are_the_same_graph_as_north_to_south():
    north = Grib().to_graph(only(CLIMATE / "files" / "regular_ll_sfc.grib"))
    south = Grib().to_graph(only(CLIMATE / "files" / "scanning_mode_64.grib"))
    assert torch.equal(north.edge_index, south.edge_index)
    assert torch.allclose(north.x, south.x, atol=0.5)  # packed with fewer bits


@needs_data
@pytest.mark.parametrize(("name", "error", "message"), [
    ("files/test_icon.grib", MissingFieldError, "5a0a863d2523951577894930e3452bc0"),
    ("nasty/spherical_harmonics.grib", UnreadableFileError, "Transform them to a grid"),
    ("nasty/rgg_small_subarea_cellarea_ref.grib", ValueRangeError, "100…400 K"),
])
def test_what_has_no_place_or_no_possible_value_is_named(name, error, message):
    (bad,) = records(CLIMATE / name)
    with pytest.raises(error, match=message):
        raise bad.error
