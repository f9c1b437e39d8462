"""Layers shared by the encoders: ``[..., N, F]`` in and out, parameters here, algorithms in :mod:`geoembed.ops`."""

from geoembed.nn.attention import BiasedAttentionBlock
from geoembed.nn.basis import PositionBasis, RadialBasis, StepBasis
from geoembed.nn.cgconv import CGConv
from geoembed.nn.chain_network import ChainNetwork
from geoembed.nn.edge_conv import EdgeConv, FoldedEdgeConv
from geoembed.nn.gated_conv import CrystalGraphConv
from geoembed.nn.gated_stack import CrystalGraphStack
from geoembed.nn.interaction import InteractionNetwork
from geoembed.nn.jet_features import JetFeatures, signed_log
from geoembed.nn.mlp import mlp
from geoembed.nn.neighbor_conv import NeighborConv
from geoembed.nn.norm import Standardize, safe_norm, unit_length
from geoembed.nn.patch_network import PatchEmbedding, PatchNetwork, TurnAveragedEmbedding
from geoembed.nn.pooling import AttentionPooling, weighted_mean

__all__ = [
    "AttentionPooling", "BiasedAttentionBlock", "CGConv", "ChainNetwork", "CrystalGraphConv", "CrystalGraphStack", "EdgeConv",
    "FoldedEdgeConv", "InteractionNetwork", "JetFeatures",
    "NeighborConv", "PatchEmbedding", "PatchNetwork", "PositionBasis", "RadialBasis", "Standardize", "StepBasis",
    "TurnAveragedEmbedding", "mlp",
    "safe_norm", "signed_log", "unit_length", "weighted_mean",
]
