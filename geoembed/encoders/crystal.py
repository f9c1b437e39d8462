"""Crystals: gated convolutions over shell-complete periodic neighbors (after Xie & Grossman 2018, CGCNN)."""

from __future__ import annotations

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from geoembed.config import config
from geoembed.encoders.base import Encoder
from geoembed.graphs.crystal import MAX_Z
from geoembed.graphs.symmetries import (
    ChoiceOfCell,
    PermutationOfEdges,
    PermutationOfNodes,
    Rotation,
    Supercell,
    Translation,
)
from geoembed.graphs.tensors import check_shapes, crystal_batch
from geoembed.nn import CrystalGraphStack, RadialBasis, mlp, weighted_mean
from geoembed.ops import ptr_from_sorted, segment_sum
from geoembed.schema import GraphBatch


@config
class CrystalGraphConfig:
    """Sizes of :class:`CrystalGraphEncoder`."""

    bond_features: PositiveInt = 10
    """Width of the distance basis, or of ready-made edge features."""
    cutoff: PositiveFloat = 8.0
    """Å; end of the distance basis."""
    hidden_dim: PositiveInt = 256
    layers: PositiveInt = 4
    embedding_dim: PositiveInt = 128


class CrystalGraphEncoder(Encoder[CrystalGraphConfig]):
    """Crystals as token (Z), edges and distances -> [B, 128]; a disordered site is the occupancy-weighted sum of its species.

    Invariant to rotation, translation, permutation, supercell and choice of cell: it reads distances and shells only, and
    pools by the mean. Ready-made edge features of ``bond_features`` columns skip the distance basis.
    """

    name, kind, modalities = "crystal", "crystal", ("crystal",)
    needs = frozenset({"token", "token_node", "token_weight", "weight", "edge_index", "edge_attr"})
    vocabulary = ((1, MAX_Z),)
    symmetries = (PermutationOfNodes(), PermutationOfEdges(), Rotation(), Translation(), Supercell(), ChoiceOfCell())
    config_class = CrystalGraphConfig

    def __init__(self, config: CrystalGraphConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        self.atom_embed = nn.Embedding(MAX_Z, c.hidden_dim)
        self.basis = RadialBasis(0.0, c.cutoff, c.bond_features)
        self.edge_embed = nn.Linear(c.bond_features, c.hidden_dim)
        self.convs = CrystalGraphStack(c.hidden_dim, c.layers)
        self.readout = mlp(c.hidden_dim, c.hidden_dim, c.embedding_dim)

    def embed(self, batch: GraphBatch) -> Tensor:
        nodes = batch.weight.shape[0]
        species = self.atom_embed(batch.token[:, 0] - 1) * batch.token_weight.to(self.dtype).unsqueeze(-1)
        x = segment_sum(species, ptr_from_sorted(batch.token_node, nodes))  # [N, H]
        attr = batch.edge_attr.to(self.dtype)
        features = attr if attr.shape[1] == self.config.bond_features else self.basis(attr[:, :1])
        x, u = self.convs(x, batch.edge_index, features, ptr_from_sorted(batch.edge_index[1], nodes), self.edge_embed)
        # The last map of a node is linear: it waits for the mean. That of ones is 0 where there is nothing to average.
        means = (weighted_mean(rows, batch.ptr, batch.weight) for rows in (x, u, x.new_ones(nodes, 1)))
        pooled: Tensor = self.readout(self.convs.outer(*means))
        return pooled

    def from_tensors(self, *tensors: Tensor) -> GraphBatch:
        """(atomic numbers [N], edge_index [2, E], edge features [E, G], graph of each atom [N]) -> batch."""
        check_shapes(self.name, tensors, "N", "2 E", "E G", "N")
        numbers, edge_index, edge_attr, batch = tensors
        return crystal_batch(numbers, edge_index, edge_attr, batch)
