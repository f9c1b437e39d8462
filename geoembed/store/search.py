"""Exact search by cosine: the specification that any faster index is measured against.

A score is the dot product of two unit vectors (float32), summed in float64 and rounded to float32. To find the best without summing
all of them so, every row is first scored by one float32 matrix product; only rows that its rounding error could lift among the best
are summed again. So neither the blocks nor the threads nor the other queries of a call change an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Wide = NDArray[np.float64]
Ids = NDArray[np.int64]

_SCORES = 1 << 18  # of a product at once: 1 MiB stays in the cache between the product and the choice
_QUERIES = 1024  # of a product at once; more are several products
_FEW = 4  # so many times k rows a query are summed again without looking for a higher bound first
_STEP = 4096  # rows that are normalized at once
_ULP = 2.0**-24  # relative rounding error of float32


@dataclass(frozen=True)
class Block:
    """Unit rows [n, D], numbered from ``first`` on, or by ``chosen`` [n] (rising).

    Rows whose columns are contiguous (order F, as :func:`unit_rows` makes them) are read at the full rate of the memory: a product
    then adds columns, and the sums of a block stay in the cache.
    """

    rows: Floats
    first: int = 0
    chosen: Ids | None = None

    def numbers(self, places: Ids) -> Ids:
        """Row numbers of some places of the block."""
        return places + self.first if self.chosen is None else self.chosen[places]


@dataclass(frozen=True)
class Hits:
    """Answers of all queries one after the other, each query's in the order of rank: three arrays [H]."""

    query: Ids
    row: Ids
    score: Floats


def top_k(queries: Floats, blocks: Iterable[Floats], k: int) -> list[tuple[Floats, Ids]]:
    """The k rows of largest cosine for each query: queries [Q, D], blocks of rows [n, D] in order -> Q × (scores, row numbers).

    Lengths do not matter. Scores fall, and equal ones are in row order; fewer than k where there are fewer rows.

    >>> rows = np.array([[0, 2], [3, 0], [1, 1]], np.float32)
    >>> [numbers.tolist() for scores, numbers in top_k(rows[1:2], [rows], 2)]
    [[1, 2]]
    """
    hits = best_rows(unit_rows(queries), _numbered(blocks), k)
    ends = np.searchsorted(hits.query, np.arange(len(queries) + 1))
    return [(hits.score[a:b], hits.row[a:b]) for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]


def _numbered(blocks: Iterable[Floats]) -> Iterator[Block]:
    start = 0
    for block in blocks:
        yield Block(unit_rows(block), start)
        start += len(block)


def best_rows(queries: Floats, blocks: Iterable[Block], k: int) -> Hits:
    """The k rows of largest cosine for each query: unit queries [Q, D], blocks in row order. Each block is seen once."""
    groups = [_Best(queries[start : start + _QUERIES], start, k) for start in range(0, len(queries), _QUERIES)]
    for block in blocks:
        for group in groups:
            group.see(block)
    parts = [group.hits for group in groups] or [_NONE]
    return Hits(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("query", "row", "score")))


def unit_rows(rows: Floats) -> Floats:
    """Rows [n, D] scaled to unit length, columns contiguous; a zero row stays zero."""
    unit = np.empty(rows.shape, np.float32, order="F")
    for start in range(0, len(rows), _STEP):
        wide = rows[start : start + _STEP].astype(np.float64)  # the square of any float32 fits, that of 1e-45 too
        norm = np.sqrt(np.einsum("nd,nd->n", wide, wide))
        norm[norm == 0] = 1
        wide /= norm[:, None]
        unit[start : start + _STEP] = wide
    return unit


def scores_of(queries: Floats, rows: Floats) -> Floats:
    """Score of each pair: unit queries [P, D], unit rows [P, D] -> [P]."""
    wide: Wide = np.einsum("pd,pd->p", queries.astype(np.float64), rows.astype(np.float64))
    return np.clip(wide.astype(np.float32), -1, 1)


_NONE = Hits(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


class _Best:
    """The best rows so far of some queries, the first of which is number ``first`` of all."""

    def __init__(self, queries: Floats, first: int, k: int) -> None:
        self.queries, self.first, self.k = np.ascontiguousarray(queries), first, k
        self.hits = _NONE
        # |float32 product − exact| ≤ D ulp for unit vectors in any order of summation; the rest: rounding of a score, lengths of
        # unit vectors that are rounded too, and the clip to 1 that makes ties of them.
        self.slack = (queries.shape[1] + 8) * _ULP
        self.floor = np.full(len(queries), -np.inf, np.float32)  # float32 scores below it cannot be among the k best

    def see(self, block: Block) -> None:
        """Take the rows of the next block into account."""
        step = max(1024, _SCORES // len(self.queries))
        for start in range(0, len(block.rows), step):
            rows = block.rows[start : start + step]
            asked, places = self._reaching(_product(self.queries, rows))
            if len(asked):
                self._add(asked, block.numbers(places + start), _summed(self.queries, rows, asked, places))

    def _reaching(self, scores: Floats) -> tuple[Ids, Ids]:
        """(query, row) of the float32 scores [Q, n] that could be among the k best."""
        asked = np.flatnonzero(scores.max(axis=1) >= self.floor)  # most blocks hold nothing better for most queries
        if not len(asked):
            return asked, asked
        scores, floor = scores if len(asked) == len(scores) else scores[asked], self.floor[asked, None]
        mask = scores >= floor
        n = scores.shape[1]
        if n > self.k and np.count_nonzero(mask) > _FEW * self.k * len(asked):
            best = np.partition(scores, n - self.k, axis=1)[:, n - self.k, None]
            mask = scores >= np.maximum(floor, best - np.float32(2 * self.slack))
        found, places = np.nonzero(mask)
        return asked[found], places

    def _add(self, asked: Ids, rows: Ids, scores: Floats) -> None:
        joined = (np.concatenate([self.hits.query, asked + self.first]), np.concatenate([self.hits.row, rows]),
                  np.concatenate([self.hits.score, scores]))
        order = np.lexsort((joined[1], -joined[2], joined[0]))
        query = joined[0][order]
        rank = np.arange(len(query)) - np.searchsorted(query, query)
        self.hits = Hits(*(column[order][rank < self.k] for column in joined))
        worst = rank[rank < self.k] == self.k - 1  # of each query that has k rows: the bound for those to come
        self.floor[self.hits.query[worst] - self.first] = self.hits.score[worst] - np.float32(self.slack)


def _product(queries: Floats, rows: Floats) -> Floats:
    """Float32 scores [Q, n]; one query is a matrix times a vector, which runs as fast as memory is read."""
    scores: Floats = (rows @ queries[0])[None] if len(queries) == 1 else queries @ rows.T
    return scores


def _summed(queries: Floats, rows: Floats, asked: Ids, places: Ids) -> Floats:
    """Scores of the pairs (query, row)."""
    if 2 * len(asked) > len(rows) + len(queries):  # rows so alike that most are candidates: one product in float64 is cheaper
        wide = queries.astype(np.float64) @ rows.astype(np.float64).T
        return np.clip(wide[asked, places].astype(np.float32), -1, 1)
    return scores_of(queries[asked], rows[places])
