"""Multi-spectral satellite scenes: patch graphs with missing bands and cloud masks."""

from __future__ import annotations

from pydantic import PositiveInt

from geoembed.config import config
from geoembed.encoders.grid import GridEncoder


@config
class SatelliteConfig:
    """Sizes of :class:`SatelliteImageEncoder`: the 13 bands of Sentinel-2."""

    channels: PositiveInt = 13
    patch: PositiveInt = 8
    hidden_dim: PositiveInt = 128
    layers: PositiveInt = 4
    embedding_dim: PositiveInt = 256


class SatelliteImageEncoder(GridEncoder[SatelliteConfig]):
    """Scenes of 13 bands, of any size -> [B, 256]; a missing band or a clouded pixel is unmeasured and has no influence."""

    name, modalities = "satellite", ("scene",)
    config_class = SatelliteConfig
