"""An encoder compiled once for all batches: sizes are symbols, 0 and 1 among them, and nothing breaks the graph."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch._dynamo.config as tracing
from torch import Tensor, nn
from torch.fx.experimental import _config as symbols

from geoembed.encoders import Encoder
from geoembed.export.flat import FlatEncoder, inputs_as_they_are
from geoembed.schema import FIELDS, Graph, GraphBatch


class CompiledEncoder(nn.Module):
    """What :func:`compiled` returns: called like the encoder, with the same checks and the same vectors."""

    def __init__(self, encoder: Encoder[Any], **options: Any) -> None:
        super().__init__()
        self.flat = FlatEncoder(encoder)
        self._run = torch.compile(self.flat, fullgraph=True, **options)

    def forward(self, batch: GraphBatch | Graph) -> Tensor:
        """Unit vectors [B, D] of a batch, flat or stacked (or [1, D] of one graph)."""
        fields = inputs_as_they_are(self.flat.encoder, batch)
        if not any(tensor.numel() for name, tensor in fields.items() if name != "ptr"):
            return cast(Tensor, self.flat(**fields))  # no node at all: nothing to gain, and Inductor divides by the size
        if "edge_index" in fields and not fields["edge_index"].numel():
            fields["edge_index"] = fields["edge_index"].as_strided((2, 0), (0, 1))  # the row stride is E for every E, 0 too
        for name, tensor in fields.items():
            torch._dynamo.maybe_mark_dynamic(tensor, _row_axes(name, tensor))
        with (
            cast(Any, symbols).patch(backed_size_oblivious=True, use_duck_shape=False),
            cast(Any, tracing).patch(capture_scalar_outputs=True, capture_dynamic_output_shape_ops=True),
        ):
            return cast(Tensor, self._run(**fields))


def compiled(encoder: Encoder[Any], **options: Any) -> CompiledEncoder:
    """``encoder`` compiled by ``torch.compile`` as one graph for batches of any number of graphs, nodes and edges.

    A batch of another size compiles nothing anew; stacked batches are a second graph. ``torch.compile(encoder)`` compiles too, but
    sets sizes 0 and 1 apart and breaks where a size depends on the numbers.

    Args:
        options: for ``torch.compile``: backend, mode, options.
    """
    return CompiledEncoder(encoder, **options)


def _row_axes(name: str, tensor: Tensor) -> list[int]:
    if name == "ptr":
        return [0]
    field = FIELDS[name]
    return [field.axis] if tensor.dim() == field.ndim else [0, 1]  # stacked: graphs and nodes
