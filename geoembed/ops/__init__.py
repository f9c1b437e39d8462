"""Arithmetic on tensors: reductions over segments, neighbors, periodic search. Knows no graph object.

Torch is the specification; :mod:`geoembed.ops.backends` says what else may run and proves that it agrees.
"""

from geoembed.ops import scatter_backend as scatter_backend  # registers itself
from geoembed.ops.angles import angle_between, angle_pairs, edge_vectors
from geoembed.ops.cell_list import cell_list_neighbors
from geoembed.ops.cgconv import GateWeights, cgconv
from geoembed.ops.crystals import Crystals, Neighbors, complete_cell, one_crystal, sort_pairs, unwrap_pairs, wrap_sites
from geoembed.ops.distance import squared_distance, wrap
from geoembed.ops.edgeconv import FoldedWeights, NormedWeights
from geoembed.ops.fused_cgconv import fused_cgconv
from geoembed.ops.fused_edgeconv import folded_edge_conv, normed_edge_conv
from geoembed.ops.fused_gated import serves as gated_serves
from geoembed.ops.fused_layers import LayerWeights, ReadyLayer, gated_layers, ready_layer
from geoembed.ops.fused_pairs import fused_periodic_neighbors
from geoembed.ops.gated_conv import gated_sum
from geoembed.ops.gated_launch import tiles_fit
from geoembed.ops.gated_plan import EdgePlan, plan_edges
from geoembed.ops.knn import knn
from geoembed.ops.neighbors import edges_from_table, gather_neighbors, sort_by_target, table_from_edges
from geoembed.ops.padding import padded_index, size_buckets, slot_of_rows
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
    "TIE",
    "Budgeted",
    "Crystals",
    "EdgePlan",
    "FoldedWeights",
    "GateWeights",
    "LayerWeights",
    "Neighbors",
    "NormedWeights",
    "ReadyLayer",
    "angle_between",
    "angle_pairs",
    "batched_neighbors",
    "cell_list_neighbors",
    "cgconv",
    "complete_cell",
    "components",
    "components_of_each",
    "edge_vectors",
    "edges_from_table",
    "folded_edge_conv",
    "full_edges",
    "fused_cgconv",
    "fused_periodic_neighbors",
    "gated_layers",
    "gated_serves",
    "gated_sum",
    "gather_neighbors",
    "knn",
    "kth_distance",
    "mutual",
    "nearest_shells",
    "normed_edge_conv",
    "one_crystal",
    "padded_index",
    "periodic_neighbors",
    "periodic_neighbors_torch",
    "plan_edges",
    "ptr_from_sorted",
    "radius_edges",
    "ragged_rows",
    "ready_layer",
    "scatter_sum",
    "segment_argmax",
    "segment_ids",
    "segment_logsumexp",
    "segment_max",
    "segment_mean",
    "segment_softmax",
    "segment_sum",
    "shell_complete",
    "size_buckets",
    "slot_of_rows",
    "sort_by_target",
    "sort_pairs",
    "squared_distance",
    "table_from_edges",
    "tiles_fit",
    "unwrap_pairs",
    "within_budget",
    "wrap",
    "wrap_sites",
]
