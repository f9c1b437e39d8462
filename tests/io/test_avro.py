"""Alert packets: ZTF and LSST dialects by the names of their fields, upper limits and signs, damage and hostile schemas."""

from __future__ import annotations

import io
import json
import zlib
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
import torch
from geoembed.errors import BudgetError, GeoembedError, TruncatedFileError, UnreadableFileError, UnsafeFileError
from geoembed.graphs.passbands import PASSBANDS
from geoembed.io.avro import Avro
from geoembed.io.reader import stream
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Graph

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def maybe(kind: str) -> list[str]:
    return ["null", kind]


ZTF = {"type": "record", "name": "ztf.alert", "fields": [
    {"name": "objectId", "type": "string"},
    {"name": "candidate", "type": {"type": "record", "name": "ztf.alert.candidate", "fields": [
        {"name": "jd", "type": "double"}, {"name": "fid", "type": "int"}, {"name": "isdiffpos", "type": maybe("string")},
        {"name": "magpsf", "type": maybe("float")}, {"name": "sigmapsf", "type": maybe("float")},
        {"name": "diffmaglim", "type": maybe("float")}]}},
    {"name": "prv_candidates", "type": ["null", {"type": "array", "items": "ztf.alert.candidate"}]},
    {"name": "cutoutScience", "type": maybe("bytes")},
]}


def lsst(time: str, band: str, flux: str, name: str = "lsst.v7_4.alert") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [
        {"name": "alertId", "type": "long"},
        {"name": "diaSource", "type": {"type": "record", "name": "lsst.diaSource", "fields": [
            {"name": "diaSourceId", "type": "long"}, {"name": "diaObjectId", "type": maybe("long")},
            {"name": time, "type": "double"}, {"name": band, "type": maybe("string")},
            {"name": flux, "type": maybe("float")}, {"name": f"{flux}Err", "type": maybe("float")}]}},
        {"name": "prvDiaSources", "type": ["null", {"type": "array", "items": "lsst.diaSource"}]},
        {"name": "prvDiaForcedSources", "type": ["null", {"type": "array", "items": "lsst.diaSource"}]},
    ]}


def source(jd: float, fid: int = 1, mag: float | None = 19.0, sign: str = "t") -> dict[str, Any]:
    return {"jd": jd, "fid": fid, "magpsf": mag, "sigmapsf": None if mag is None else 0.1, "diffmaglim": 20.5,
            "isdiffpos": None if mag is None else sign}


def alert(*earlier: dict[str, Any], name: str = "ZTF18abc", **changes: Any) -> dict[str, Any]:
    return {"objectId": name, "candidate": source(2458300.5), "prv_candidates": list(earlier) or None, "cutoutScience": b"x", **changes}


def write(path: Path, schema: dict[str, Any], *records: dict[str, Any], codec: str = "null") -> Path:
    with open(path, "wb") as file:
        fastavro.writer(file, schema, records, codec=codec, sync_interval=1)
    return path


def graphs(path: Path) -> list[Graph]:
    items = list(stream(path))
    assert all(isinstance(item, Graph) for item in items), items
    return items  # type: ignore[return-value]


def bands(graph: Graph) -> list[str]:
    return [PASSBANDS[token] for token in graph.token[:, 0].tolist()]


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_a_ztf_alert_is_the_light_curve_of_its_detections(tmp_path: Path, codec: str) -> None:
    earlier = [source(2458299.5, 2, 18.5), source(2458298.5, 3, None), source(2458297.5, 1, 20.25)]
    (graph,) = graphs(write(tmp_path / "a.avro", ZTF, alert(*earlier), codec=codec))
    assert (graph.record, graph.pos.flatten().tolist(), bands(graph)) == ("ZTF18abc", [58297.0, 58299.0, 58300.0], ["g", "r", "g"])
    assert graph.x.tolist() == [[20.25, pytest.approx(0.1)], [18.5, pytest.approx(0.1)], [19.0, pytest.approx(0.1)]]
    assert dict(graph.notes) == {"upper_limits_absent": 1, "stamps_left_out": 1}


def test_the_order_of_earlier_sources_changes_nothing(tmp_path: Path) -> None:
    earlier = [source(2458290.5 + i, 1 + i % 3, 19.0 + 0.1 * i) for i in range(8)]
    first, second = (graphs(write(tmp_path / f"{name}.avro", ZTF, alert(*rows)))[0] for name, rows in
                     (("a", earlier), ("b", earlier[::-1])))
    for field in ("x", "pos", "token", "edge_index"):
        assert torch.equal(first[field], second[field])


def test_a_source_fainter_than_its_template_keeps_its_sign(tmp_path: Path) -> None:
    """A negative difference of magnitude 19 lies as far below flux 0 as a positive one lies above: asinh magnitudes are symmetric."""
    rows = [source(2458290.5, 1, 19.0, "f"), source(2458291.5, 1, 19.0, "0"), source(2458292.5, 1, 19.0, "1")]
    (graph,) = graphs(write(tmp_path / "a.avro", ZTF, alert(*rows)))
    middle = 27.5 - 2.5 / np.log(10) * np.log(5.0)  # flux 0
    value = graph.x[:, 0].double()
    assert value[2:].tolist() == [pytest.approx(19.0, abs=2e-5)] * 2
    assert torch.allclose(value[:2] - middle, middle - value[2:], atol=1e-5)
    assert graph.notes["negative_differences"] == 2


def test_several_alerts_of_one_object_are_several_records(tmp_path: Path) -> None:
    found = graphs(write(tmp_path / "a.avro", ZTF, alert(), alert(source(2458200.5)), alert(name="ZTF18xyz")))
    assert [(graph.record, graph.num_nodes) for graph in found] == [("ZTF18abc", 1), ("ZTF18abc#2", 2), ("ZTF18xyz", 1)]


@pytest.mark.parametrize(("time", "band", "flux"), [("midPointTai", "filterName", "psFlux"), ("midpointMjdTai", "band", "psfFlux")])
def test_lsst_alerts_of_every_age_are_the_same_light_curve(tmp_path: Path, time: str, band: str, flux: str) -> None:
    def dia(mjd: float, name: str, value: float | None) -> dict[str, Any]:
        return {"diaSourceId": 5, "diaObjectId": 77, time: mjd, band: name, flux: value, f"{flux}Err": 100.0}

    record = {"alertId": 1, "diaSource": dia(60001.0, "r", 36307.805), "prvDiaSources": [dia(60000.0, "y", -363.07805), dia(59999.0, "u", None)],
              "prvDiaForcedSources": [dia(59998.0, "g", 1.0)]}
    (graph,) = graphs(write(tmp_path / "a.avro", lsst(time, band, flux), record))
    assert (graph.record, graph.pos.flatten().tolist(), bands(graph)) == ("77", [60000.0, 60001.0], ["y", "r"])
    # 36307.8 nJy is AB 20.0 (AB 31.4 is 1 nJy); in units of FLUXCAL it is 1000, the negative one -10
    scale = 2.5 / np.log(10)
    expected = [27.5 - scale * (np.arcsinh(value / 10) + np.log(5)) for value in (-10.0, 1000.0)]
    assert graph.x[:, 0].tolist() == pytest.approx(expected, abs=1e-5)
    assert expected[1] == pytest.approx(20.0, abs=1e-4)
    assert graph.notes["forced_photometry_left_out"] == 1
    assert "zero_point_assumed" not in graph.notes


def test_simulated_elasticc_alerts_have_snana_fluxes(tmp_path: Path) -> None:
    schema = lsst("midPointTai", "filterName", "psFlux", "elasticc.v0_9.alert")
    row = {"diaSourceId": 5, "diaObjectId": 77, "midPointTai": 6e4, "filterName": "r", "psFlux": 1000.0, "psFluxErr": 10.0}
    (graph,) = graphs(write(tmp_path / "a.avro", schema, {"alertId": 1, "diaSource": row, "prvDiaSources": None, "prvDiaForcedSources": None}))
    assert float(graph.x[0, 0]) == pytest.approx(20.0, abs=1e-4)


def test_a_time_that_is_no_modified_julian_date_is_noted(tmp_path: Path) -> None:
    """The sample alerts of the survey hold Unix seconds in a field that is stated as MJD."""
    row = {"diaSourceId": 5, "diaObjectId": 77, "midpointMjdTai": 1480360995.0, "band": "r", "psfFlux": 1e3, "psfFluxErr": 10.0}
    path = write(tmp_path / "a.avro", lsst("midpointMjdTai", "band", "psfFlux"),
                 {"alertId": 1, "diaSource": row, "prvDiaSources": None, "prvDiaForcedSources": None})
    assert graphs(path)[0].notes["not_a_modified_julian_date"] == "1.48036e+09 in 1 rows; taken as days, as the schema states"


def test_an_alert_of_upper_limits_alone_is_a_bad_record_and_the_rest_is_read(tmp_path: Path) -> None:
    empty = alert(name="faint", candidate=source(2458300.5, 1, None))
    found = list(Avro().records(write(tmp_path / "a.avro", ZTF, empty, alert())))
    assert isinstance(found[0], BadRecord)
    assert isinstance(found[1], Record)
    with pytest.raises(GeoembedError, match="faint.*1 rows without a measured magpsf"):
        raise found[0].error


def test_an_unknown_filter_number_lists_the_known_bands(tmp_path: Path) -> None:
    (item,) = stream(write(tmp_path / "a.avro", ZTF, alert(candidate=source(2458300.5, 9))))
    assert isinstance(item, tuple)
    assert "'9'; expected one of FUV" in item[0].reason


def test_records_of_another_kind_are_named(tmp_path: Path) -> None:
    schema = {"type": "record", "name": "user", "fields": [{"name": "name", "type": "string"}]}
    with pytest.raises(UnreadableFileError, match="records of name; expected alerts with candidate.*Parquet or CSV"):
        list(Avro().records(write(tmp_path / "a.avro", schema, {"name": "x"})))


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_wherever_a_file_is_cut_whole_alerts_are_kept_and_the_break_is_named(tmp_path: Path, codec: str) -> None:
    path = write(tmp_path / "a.avro", ZTF, alert(), alert(source(2458200.5)), alert(name="ZTF18xyz"), codec=codec)
    whole = path.read_bytes()
    for size in {*range(5, len(whole), 37), len(whole) - 1, len(whole) - 16, len(whole) - 17}:
        path.write_bytes(whole[:size])
        items = list(stream(path))
        good = [item for item in items if isinstance(item, Graph)]
        if size in _ends(whole):
            continue
        assert [graph.num_nodes for graph in good] == [1, 2, 1][: len(good)]
        assert len(items) == len(good) + 1
        assert items[-1][0].error == "TruncatedFileError", (size, items[-1])  # type: ignore[index]


def _ends(whole: bytes) -> set[int]:
    """Offsets at which a block ends: a file cut there is a legal, shorter file."""
    sync = whole[-16:]
    return {at + 16 for at in range(len(whole) - 15) if whole[at : at + 16] == sync}


def header(schema: object, codec: str = "null") -> bytes:
    out = io.BytesIO(b"")

    def integer(value: int) -> bytes:
        value, parts = value << 1, bytearray()
        while value > 0x7F:
            parts.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*parts, value])

    text = json.dumps(schema).encode()
    out.write(b"Obj\x01" + integer(2))
    for key, value in ((b"avro.codec", codec.encode()), (b"avro.schema", text)):
        out.write(integer(len(key)) + key + integer(len(value)) + value)
    return out.getvalue() + b"\0" + b"S" * 16


ENDLESS = {"type": "record", "name": "a", "fields": [{"name": "candidate", "type": {"type": "array", "items": "null"}}]}
INSIDE = {"type": "record", "name": "a", "fields": [{"name": "candidate", "type": ["null", "a"]}]}
EMPTY = {"type": "record", "name": "a", "fields": [{"name": "candidate", "type": "null"}]}


@pytest.mark.parametrize(("content", "error", "match"), [
    (header(ENDLESS) + b"\x02\x14" + b"\xff" * 9 + b"\x01" + b"S" * 16, UnsafeFileError, "items without a byte"),
    (header(INSIDE) + b"\x02\x02\x02" + b"S" * 16, UnsafeFileError, "'a' inside itself"),
    (header(EMPTY) + b"\xfe\xff\xff\xff\x0f\x00" + b"S" * 16, UnsafeFileError, "records without a byte"),
    (header(ZTF) + b"\x02\x80\x80\x80\x80\x80\x80\x01", TruncatedFileError, "found 0 bytes.*expected 2199023255552"),
    (header(ZTF) + b"\xff" * 12, UnreadableFileError, "an integer of more than 64 bits"),
    (header(ZTF) + b"\x03\x02\x00" + b"S" * 16, UnreadableFileError, "-2 records in a block"),
    (header(ZTF) + b"\x02\x02\x00" + b"S" * 16, UnreadableFileError, "expected a record of the schema"),
    (header(ZTF, "deflate") + b"\x02\x04\xff\xff" + b"S" * 16, UnreadableFileError, "deflate data"),
    (header(ZTF, "snappy"), UnreadableFileError, "the codec 'snappy'; expected one of null, deflate"),
    (header(json.loads(json.dumps(ZTF).replace('"name": "objectId"', '"ncme": "objectId"'))), UnreadableFileError, "missing 'name'.*a legal Avro schema"),
    (header("nothing"), UnreadableFileError, "the type 'nothing'; expected a type that is defined before"),
    (header({"type": "record", "name": "a"}), UnreadableFileError, "no fields in the record 'a'"),
    (b"Obj\x01\x02\xfe\xff\xff\xff\xff\xff\x01", UnreadableFileError, "metadata of .* bytes"),
])
def test_damage_and_traps_are_refused_at_once(tmp_path: Path, content: bytes, error: type[GeoembedError], match: str) -> None:
    path = tmp_path / "a.avro"
    path.write_bytes(content)
    with pytest.raises(error, match=match):
        list(Avro().records(path))


def test_a_compressed_bomb_is_refused_before_it_is_decompressed(tmp_path: Path) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(70)) + packer.flush()  # 70 MiB in 70 kB

    def integer(value: int) -> bytes:
        value, parts = value << 1, bytearray()
        while value > 0x7F:
            parts.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*parts, value])

    path = tmp_path / "a.avro"
    path.write_bytes(header(ZTF, "deflate") + b"\x02" + integer(len(bomb)) + bomb + b"S" * 16)
    with pytest.raises(BudgetError, match="Write the file in smaller blocks"):
        list(Avro().records(path))


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
def test_real_alerts_are_read_as_their_library_reads_them(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(SHARED / "astronomy" / "files.tar.xz") as tar:
        for member in tar:
            if not member.name.endswith(".avro"):
                continue
            path = tmp_path / Path(member.name).name
            path.write_bytes(tar.extractfile(member).read())  # type: ignore[union-attr]
            with open(path, "rb") as file:
                packets = list(fastavro.reader(file))
            found = graphs(path)
            assert len(found) == len(packets)
            for graph, packet in zip(found, packets, strict=True):
                if "candidate" in packet:
                    rows = [row for row in [packet["candidate"], *(packet["prv_candidates"] or [])] if row["magpsf"] is not None]
                    assert sorted(graph.pos.flatten().tolist()) == sorted(row["jd"] - 2400000.5 for row in rows)
                    assert graph.record == packet["objectId"]
                else:
                    assert graph.num_nodes == len({tuple(sorted(row.items(), key=str)) for row in _light(packet)})


def _light(packet: dict[str, Any]) -> list[dict[str, Any]]:
    keep = ("midPointTai", "midpointMjdTai", "psFlux", "psfFlux", "band", "filterName")
    return [{name: row[name] for name in keep if name in row} for row in [packet["diaSource"], *(packet["prvDiaSources"] or [])]]
