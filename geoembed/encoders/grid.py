"""What the four encoders of patch graphs share: patches to nodes, a network over the grid, masked mean, readout."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor

from geoembed.encoders.base import Encoder, configured
from geoembed.graphs.grid import grid_batch
from geoembed.graphs.tensors import check_shapes
from geoembed.nn import PatchEmbedding, PatchNetwork, mlp, weighted_mean
from geoembed.schema import Graph, GraphBatch

G = TypeVar("G")


class GridEncoder(Encoder[G]):
    """Images as patch graphs, of any size, with masked pixels, bands and patches -> [B, D]. Subclasses name an embedding."""

    kind = "grid"
    needs = frozenset({"x", "measured", "mask", "edge_index", "edge_attr"})
    patch_embedding: ClassVar[type[PatchEmbedding]] = PatchEmbedding

    def __init__(self, config: G | None = None) -> None:
        super().__init__(config)
        c = cast(Any, self.config)
        self.network = PatchNetwork(self.patch_embedding(c.channels, c.patch, c.hidden_dim), c.hidden_dim, c.layers)
        self.readout = mlp(c.hidden_dim, c.hidden_dim, c.embedding_dim)

    @property
    def features(self) -> int:
        c = cast(Any, self.config)
        return int(c.channels * c.patch**2)

    @classmethod
    def config_for(cls, graph: Graph) -> Any:
        patch = int(str(graph.provenance.settings["patch"]))
        return configured(cls.config_class(), patch=patch, channels=graph.x.shape[-1] // patch**2)

    def embed(self, batch: GraphBatch) -> Tensor:
        measured = batch.measured & batch.mask.unsqueeze(-1)
        x = self.network(batch.x, measured, batch.mask, batch.edge_index, batch.edge_attr.to(self.dtype))
        pooled: Tensor = self.readout(weighted_mean(x, batch.ptr, batch.mask))
        return pooled

    def from_tensors(self, *tensors: Tensor) -> GraphBatch:
        """(images [B, C, H, W], and optionally mask [B, H, W] or [B, C, H, W], True = measured) -> batch."""
        check_shapes(self.name, tensors, "B C H W", "B H W|B C H W", optional=1)
        images, *rest = tensors
        mask = rest[0].to(torch.bool) if rest else None
        return grid_batch(images, patch=cast(Any, self.config).patch, mask=mask, modality=self.modalities[0])
