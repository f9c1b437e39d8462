"""Spectra: gated convolutions over steps in log wavelength, with bad pixels masked and the rest frame where it is known."""

from __future__ import annotations

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from geoembed.config import config
from geoembed.encoders.base import Encoder
from geoembed.graphs.tensors import check_shapes, spectrum_batch
from geoembed.nn import AttentionPooling, ChainNetwork, PositionBasis, Standardize, StepBasis, mlp
from geoembed.ops import ptr_from_sorted
from geoembed.schema import GraphBatch


@config
class SpectrumConfig:
    """Sizes of :class:`SpectrumEncoder`; positions are log10 of the wavelength in Å."""

    hidden_dim: PositiveInt = 128
    layers: PositiveInt = 4
    heads: PositiveInt = 4
    bluest: PositiveFloat = 3.0
    """log10 Å (1,000 Å), start of the position basis."""
    reddest: PositiveFloat = 4.5
    """log10 Å (31,600 Å), end of the position basis."""
    waves: PositiveInt = 8
    shortest: PositiveFloat = 1e-4
    """dex: the pixel of SDSS spectra, shortest scale of the step basis."""
    longest: PositiveFloat = 0.1
    embedding_dim: PositiveInt = 256


class SpectrumEncoder(Encoder[SpectrumConfig]):
    """Flux and error over log10 wavelength [Å], up to 4,096 bins and beyond, any spacing -> [B, 256]."""

    name, kind, modalities = "spectrum", "chain", ("spectrum",)
    needs = frozenset({"x", "measured", "mask", "pos", "edge_index", "edge_attr"})
    config_class = SpectrumConfig

    def __init__(self, config: SpectrumConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        self.norm = Standardize(2)
        self.place = PositionBasis(c.bluest, c.reddest, c.waves)
        self.pixel_embed = mlp(4 + self.place.width, c.hidden_dim, c.hidden_dim)
        self.network = ChainNetwork(c.hidden_dim, c.layers, StepBasis(c.shortest, c.longest))
        self.pool = AttentionPooling(c.hidden_dim, c.heads)
        self.readout = mlp(c.hidden_dim, c.hidden_dim, c.embedding_dim)

    @property
    def features(self) -> int:
        return 2

    def embed(self, batch: GraphBatch) -> Tensor:
        measured = batch.measured & batch.mask.unsqueeze(-1)
        values = self.norm(batch.x, measured).to(self.dtype)
        place = self.place(batch.pos.to(self.dtype))
        x = self.pixel_embed(torch.cat([values, measured.to(self.dtype), place], -1))
        x = self.network(x, batch.edge_index, batch.edge_attr.to(self.dtype), ptr_from_sorted(batch.edge_index[1], x.shape[0]))
        pooled: Tensor = self.readout(self.pool(x, batch.ptr, batch.mask))
        return pooled

    def from_tensors(self, *tensors: Tensor) -> GraphBatch:
        """(wavelength, flux[, error[, mask[, redshift [B]]]]), each [B, T], wavelength in Å -> batch."""
        check_shapes(self.name, tensors, *["B T"] * 4, "B", optional=3)
        wavelength, flux, *rest = tensors
        error = rest[0] if rest else torch.full_like(flux, torch.nan)
        mask = rest[1].bool() if len(rest) > 1 else torch.ones_like(flux, dtype=torch.bool)
        redshift = rest[2] if len(rest) > 2 else flux.new_zeros(len(flux))
        return spectrum_batch(wavelength, flux, error, mask, redshift)
