"""Animal sounds: patch graphs of log-mel spectrograms."""

from __future__ import annotations

from pydantic import PositiveInt
from torch import Tensor

from geoembed.config import config
from geoembed.encoders.grid import GridEncoder
from geoembed.graphs.tensors import check_shapes
from geoembed.schema import GraphBatch


@config
class BioacousticConfig:
    """Sizes of :class:`BioacousticEncoder`: 128 mel bins × 200 frames (3 s) in patches of 8."""

    channels: PositiveInt = 1
    patch: PositiveInt = 8
    hidden_dim: PositiveInt = 128
    layers: PositiveInt = 4
    embedding_dim: PositiveInt = 256


class BioacousticEncoder(GridEncoder[BioacousticConfig]):
    """Log-mel spectrograms [128 bins, T frames] of windows of any length -> [B, 256]; the padded tail of a recording is unmeasured."""

    name, modalities = "bioacoustic", ("spectrogram",)
    config_class = BioacousticConfig

    def from_tensors(self, *tensors: Tensor) -> GraphBatch:
        """(spectrograms [B, 128, T], and optionally mask [B, 128, T], True = measured) -> batch."""
        check_shapes(self.name, tensors, "B M T", "B M T|B 1 M T", optional=1)
        return super().from_tensors(tensors[0].unsqueeze(1), *tensors[1:])
