"""Where graphs came from, straight from the list of a shard to columns of a table: a row costs no Python object.

One by one, a thousand provenances take longer to parse and to put into columns than a GPU needs for their vectors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from geoembed.schema import Provenance
from geoembed.store.entries import ShardEntry
from geoembed.store.parts import OF_ROWS, _texts, text_name
from geoembed.store.shards import Bounds, Shard

COLUMNS = pa.schema([pa.field(name, pa.string()) for name in OF_ROWS])
_TEXT = r'(?:[^"\\]|\\.)*'
# What ``graph_line`` writes where a graph has all in common with its shard, its notes being scalars: their text is that of the column.
_LINE = (rf'^\{{"order": \d+, "source": "(?P<source>{_TEXT})", "record": "(?P<record>{_TEXT})", '
         rf'"notes": (?P<notes>\{{(?:"{_TEXT}": (?:"{_TEXT}"|[^"{{}}\[\],]+)(?:, )?)*\}})\}}\n?$')


class ListedShard(Shard):
    """A shard that gives the provenance of its graphs as columns, and that several threads may open; ``when_closed`` is called then."""

    def __init__(self, folder: Path, entry: ShardEntry, topologies: Mapping[str, str]) -> None:
        super().__init__(folder, entry, topologies)
        self.when_closed: Callable[[], None] | None = None
        self._lock = RLock()

    def __reduce__(self) -> tuple[object, ...]:
        return ListedShard, (self.folder, self.entry, self.topologies)

    def open(self) -> None:
        """Have the files mapped, read and compared with their checksums."""
        with self._lock:
            _ = self._opened, self._list

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Flat arrays by name, as those of any shard."""
        with self._lock:
            return super().tensors

    def close(self) -> None:
        """Forget what is open; tensors that were handed out stay valid."""
        super().close()
        if self.when_closed is not None:
            self.when_closed()

    def columns(self, low: int, high: int) -> pa.Table:
        """The texts of graphs ``low`` … ``high - 1`` as a table keeps them: :data:`COLUMNS`."""
        with self._lock:
            held = self._list
        if len(held.lines) != self.entry.graphs:  # runs of records, of which few lines stand for many
            return self._of_runs(low, high)
        lines = _lines(held.text, held.lines[low:high])
        found = pc.extract_regex(lines, _LINE)
        if found.null_count:  # something that only a parser can tell
            return columns_of(self.provenance(low, high))
        source, record, notes = (pc.struct_field(found, name) for name in ("source", "record", "notes"))
        return self._table(_plain(source), _plain(record), notes)

    def _table(self, source: pa.Array, record: pa.Array, notes: pa.Array) -> pa.Table:
        common = (pa.array([self._opened[1]["common"][name]] * len(record), pa.string()) for name in ("kind", "modality"))
        return pa.table([source, record, *common, notes], schema=COLUMNS)

    def _of_runs(self, low: int, high: int) -> pa.Table:
        held, tables = self._list, []
        first = int(np.searchsorted(held.starts, low, side="right")) - 1
        for number in range(max(first, 0), int(np.searchsorted(held.starts[:-1], high))):
            before, after = int(held.starts[number]), int(held.starts[number + 1])
            start, stop = max(low, before), min(high, after)
            line = self._line(number)
            if "records" not in line or {"kind", "modality"} & set(line):
                tables.append(columns_of(self.provenance(start, stop)))
            else:
                tables.append(self._of_run(line, start - before, stop - before))
        return pa.concat_tables(tables)

    def _of_run(self, line: Any, low: int, high: int) -> pa.Table:
        numbers = pc.cast(pa.array(np.arange(line["first"] + low, line["first"] + high)), pa.string())
        record = pc.binary_join_element_wise(text_name(line["prefix"]), numbers, "")
        source = pa.array([text_name(line["source"])] * (high - low), pa.string())
        names = list(line["counts"])
        counts = np.array([line["counts"][name][low:high] for name in names], np.int64).reshape(len(names), high - low)
        kinds, which = np.unique(counts, axis=1, return_inverse=True)
        texts = [json.dumps(line["notes"] | {name: count for name, count in zip(names, kind, strict=True) if count})
                 for kind in kinds.T.tolist()]
        return self._table(source, record, pa.array(texts, pa.string()).take(pa.array(which.reshape(-1))))


def columns_of(provenance: Sequence[Provenance]) -> pa.Table:
    """The texts of some provenances as columns: :data:`COLUMNS`."""
    texts = _texts(provenance)
    return pa.table([pa.array(texts[name], pa.string()) for name in OF_ROWS], schema=COLUMNS)


def _lines(text: bytes, bounds: Bounds) -> pa.StringArray:
    """Lines of a list by their bounds [n, 2]; copied only where others lie between them."""
    if not (bounds[1:, 0] == bounds[:-1, 1] + 1).all():
        return pa.array([text[low:high] for low, high in bounds.tolist()], pa.string())
    first, last = int(bounds[0, 0]), int(bounds[-1, 1])
    offsets = np.append(bounds[:, 0], last) - first  # the newline stays at the end of a line
    data = pa.py_buffer(memoryview(text)[first:last])
    return pa.StringArray.from_buffers(len(bounds), pa.py_buffer(offsets.astype(np.int32)), data)


def _plain(texts: pa.StringArray) -> pa.StringArray:
    """Strings of JSON as what they say; few are written with a backslash, and then many rows in one way."""
    if not pc.any(pc.match_substring(texts, "\\")).as_py():
        return texts
    coded = texts.dictionary_encode()
    said = [text_name(json.loads(f'"{text}"')) for text in coded.dictionary.to_pylist()]
    return pa.array(said, pa.string()).take(coded.indices)
