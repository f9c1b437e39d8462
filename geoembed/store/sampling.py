"""In which order a loader visits graphs, and where one batch ends and the next begins."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoembed.errors import ValueRangeError
from geoembed.store.pieces import Budget

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def balanced(labels: ArrayLike) -> Floats:
    """Weights [G] with which every label is drawn equally often: labels [G] of any kind -> 1 / (graphs of that label).

    >>> balanced(["a", "a", "b"]).tolist()
    [0.5, 0.5, 1.0]
    """
    _, label, count = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    return 1.0 / count[label]


def drawn(weights: Floats, number: int, rng: np.random.Generator) -> Ints:
    """``number`` graphs, with repeats, each with a probability in proportion to its weight."""
    ends = weights.cumsum()
    found: Ints = np.searchsorted(ends, rng.random(number) * ends[-1], side="right").clip(max=len(weights) - 1)
    return found


def grouped(order: Ints, labels: Ints) -> Ints:
    """The same graphs, those of one label together, in the order in which a label is first met: labels [G] by graph number."""
    _, first, label = np.unique(labels[order], return_index=True, return_inverse=True)
    return order[np.argsort(first[label], kind="stable")]


def check_weights(values: ArrayLike, graphs: int) -> Floats:
    """Weights [G] as float64; :class:`ValueRangeError` unless there is one a graph, none is negative, and some are not 0."""
    weights = np.asarray(values, np.float64)
    good = weights.shape == (graphs,) and bool(np.isfinite(weights).all()) and bool((weights >= 0).all()) and bool(weights.any())
    if not good:
        raise ValueRangeError(where="Loader, weights", found=f"{list(weights.shape)} numbers, sum {weights.sum():g}",
                              expected=f"{graphs} finite numbers, none negative, not all 0", remedy="Give one weight a graph.")
    return weights


def check_labels(values: ArrayLike, graphs: int) -> Ints:
    """Labels [G] as numbers; :class:`ValueRangeError` unless there is one a graph."""
    labels = np.asarray(values)
    if labels.shape != (graphs,):
        raise ValueRangeError(where="Loader, groups", found=f"labels {list(labels.shape)}", expected=f"[{graphs}]",
                              remedy="Give one label a graph.")
    number: Ints = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    return number


def ends_of(counts: Mapping[str, Ints], budget: Budget, labels: Ints | None = None) -> Ints:
    """Ends [number of batches] of batches of consecutive graphs: ``counts`` has the nodes and edges [M] of each, in order.

    A batch is filled up to its three limits; a graph that is larger makes one of its own. With ``labels`` [M], those of one label
    that follow each other stay together unless they alone are too many.
    """
    graphs = len(counts["node"])
    limits = {"node": budget.nodes, "edge": budget.edges}
    sums = [(np.concatenate([[0], counts[level].cumsum()]), limit) for level, limit in limits.items() if counts[level].sum() > limit]
    last = None if labels is None else np.concatenate([np.flatnonzero(np.diff(labels)) + 1, [graphs]])
    ends, low = list[int](), 0
    while low < graphs:
        reach = [int(np.searchsorted(held, held[low] + limit, side="right")) - 1 for held, limit in sums]
        high = min(graphs, low + budget.graphs, *reach)
        if last is not None and high < graphs:
            whole = int(np.searchsorted(last, high, side="right"))  # groups that end at or before ``high``
            if whole and last[whole - 1] > low:
                high = int(last[whole - 1])
        low = max(high, low + 1)
        ends.append(low)
    return np.array(ends, np.int64)
