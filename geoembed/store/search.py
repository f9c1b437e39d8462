"""Exact search by cosine: the specification that any faster index has to equal."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def top_k(queries: Floats, blocks: Iterable[Floats], k: int) -> list[tuple[Floats, NDArray[np.int64]]]:
    """The k rows of largest cosine for each query: queries [Q, D], blocks of rows [n, D] in order -> Q × (scores, row numbers).

    Scores fall, and equal ones are in row order; fewer than k where there are fewer rows. One block is held at a time.
    """
    unit = _normalized(queries)
    best = [(np.empty(0, np.float32), np.empty(0, np.int64)) for _ in queries]
    start = 0
    for block in blocks:
        scores = np.clip(unit @ _normalized(block).T, -1, 1)  # [Q, n]
        for q, row in enumerate(scores):
            best[q] = _merge(best[q], row, start, k)
        start += len(block)
    return best


def _normalized(rows: Floats) -> Floats:
    # Scaled in float64 first: the square of an entry of 1e-30 would vanish in float32.
    wide = rows.astype(np.float64)
    scale = np.abs(wide).max(axis=1, keepdims=True, initial=0.0)
    wide = wide / np.where(scale == 0, 1, scale)
    norm = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(norm == 0, 1, norm)).astype(np.float32)


def _merge(
    best: tuple[Floats, NDArray[np.int64]], scores: Floats, start: int, k: int
) -> tuple[Floats, NDArray[np.int64]]:
    if len(scores) > k:  # all rows that reach the k-th largest score: ties are decided by row order, below
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        rows = np.flatnonzero(scores >= least)
    else:
        rows = np.arange(len(scores))
    joined = np.concatenate([best[0], scores[rows]]), np.concatenate([best[1], rows + start])
    order = np.lexsort((joined[1], -joined[0]))[:k]
    return joined[0][order], joined[1][order]
