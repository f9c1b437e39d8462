"""The smallest encoder that there can be: the mean of an embedding of letters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from geoembed.config import config
from geoembed.encoders import Encoder
from geoembed.ops import segment_mean
from geoembed.schema import GraphBatch
from torch import Tensor, nn


@config
class TinyConfig:
    """D."""

    embedding_dim: int = 6


class Tiny(Encoder[TinyConfig]):
    """Sequences: token [N, 1] -> [B, D]; ``trap`` sees every batch before it is embedded."""

    name, kind, needs, config_class = "tiny", "chain", frozenset({"token"}), TinyConfig

    def __init__(self, trap: Callable[[GraphBatch], None] | None = None, seed: int = 0) -> None:
        super().__init__(TinyConfig())
        self.trap, self.batches = trap, list[int]()
        self.letters = nn.Embedding(64, 6)
        with torch.no_grad():
            self.letters.weight.copy_(torch.randn(64, 6, generator=torch.Generator().manual_seed(seed)))

    def embed(self, batch: GraphBatch) -> Tensor:
        self.batches.append(batch.num_graphs)
        if self.trap is not None:
            self.trap(batch)
        return segment_mean(self.letters(batch.token[:, 0]), batch.ptr)

    def from_tensors(self, *tensors: Tensor) -> GraphBatch:
        raise TypeError("a stand-in has no chapter")
