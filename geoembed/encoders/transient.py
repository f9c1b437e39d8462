"""Light curves of transients and variable stars: gated convolutions over time steps of any length, attention pooling."""

from __future__ import annotations

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from geoembed.config import config
from geoembed.encoders.base import Encoder
from geoembed.graphs.passbands import VOCABULARY
from geoembed.graphs.symmetries import PermutationOfEdges, PermutationOfNodes, ShiftOfOrigin
from geoembed.graphs.tensors import check_shapes, light_curve_batch
from geoembed.nn import AttentionPooling, ChainNetwork, Standardize, StepBasis, mlp
from geoembed.ops import ptr_from_sorted, segment_ids, segment_max
from geoembed.schema import GraphBatch


@config
class TransientConfig:
    """Sizes of :class:`TransientLightCurveEncoder`."""

    hidden_dim: PositiveInt = 128
    layers: PositiveInt = 4
    heads: PositiveInt = 4
    shortest: PositiveFloat = 0.02
    """Days (half an hour): shortest time scale of the step basis."""
    longest: PositiveFloat = 200.0
    """Days: longest time scale of the step basis."""
    embedding_dim: PositiveInt = 256


class TransientLightCurveEncoder(Encoder[TransientConfig]):
    """(time, magnitude, error) with passbands, irregular, of any length -> [B, 256].

    Invariant to the time origin: it reads time steps and the age since the first sample, in float64 before the basis.
    """

    name, kind, modalities = "transient", "chain", ("light_curve",)
    needs = frozenset({"x", "measured", "mask", "token", "pos", "edge_index", "edge_attr"})
    vocabulary = ((0, VOCABULARY - 1),)
    symmetries = (PermutationOfNodes(), PermutationOfEdges(), ShiftOfOrigin())
    config_class = TransientConfig

    def __init__(self, config: TransientConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        self.norm = Standardize(2)
        self.age = StepBasis(c.shortest, c.longest)
        self.sample_embed = mlp(4 + self.age.width, c.hidden_dim, c.hidden_dim)
        self.band_embed = nn.Embedding(VOCABULARY, c.hidden_dim)
        self.network = ChainNetwork(c.hidden_dim, c.layers, StepBasis(c.shortest, c.longest))
        self.pool = AttentionPooling(c.hidden_dim, c.heads)
        self.readout = mlp(c.hidden_dim, c.hidden_dim, c.embedding_dim)

    @property
    def features(self) -> int:
        return 2

    def embed(self, batch: GraphBatch) -> Tensor:
        measured = batch.measured & batch.mask.unsqueeze(-1)
        values = self.norm(batch.x, measured).to(self.dtype)
        first = -segment_max(-batch.pos, batch.ptr)  # time of the first sample of each graph [B, 1]
        age = (batch.pos - first[segment_ids(batch.ptr, len(batch.pos))]).to(self.dtype)
        x = self.sample_embed(torch.cat([values, measured.to(self.dtype), self.age(age)], -1)) + self.band_embed(batch.token[:, 0])
        x = self.network(x, batch.edge_index, batch.edge_attr.to(self.dtype), ptr_from_sorted(batch.edge_index[1], x.shape[0]))
        pooled: Tensor = self.readout(self.pool(x, batch.ptr, batch.mask))
        return pooled

    def from_tensors(self, *tensors: Tensor) -> GraphBatch:
        """(times, magnitudes, errors), each [B, T], NaN where there is no sample, and optionally passband tokens [B, T] -> batch."""
        check_shapes(self.name, tensors, *["B T"] * 4, optional=1)
        return light_curve_batch(*tensors)
