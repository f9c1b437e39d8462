"""Galaxy images: patch graphs whose pixels and messages have no orientation."""

from __future__ import annotations

from pydantic import PositiveInt

from geoembed.config import config
from geoembed.encoders.grid import GridEncoder
from geoembed.graphs.symmetries import PermutationOfEdges, PermutationOfNodes, QuarterTurnsAndFlips
from geoembed.nn import TurnAveragedEmbedding


@config
class GalaxyConfig:
    """Sizes of :class:`GalaxyMorphologyEncoder`: 64 × 64 pixels in five bands (u, g, r, i, z)."""

    channels: PositiveInt = 5
    patch: PositiveInt = 4
    hidden_dim: PositiveInt = 128
    layers: PositiveInt = 4
    embedding_dim: PositiveInt = 256


class GalaxyMorphologyEncoder(GridEncoder[GalaxyConfig]):
    """Multi-band galaxy images of any size -> [B, 256], invariant to quarter turns and flips.

    The patch network is averaged over the 8 turns and flips of a patch, and messages know the distance alone. The invariance
    is exact where the sides are multiples of the patch; otherwise the unmeasured border sits on other sides after a turn.
    """

    name, modalities = "galaxy", ("galaxy",)
    symmetries = (PermutationOfNodes(), PermutationOfEdges(), QuarterTurnsAndFlips())
    config_class = GalaxyConfig
    patch_embedding = TurnAveragedEmbedding
