"""What a kind of graph is to the rest of the house: a name, its builder, and the edge rules that can be derived again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from geoembed.schema import Graph


@dataclass(frozen=True)
class Kind:
    """A kind of graph, registered under ``geoembed.kinds``.

    Attributes:
        name: as in ``Provenance.kind``.
        builder: field's objects or raw tensors to one graph.
        rules: names of the edge rules of :mod:`geoembed.graphs.connect` that rebuild its edges on a whole batch.
    """

    name: str
    builder: Callable[..., Graph]
    rules: tuple[str, ...] = ()
