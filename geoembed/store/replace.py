"""What makes way in a table when inputs are embedded again: their earlier rows and the lists of what was left out."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geoembed.store.entries import ChunkRows
from geoembed.store.parts import ROW_GROUP, Part, PartWriter, text_name


def earlier(known: Mapping[str, ChunkRows], new: Iterable[ChunkRows]) -> list[ChunkRows]:
    """The chunks of a table that hold earlier states of inputs of ``new``, asked of the same encoder."""
    sources = {(chunk.asked, source) for chunk in new for source in chunk.sources}
    return [chunk for chunk in known.values() if any((chunk.asked, source) in sources for source in chunk.sources)] if sources else []


def parts_without(folder: Path, parts: Sequence[Part], sources: Collection[str], encoders: Collection[str]) -> list[Part]:
    """The parts of a table without the rows that these encoders made of these sources; parts that hold none stay as they are."""
    left = []
    names = {text_name(source) for source in sources}
    for part in parts:
        if part.encoder not in encoders:
            left.append(part)
            continue
        column = pq.read_table(folder / part.file, columns=["source"])["source"].to_pylist()
        keep = np.array([not _of(source, names) for source in column])
        if keep.all():
            left.append(part)
        elif keep.any():
            left.append(_filtered(folder, part, keep))
    return left


def _filtered(folder: Path, part: Part, keep: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Part:
    writer, start = PartWriter(folder, part.encoder, part.weights, part.dim), 0
    for batch in pq.ParquetFile(folder / part.file).iter_batches(ROW_GROUP):
        writer.add_table(pa.Table.from_batches([batch]).filter(pa.array(keep[start : start + len(batch)])))
        start += len(batch)
    return writer.close()


def lines_without(folder: Path, lists: Iterable[str], sources: Collection[str], keys: Collection[str]) -> bytes:
    """The lines of quarantined records of some lists, without those of these sources in these chunks."""
    lines = [line for name in lists for line in (folder / name).read_bytes().splitlines(keepends=True)]
    if not keys:
        return b"".join(lines)
    left = []
    for line in lines:
        values = json.loads(line)
        if values.get("chunk", "") not in keys or not _of(values["source"], sources):
            left.append(line)
    return b"".join(left)


def _of(source: str, sources: Collection[str]) -> bool:
    """Whether a record's source is one of these, or a member of an archive that is (``archive.tar!member``)."""
    return source in sources or any(source[:cut] in sources for cut in _marks(source))


def _marks(source: str) -> list[int]:
    return [place for place, letter in enumerate(source) if letter == "!"]
