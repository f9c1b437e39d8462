"""An encoder as a function of named tensors: what a batch of graphs is where there are no Python objects."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from geoembed.encoders import Encoder
from geoembed.errors import SchemaError
from geoembed.nn import unit_length
from geoembed.schema import FIELDS, Graph, GraphBatch


class FlatBatch:
    """What :meth:`Encoder.embed` reads of a flat batch: its fields as attributes, ``ptr`` and the sizes that follow from them."""

    ptr: Tensor

    def __init__(self, nodes: int, stacked: bool, fields: dict[str, Tensor]) -> None:
        self.num_nodes, self.stacked = nodes, stacked
        self.__dict__.update(fields)

    @property
    def num_graphs(self) -> int:
        """B."""
        return self.ptr.shape[0] - 1

    @property
    def segment(self) -> Tensor:
        """Graph of each node [N]."""
        return torch.repeat_interleave(self.ptr.diff(), output_size=self.num_nodes)


class FlatEncoder(nn.Module):
    """The tensors of a flat batch that an encoder reads, by name, to unit vectors [B, D]; they are not checked.

    Built for tracing: the encoder's own arithmetic, nothing of PyG. Stacked tensors are read as such. :func:`flat_inputs` gives
    the tensors of a batch.
    """

    def __init__(self, encoder: Encoder[Any]) -> None:
        super().__init__()
        self.encoder = encoder
        names = input_names(encoder)
        if unknown := sorted(set(names) - set(FIELDS) - {"ptr"}):
            raise SchemaError(where=encoder.name, found=f"an encoder that reads {', '.join(unknown)}",
                              expected=f"fields of the contract: {', '.join(FIELDS)}", remedy="Fields of one's own cannot be exported.")

    def forward(  # one argument a field of the contract: tracers take names from the signature
        self, ptr: Tensor, x: Tensor | None = None, measured: Tensor | None = None, token: Tensor | None = None,
        token_node: Tensor | None = None, token_weight: Tensor | None = None, pos: Tensor | None = None, mask: Tensor | None = None,
        weight: Tensor | None = None, node_kind: Tensor | None = None, edge_kind: Tensor | None = None,
        edge_index: Tensor | None = None, edge_attr: Tensor | None = None, edge_shift: Tensor | None = None,
        angle_index: Tensor | None = None, cell: Tensor | None = None, pbc: Tensor | None = None,
    ) -> Tensor:
        given = {
            "ptr": ptr, "x": x, "measured": measured, "token": token, "token_node": token_node, "token_weight": token_weight, "pos": pos,
            "mask": mask, "weight": weight, "node_kind": node_kind, "edge_kind": edge_kind, "edge_index": edge_index,
            "edge_attr": edge_attr, "edge_shift": edge_shift, "angle_index": angle_index, "cell": cell, "pbc": pbc,
        }
        fields = {name: value for name, value in given.items() if value is not None}
        name, rows = next((name, fields[name]) for name in ("x", "pos", "mask", "weight", "token") if name in fields)
        stacked = rows.dim() > FIELDS[name].ndim
        batch = FlatBatch(rows.shape[1] if stacked else rows.shape[0], stacked, fields)
        return unit_length(self.encoder.embed(cast(GraphBatch, batch)))


def input_names(encoder: Encoder[Any]) -> list[str]:
    """Names of the tensors that an encoder reads, in the order of the contract, ``ptr`` last."""
    return [*(name for name in FIELDS if name in encoder.needs), *sorted(encoder.needs - set(FIELDS)), "ptr"]


def flat_inputs(encoder: Encoder[Any], batch: GraphBatch | Graph) -> dict[str, Tensor]:
    """The tensors of a batch that an encoder reads, by name, as :class:`FlatEncoder` and exported graphs take them.

    A stacked batch is made flat. Raises what the encoder raises for a batch that it cannot read.
    """
    return inputs_as_they_are(encoder, (batch if isinstance(batch, GraphBatch) else GraphBatch.from_data_list([batch])).ragged())


def inputs_as_they_are(encoder: Encoder[Any], batch: GraphBatch | Graph) -> dict[str, Tensor]:
    """:func:`flat_inputs` of a flat batch; of a stacked one, its tensors on the shared topology."""
    whole = batch if isinstance(batch, GraphBatch) else GraphBatch.from_data_list([batch])
    encoder.check(whole)
    return {name: whole[name] for name in input_names(encoder)}
