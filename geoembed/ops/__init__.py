"""Arithmetic on tensors: reductions over segments, neighbors, periodic search. Knows no graph object.

Torch is the specification; :mod:`geoembed.ops.backends` says what else may run and proves that it agrees.
"""

from geoembed.ops import scatter_backend as scatter_backend  # registers itself
from geoembed.ops.angles import angle_between, angle_pairs, edge_vectors
from geoembed.ops.cell_list import cell_list_neighbors
from geoembed.ops.crystals import Crystals, Neighbors, complete_cell, one_crystal, sort_pairs, unwrap_pairs, wrap_sites
from geoembed.ops.distance import squared_distance, wrap
from geoembed.ops.fused_pairs import fused_periodic_neighbors
from geoembed.ops.gated_conv import gated_sum
from geoembed.ops.knn import knn
from geoembed.ops.neighbors import edges_from_table, gather_neighbors, sort_by_target, table_from_edges
from geoembed.ops.padding import padded_index, size_buckets
from geoembed.ops.periodic import batched_neighbors, periodic_neighbors, periodic_neighbors_torch
from geoembed.ops.pruning import Budgeted, components, components_of_each, mutual, within_budget
from geoembed.ops.radius import full_edges, radius_edges
from geoembed.ops.ragged import ragged_rows
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
from geoembed.ops.shells import TIE, kth_distance, nearest_shells, shell_complete
from geoembed.ops.softmax import segment_softmax

__all__ = [
    "TIE", "Budgeted", "Crystals", "Neighbors", "angle_between", "angle_pairs", "batched_neighbors", "cell_list_neighbors", "complete_cell",
    "components", "components_of_each", "edge_vectors", "edges_from_table", "full_edges", "fused_periodic_neighbors", "gated_sum",
    "gather_neighbors", "knn", "kth_distance", "mutual", "nearest_shells", "one_crystal", "padded_index", "periodic_neighbors",
    "periodic_neighbors_torch", "ptr_from_sorted", "radius_edges", "ragged_rows", "scatter_sum", "segment_argmax", "segment_ids",
    "segment_logsumexp", "segment_max", "segment_mean", "segment_softmax", "segment_sum", "shell_complete", "size_buckets",
    "sort_by_target", "sort_pairs", "squared_distance", "table_from_edges", "unwrap_pairs", "within_budget", "wrap", "wrap_sites",
]
