"""Arithmetic on tensors: reductions over segments, neighbors, periodic search. Knows no graph object.

Torch is the specification; :mod:`geoembed.ops.backends` says what else may run and proves that it agrees.
"""

from geoembed.ops import scatter_backend as scatter_backend  # registers itself
from geoembed.ops.gated_conv import gated_sum
from geoembed.ops.knn import knn, squared_distance, wrap
from geoembed.ops.neighbors import edges_from_table, gather_neighbors, sort_by_target, table_from_edges
from geoembed.ops.padding import padded_index, size_buckets
from geoembed.ops.periodic import Neighbors, complete_cell, periodic_neighbors, periodic_neighbors_torch, shell_complete
from geoembed.ops.segment import (
    ptr_from_sorted,
    scatter_sum,
    segment_argmax,
    segment_ids,
    segment_logsumexp,
    segment_max,
    segment_mean,
    segment_sum,
)
from geoembed.ops.softmax import segment_softmax

__all__ = [
    "Neighbors", "complete_cell", "edges_from_table", "gated_sum", "gather_neighbors", "knn", "padded_index", "periodic_neighbors",
    "periodic_neighbors_torch", "ptr_from_sorted", "scatter_sum", "segment_argmax", "segment_ids", "segment_logsumexp",
    "segment_max", "segment_mean", "segment_softmax", "segment_sum", "shell_complete", "size_buckets", "sort_by_target",
    "squared_distance", "table_from_edges", "wrap",
]
