"""Parquet: order and keys of rows, nested columns, texts that share memory, and files that are cut, damaged or absurd."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from geoembed.errors import BudgetError, GeoembedError, MissingColumnError, TruncatedFileError, UnreadableFileError
from geoembed.io import parquet
from geoembed.io.parquet import Parquet
from geoembed.io.parquet_footer import chunk_sizes
from geoembed.io.record import BadRecord, Record

READER = Parquet()
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def events(rows: int) -> pa.Table:
    generator = np.random.default_rng(1)
    counts = generator.integers(1, 6, rows)
    cells = {name: [generator.random(count).tolist() for count in counts] for name in ("pt", "eta", "phi")}
    cells["pt"] = [[float(row), *cell[1:]] for row, cell in enumerate(cells["pt"], start=1)]
    return pa.table(cells)


def good(path: Path) -> list[Record]:
    return [record for record in READER.records(path) if isinstance(record, Record)]


def first_pt(record: Record) -> float:
    return float(record.payload.record.payload.pt[0])


def test_parquet_is_known_by_its_magic_and_not_by_its_name() -> None:
    assert READER.can_open(b"PAR1....", "table")
    assert not READER.can_open(b"PK\x03\x04", "table.parquet")


@pytest.mark.parametrize("group", [100, 1000, 5000])
def test_rows_keep_their_order_and_number_across_blocks_and_row_groups(tmp_path: Path, group: int) -> None:
    pq.write_table(events(2500), tmp_path / "x.parquet", row_group_size=group)
    records = good(tmp_path / "x.parquet")
    assert [record.key for record in records] == [str(row) for row in range(2500)]
    assert [first_pt(record) for record in records] == [float(row) for row in range(1, 2501)]


def test_wide_rows_are_decoded_in_smaller_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pa.array([[0.0] * 1000] * 50)
    pq.write_table(events(50).append_column("image", image), tmp_path / "x.parquet", use_dictionary=False, compression="none")
    sizes: list[int] = []
    monkeypatch.setattr(parquet, "BLOCK_BYTES", 80_000)
    frame = parquet._frame
    monkeypatch.setattr(parquet, "_frame", lambda batch: sizes.append(len(batch)) or frame(batch))
    assert len(good(tmp_path / "x.parquet")) == 50
    assert max(sizes) <= 10  # 8,000 bytes an image


def test_a_list_of_structs_is_read_as_lists(tmp_path: Path) -> None:
    cells = [[{"pt": 2.0, "eta": 0.5, "phi": 1.0}, {"pt": 1.0, "eta": -0.5, "phi": 2.0}], None, [], [{"pt": 3.0, "eta": 0.0, "phi": 0.0}]]
    pq.write_table(pa.table({"particles": cells, "run": [1, 2, 3, 4]}), tmp_path / "x.parquet")
    records = list(READER.records(tmp_path / "x.parquet"))
    assert [type(record) for record in records] == [Record, BadRecord, Record, Record]
    payloads = [record.payload.record.payload for record in records if isinstance(record, Record)]
    assert [payload.pt.tolist() for payload in payloads] == [[2.0, 1.0], [], [3.0]]
    assert payloads[0].eta.tolist() == [0.5, -0.5]


@pytest.mark.parametrize(("low", "high"), [(0, 5), (1, 4), (2, 2), (4, 5)])
def test_a_slice_of_nested_columns_has_the_rows_of_the_slice(low: int, high: int) -> None:
    cells = [[{"a": 1, "b": "p"}], None, [{"a": 2, "b": "q"}, {"a": 3, "b": None}], [], [{"a": 4, "b": "r"}]]
    structs = [{"c": 1}, {"c": 2}, None, {"c": 4}, {"c": 5}]
    batch = pa.RecordBatch.from_pydict({"s": pa.array(cells), "t": pa.array(structs)}).slice(low, high - low)
    flat = parquet._unnested(batch).to_pydict()
    assert flat["s_a"] == [None if cell is None else [item["a"] for item in cell] for cell in cells[low:high]]
    assert flat["s_b"] == [None if cell is None else [item["b"] for item in cell] for cell in cells[low:high]]
    assert flat["t_c"] == [None if struct is None else struct["c"] for struct in structs[low:high]]


def test_equal_texts_are_one_text_in_memory() -> None:
    texts = pa.array(["x" * 1000] * 3 + [None], pa.string()).dictionary_encode()
    frame = parquet._frame(pa.RecordBatch.from_pydict({"text": texts, "code": pa.array([5, 6, 5, None]).dictionary_encode()}))
    assert frame.text[0] is frame.text[2]
    assert pd.isna(frame.text[3])
    assert frame.code[:3].tolist() == [5, 6, 5]


def test_an_object_that_straddles_row_groups_stays_whole(tmp_path: Path) -> None:
    table = pa.table({"object_id": [1] * 5 + [2] * 5, "mjd": np.arange(10.0), "mag": np.linspace(18, 19, 10), "band": ["g"] * 10})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=3)
    records = good(tmp_path / "x.parquet")
    assert [READER.to_graph(record).num_nodes for record in records] == [5, 5]


def test_no_rows_give_no_record_and_no_error(tmp_path: Path) -> None:
    pq.write_table(events(3).slice(0, 0), tmp_path / "x.parquet")
    assert list(READER.records(tmp_path / "x.parquet")) == []


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    columns = events(2)
    table = pa.Table.from_arrays([*columns.columns, columns["pt"]], names=["pt", "eta", "phi", "pt"])
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(UnreadableFileError, match=r"several columns called \['pt'\]"):
        list(READER.records(tmp_path / "x.parquet"))


def test_a_table_of_something_else_names_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"wind": [1.0]}), tmp_path / "x.parquet")
    with pytest.raises(MissingColumnError, match="found \\['wind'\\]"):
        list(READER.records(tmp_path / "x.parquet"))


@pytest.mark.parametrize("part", [1 / 3, 1 / 2, -1, -8])
def test_a_cut_file_is_never_a_shorter_table(tmp_path: Path, part: float) -> None:
    pq.write_table(events(300), tmp_path / "x.parquet")
    whole = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(whole[: int(part) if part < 0 else int(part * len(whole))])
    with pytest.raises(TruncatedFileError, match="Fetch or write the file again"):
        list(READER.records(tmp_path / "x.parquet"))


def test_a_flipped_byte_in_a_page_with_a_checksum_is_noticed(tmp_path: Path) -> None:
    pq.write_table(events(300), tmp_path / "x.parquet", write_page_checksum=True, compression="none", use_dictionary=False)
    whole = bytearray((tmp_path / "x.parquet").read_bytes())
    whole[1000] ^= 0x40
    (tmp_path / "x.parquet").write_bytes(whole)
    with pytest.raises(UnreadableFileError, match="CRC"):
        list(READER.records(tmp_path / "x.parquet"))


def test_a_struct_that_hides_a_column_of_its_name_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"jet": [{"pt": 1.0}], "jet_pt": [2.0]}), tmp_path / "x.parquet")
    with pytest.raises(UnreadableFileError, match=r"several columns called \['jet_pt'\]"):
        list(READER.records(tmp_path / "x.parquet"))


def test_the_footer_states_the_sizes_that_the_library_states(tmp_path: Path) -> None:
    table = events(100).append_column("text", pa.array(["abc"] * 100)).append_column("flag", pa.array([True] * 100))
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=30)
    with pq.ParquetFile(tmp_path / "x.parquet") as file:
        metadata = file.metadata
        columns = [metadata.row_group(g).column(c) for g in range(4) for c in range(metadata.num_columns)]
        widths = {"DOUBLE": 8, "BOOLEAN": 1, "BYTE_ARRAY": 8}
        expected = [(column.path_in_schema, column.num_values * widths[column.physical_type]
                     + (column.total_uncompressed_size if column.physical_type == "BYTE_ARRAY" else 0), column.total_compressed_size)
                    for column in columns]
    assert [(chunk.column, chunk.decoded, chunk.stored) for chunk in chunk_sizes(tmp_path / "x.parquet")] == expected


def test_mutated_files_raise_typed_errors_only(tmp_path: Path) -> None:
    pq.write_table(events(50), tmp_path / "x.parquet")
    whole = (tmp_path / "x.parquet").read_bytes()
    generator = np.random.default_rng(7)
    for _ in range(150):
        changed = bytearray(whole)
        for at in generator.integers(4, len(whole), 3):
            changed[at] = generator.integers(256)
        (tmp_path / "x.parquet").write_bytes(changed)
        with suppress(GeoembedError):  # any other class would fail the test; damage inside plain numbers may pass
            list(READER.records(tmp_path / "x.parquet"))


def repeated_groups(path: Path, table: pa.Table, times: int) -> None:
    """A file whose footer names one row group again and again: many rows in few bytes, and legal."""
    pq.write_table(table, path, row_group_size=len(table))
    with pq.ParquetFile(path) as file:
        metadata = file.metadata
    once = pq.ParquetFile(path).metadata
    for _ in range(times - 1):
        metadata.append_row_groups(once)
    body = path.read_bytes()
    body = body[: len(body) - 8 - int.from_bytes(body[-8:-4], "little")]
    metadata.write_metadata_file(path)
    path.write_bytes(body + path.read_bytes()[4:])


def test_a_billion_equal_values_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    rows = 1 << 24
    table = pa.table({"mjd": pa.nulls(rows, pa.null()), "mag": pa.nulls(rows, pa.null()), "band": pa.nulls(rows, pa.null())})
    repeated_groups(tmp_path / "x.parquet", table, 60)
    assert (tmp_path / "x.parquet").stat().st_size < 1_000_000
    start = time.process_time()
    with pytest.raises(BudgetError, match=r"a declared size of 1\d.\d GiB; expected at most 2.0 GiB"):
        list(READER.records(tmp_path / "x.parquet"))
    assert time.process_time() - start < 1


def test_one_group_that_claims_more_than_its_bytes_can_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoembed.io.damage.LIMIT", 1 << 20)
    offsets = pa.array([0, 1_000_000], pa.int32())
    pq.write_table(pa.table({name: pa.ListArray.from_arrays(offsets, pa.nulls(1_000_000, pa.float64())) for name in ("pt", "eta", "phi")}),
                   tmp_path / "x.parquet")
    with pytest.raises(BudgetError, match=r"\[pt.list.element\]: found 0.0 GiB declared in \d+ bytes"):
        list(READER.records(tmp_path / "x.parquet"))


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
def test_the_generated_top_and_qcd_jets_are_read_as_they_were_written() -> None:
    path = SHARED / "particles" / "jets_top_qcd.parquet"
    table = pq.read_table(path).slice(0, 1100)
    records = [record for record, _ in zip(READER.records(path), range(1100), strict=False)]
    for row in (0, 17, 1023, 1024, 1099):
        payload = records[row].payload.record.payload  # type: ignore[union-attr]
        assert payload.modality == "jet"
        assert payload.pt.tolist() == table["pt"][row].as_py()
        assert payload.charge.tolist() == table["charge"][row].as_py()
        momentum = np.array([np.sum(payload.pt * np.cos(payload.phi)), np.sum(payload.pt * np.sin(payload.phi))])
        assert np.hypot(*momentum) == pytest.approx(table["jet_pt"][row].as_py(), rel=2e-3)  # angles are rounded to 2⁻¹²
