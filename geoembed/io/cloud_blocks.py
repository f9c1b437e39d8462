"""Rows of particles as blocks: runs of consecutive good rows as flat arrays, every other row as a record of its own.

A record that is not plainly good goes the way of :meth:`Reader.records`, so it is refused with the same words, and the blocks
hold the same graphs and notes as records would give one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch

from geoembed.graphs.blocks import Block
from geoembed.graphs.clouds import Bools, Clouds, per_event
from geoembed.io.kinematics import FloatArray, IntArray, prepare
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Scalar

_NO_ERRORS: Mapping[int, Exception] = {}
_NO_NOTES: Mapping[str, Scalar] = {}


def row_blocks(
    columns: Mapping[str, FloatArray], counts: IntArray, modality: str, start: int, errors: Mapping[int, Exception] = _NO_ERRORS,
    prefix: str = "", remark: Mapping[str, Scalar] = _NO_NOTES, labels: FloatArray | None = None,
) -> Iterator[Block | Record | BadRecord]:
    """Blocks and records of consecutive rows, in order.

    Args:
        columns, counts, modality: as of :func:`geoembed.io.kinematics.prepare`; of the rows without an error.
        start: number of the first row; keys are ``prefix`` and the number of the row.
        errors: why a row, counted from 0, has no particles.
        remark: notes of every row.
        labels: targets of each event [B, T].
    """
    slim, padding = _without_zeros(columns, counts)
    made = prepare(slim, counts if padding is None else counts - padding, modality).clouds()
    prepared = None
    if made.suspect.any():  # its record counts its rows of zeros, and so does the reason why it is refused
        prepared = prepare(columns, counts, modality)
        if padding is not None:
            made, padding = prepared.clouds(), None
    if padding is not None and padding.any():
        made = _noted(made, padding)
    names = made.block.names
    block = made.block.named(prefix=prefix, notes={**names.notes, **remark})
    if labels is not None:
        block = replace(block, fields={**block.fields, "y": torch.from_numpy(labels).float()})
    rows = np.delete(np.arange(len(counts) + len(errors)), list(errors))  # row of each event
    for low, high in _runs(made.suspect, rows, errors):
        row = low if low in errors else None
        event = int(np.searchsorted(rows, low))
        key = f"{prefix}{start + low}"
        if row is not None:
            yield BadRecord(key, errors[row])
        elif made.suspect[event] and prepared is not None:
            payload, notes = prepared.event(event)
            yield Record(key, payload if labels is None else replace(payload, labels=labels[event]), {**remark, **notes})
        else:
            part = block.cut(event, event + high - low)
            yield part.named(first=start + low)


def _runs(suspect: Bools, rows: IntArray, errors: Mapping[int, Exception]) -> Iterator[tuple[int, int]]:
    """Bounds of what becomes one item, in rows: each row that is alone, and each run of the others between them."""
    total = len(rows) + len(errors)
    low = 0
    for row in sorted([*errors, *rows[suspect].tolist()]):
        if row > low:
            yield low, row
        yield row, row + 1
        low = row + 1
    if low < total:
        yield low, total


def _without_zeros(columns: Mapping[str, FloatArray], counts: IntArray) -> tuple[Mapping[str, FloatArray], IntArray | None]:
    """Columns without the rows that are 0 in each of them, and how many of those each event had; None where there was none.

    The builder drops such rows in the end; dropping them first spares the work on a table that is padded to 200 particles.
    """
    first, *others = columns.values()
    zero = np.flatnonzero(first == 0)
    if "valid" in columns or len(zero) < len(first) // 8:
        return columns, None
    for column in others:
        zero = zero[column[zero] == 0]
    padding = np.zeros(len(first), np.bool_)
    padding[zero] = True
    keep = np.flatnonzero(~padding)
    if not len(keep):  # what the columns mean is read off their values, and zeros are values
        return columns, None
    return {name: column[keep] for name, column in columns.items()}, per_event(padding, counts)


def _noted(made: Clouds, padding: IntArray) -> Clouds:
    counts = dict(made.block.names.counts)
    counts["padding_dropped"] = counts.get("padding_dropped", np.zeros_like(padding)) + padding
    return replace(made, block=made.block.named(counts=counts))
