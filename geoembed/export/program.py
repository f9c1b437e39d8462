"""An encoder as a ``torch.export`` program whose sizes are symbols: graphs, nodes, edges and token rows of any number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as symbols

from geoembed.encoders import Encoder
from geoembed.export.examples import example_batch
from geoembed.export.flat import FlatEncoder, flat_inputs
from geoembed.ops import backends
from geoembed.schema import FIELDS, GraphBatch

SIZES = {"node": "nodes", "edge": "edges", "angle": "angles", "token": "tokens", "graph": "graphs"}
"""Name of the number of rows of each level."""


def exported(encoder: Encoder[Any], example: GraphBatch | None = None) -> ExportedProgram:
    """An encoder as a program of named tensors -> unit vectors [B, D], for any number of graphs of any sizes.

    ``exported(encoder).module()(**flat_inputs(encoder, batch))`` gives what ``encoder(batch)`` gives. Inputs are not checked.

    Args:
        encoder: its parameters are shared with the program, not copied.
        example: a batch with the columns and dtypes that the program is to read; by default those of the kind's builder.
    """
    place = next(encoder.parameters()).device
    fields = {name: row.to(place) for name, row in flat_inputs(encoder, example_batch(encoder) if example is None else example).items()}
    with evaluating(encoder), torch.no_grad(), any_size(), backends.use("torch"):  # the specification: no kernel's operation
        return torch.export.export(FlatEncoder(encoder), (), fields, dynamic_shapes=cast(Any, _shapes(fields.keys())), strict=True)


def levels(names: set[str]) -> dict[str, str]:
    """What a row of each input stands for; tokens without an owner are rows of nodes."""
    found = {name: FIELDS[name].level for name in names if name != "ptr"}
    if "token_node" not in names:
        found |= {name: "node" for name, level in found.items() if level == "token"}
    return found


def _shapes(names: Any) -> dict[str, dict[int, Any]]:
    sizes = {level: Dim(name, min=0) for level, name in SIZES.items()}
    shapes: dict[str, dict[int, Any]] = {name: {FIELDS[name].axis: sizes[level]} for name, level in levels(set(names)).items()}
    return {**shapes, "ptr": {0: sizes["graph"] + 1}}


@contextmanager
def any_size() -> Iterator[None]:
    """Let traces hold for sizes 0 and 1 as for all others, which torch by default sets apart."""
    with cast(Any, symbols).patch(backed_size_oblivious=True):
        yield


@contextmanager
def evaluating(encoder: Encoder[Any]) -> Iterator[None]:
    """The encoder in evaluation mode, and afterwards as it was."""
    mode = encoder.training
    encoder.eval()
    try:
        yield
    finally:
        encoder.train(mode)
