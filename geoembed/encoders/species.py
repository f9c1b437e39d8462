"""Species images: patch graphs of RGB photographs, with a head over species."""

from __future__ import annotations

from pydantic import PositiveInt
from torch import Tensor, nn

from geoembed.config import config
from geoembed.encoders.grid import GridEncoder


@config
class SpeciesConfig:
    """Sizes of :class:`SpeciesImageEncoder`: RGB, 224 × 224 pixels in patches of 16."""

    channels: PositiveInt = 3
    patch: PositiveInt = 16
    hidden_dim: PositiveInt = 128
    layers: PositiveInt = 4
    embedding_dim: PositiveInt = 256
    species: PositiveInt = 10_000


class SpeciesImageEncoder(GridEncoder[SpeciesConfig]):
    """Photographs of animals and plants, of any size -> [B, 256]; :meth:`logits` gives the scores of the species."""

    name, modalities = "species", ("photo", "image")
    heads = ("species_head",)
    config_class = SpeciesConfig

    def __init__(self, config: SpeciesConfig | None = None) -> None:
        super().__init__(config)
        self.species_head = nn.Linear(self.config.embedding_dim, self.config.species)

    def logits(self, embedding: Tensor) -> Tensor:
        """Scores of the species: embedding [B, D] -> [B, species]."""
        scores: Tensor = self.species_head(embedding)
        return scores
