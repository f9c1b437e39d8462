"""Jets: EdgeConv on neighbors that are found anew at every layer (after Qu & Gouskos 2020, ParticleNet)."""

from __future__ import annotations

from itertools import pairwise

from pydantic import PositiveInt
from torch import Tensor, nn

from geoembed.config import config
from geoembed.encoders.base import Encoder
from geoembed.graphs.symmetries import PermutationOfEdges, PermutationOfNodes, ShiftOfPhi
from geoembed.graphs.tensors import check_shapes, jet_batch
from geoembed.nn import EdgeConv, JetFeatures, mlp
from geoembed.ops import knn, segment_mean
from geoembed.schema import GraphBatch

TWO_PI = 6.283185307179586


@config
class JetConfig:
    """Sizes of :class:`JetEncoder`; widths and k as in ParticleNet."""

    features: PositiveInt = 7
    """Of a constituent."""
    k: PositiveInt = 16
    widths: tuple[PositiveInt, ...] = (64, 128, 256)
    embedding_dim: PositiveInt = 128


class JetEncoder(Encoder[JetConfig]):
    """A jet as the unordered set of its constituents: kinematics [N, 4], or 7 ready features [N, 7], with pos = (eta, phi) -> [B, 128].

    Invariant to the order of constituents and to a common shift of phi.
    """

    name, kind, modalities = "jet", "cloud", ("jet",)
    needs = frozenset({"x", "pos"})
    symmetries = (PermutationOfNodes(), PermutationOfEdges(), ShiftOfPhi())
    config_class = JetConfig

    def __init__(self, config: JetConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        self.constituents = JetFeatures(c.features)
        self.convs = nn.ModuleList(EdgeConv(a, b) for a, b in pairwise((c.features, *c.widths)))
        self.readout = mlp(c.widths[-1], c.widths[-1], c.embedding_dim)

    def embed(self, batch: GraphBatch) -> Tensor:
        k, ptr = self.config.k, batch.ptr
        x = self.constituents(batch.x, ptr).to(self.dtype)
        x = self.convs[0](x, knn(batch.pos, ptr, k, period=(None, TWO_PI)))  # [N, H], neighbors on the detector
        for conv in list(self.convs)[1:]:
            x = conv(x, knn(x, ptr, k))  # neighbors in feature space
        pooled: Tensor = self.readout(segment_mean(x, ptr))
        return pooled

    def from_tensors(self, *tensors: Tensor) -> GraphBatch:
        """(constituents [B, n, 7], rows of zeros = padding, first two columns (Δeta, Δphi), and optionally mask [B, n]) -> batch."""
        check_shapes(self.name, tensors, "B n F", "B n", optional=1)
        constituents, *mask = tensors
        return jet_batch(constituents, mask[0] if mask else None)
