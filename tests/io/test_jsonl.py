"""JSON lines: a line is a row, a broken line costs itself, keys stay unique, and lists of objects are lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from geoembed.errors import BudgetError, EmptyGraphError, MissingColumnError, TruncatedFileError, UnreadableFileError
from geoembed.io import jsonl
from geoembed.io.jsonl import Jsonl
from geoembed.io.reader import stream
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Graph

READER = Jsonl()


def event(number: int) -> dict[str, Any]:
    return {"pt": [1.0 + number, 1.0], "eta": [0.5, -0.5], "phi": [0.0, 1.0], "id": "same"}


def write(path: Path, *lines: object, end: str = "\n") -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + end, "utf-8")
    return path


def pt_of(record: Record | BadRecord) -> float:
    assert isinstance(record, Record)
    return float(record.payload.record.payload.pt[0])


def test_lines_are_known_by_suffix_and_a_first_object() -> None:
    assert READER.can_open(b'\xef\xbb\xbf {"a": 1}\n', "x.jsonl")
    assert READER.can_open(b'{"cif": "data_', "x.ndjson")
    assert not READER.can_open(b'[{"a": 1}]', "x.jsonl")
    assert not READER.can_open(b'{"a": 1}', "x.json")


def test_rows_keep_their_order_and_number_across_blocks(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", *(event(number) for number in range(2500)))
    records = list(READER.records(path))
    assert [record.key for record in records] == [str(number) for number in range(2500)]
    assert [pt_of(record) for record in records] == [1.0 + number for number in range(2500)]


def test_a_broken_line_is_left_out_with_its_number_and_the_rest_goes_on_in_order(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", event(0), '{"pt": [1.0', event(2), "", "[1, 2]", event(5))
    records = list(READER.records(path))
    assert [record.key for record in records] == ["0", "1", "2", "4", "5"]
    assert [pt_of(records[i]) for i in (0, 2, 4)] == [1.0, 3.0, 6.0]
    for index, line, found in ((1, 2, "Expecting"), (3, 5, "found list")):
        bad = records[index]
        assert isinstance(bad, BadRecord)
        with pytest.raises(UnreadableFileError, match=rf"x\.jsonl \[line {line}\].*{found}"):
            raise bad.error


def test_a_last_line_that_breaks_off_is_named_as_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", event(0), '{"pt": [1.0, 2.', end="")
    _, bad = READER.records(path)
    assert isinstance(bad, BadRecord)
    with pytest.raises(TruncatedFileError, match=r"a last line that breaks off.*Fetch the file again"):
        raise bad.error


def test_a_last_line_without_a_line_end_is_whole_if_its_object_is(tmp_path: Path) -> None:
    assert len(list(READER.records(write(tmp_path / "x.jsonl", event(0), event(1), end="")))) == 2


def test_a_key_that_stands_twice_in_an_object_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", event(0), '{"pt": [1], "pt": [2], "eta": [0], "phi": [0]}')
    _, bad = READER.records(path)
    assert isinstance(bad, BadRecord)
    with pytest.raises(UnreadableFileError, match="a key that stands twice"):
        raise bad.error


def test_a_row_that_lacks_a_column_costs_itself_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "BLOCK", 2)
    path = write(tmp_path / "x.jsonl", event(0), event(1), {"eta": [0.0], "phi": [0.0]}, "{bad", {"name": "x"}, event(5))
    records = list(READER.records(path))
    assert [type(record) for record in records] == [Record, Record, BadRecord, BadRecord, BadRecord, Record]


def test_a_list_of_objects_is_read_as_lists(tmp_path: Path) -> None:
    particles = [{"pt": 3.0, "eta": 0.1, "phi": 0.2, "pid": 211}, {"pt": 1.0, "eta": -0.1, "phi": 0.3, "pid": 22}]
    (record,) = READER.records(write(tmp_path / "x.jsonl", {"run": 1, "particles": particles}))
    assert isinstance(record, Record)
    assert record.payload.record.payload.pt.tolist() == [3.0, 1.0]
    assert record.payload.record.payload.particle_id.tolist() == [6.0, 5.0]


def test_rows_that_repeat_a_name_get_keys_of_their_own(tmp_path: Path) -> None:
    graphs = list(stream(write(tmp_path / "x.jsonl", event(0), event(1), event(2))))
    assert all(isinstance(graph, Graph) for graph in graphs)
    assert len({graph.record for graph in graphs if isinstance(graph, Graph)}) == 3


@pytest.mark.parametrize("text", ["\n\n\n", "[1]\n", "{bad\n"])
def test_a_file_without_an_object_is_an_error_and_not_zero_records(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(EmptyGraphError, match="one JSON object a line"):
        list(READER.records(tmp_path / "x.jsonl"))


def test_objects_of_something_else_name_their_keys(tmp_path: Path) -> None:
    with pytest.raises(MissingColumnError, match=r"\['wind'\]"):
        list(READER.records(write(tmp_path / "x.jsonl", {"wind": 1})))


def test_a_line_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "LONGEST", 1000)
    path = write(tmp_path / "x.jsonl", event(0), '{"x": "' + "a" * 2000)
    with pytest.raises(BudgetError, match=r"\[line 2\]: found a line without an end"):
        list(READER.records(path))


@pytest.mark.parametrize("hostile", ["[" * 100_000, '{"a":' * 100_000, '{"a": ' + "9" * 5000 + "}", '{"a": "\\ud800"}', "\x00", "nul"])
def test_hostile_lines_cost_themselves(tmp_path: Path, hostile: str) -> None:
    records = list(READER.records(write(tmp_path / "x.jsonl", event(0), hostile, event(2))))
    assert [type(record) for record in (records[0], records[-1])] == [Record, Record]
    assert isinstance(records[1], BadRecord)
