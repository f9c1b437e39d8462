"""A small batch for each kind of graph: what tracing needs to learn columns and dtypes; its sizes and numbers stay in no trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch

from geoembed.encoders import Encoder
from geoembed.errors import GeoembedError, SchemaError
from geoembed.graphs.chain import chain_graph, light_curve_graph, spectrum_graph
from geoembed.graphs.cloud import cloud_graph
from geoembed.graphs.crystal import crystal_graph
from geoembed.graphs.grid import grid_graph
from geoembed.graphs.sphere import sphere_graph
from geoembed.schema import Graph, GraphBatch

SIZES = (3, 5)
"""Sizes of the graphs of an example."""


def example_batch(encoder: Encoder[Any]) -> GraphBatch:
    """A flat batch of two graphs that ``encoder`` can read, made by the builder of its kind.

    Raises :class:`SchemaError` where no builder makes one, as for a plug-in with fields of its own.
    """
    reasons = []
    for make in _candidates(encoder):
        try:
            graphs = [make(encoder, size).with_provenance(topology="") for size in SIZES]
            batch = GraphBatch.from_data_list(graphs)
            encoder.check(batch)
        except GeoembedError as error:
            reasons.append(str(error))
            continue
        return batch
    raise SchemaError(where=f"an example for {encoder.name}", found="; ".join(reasons) or f"graphs of kind {encoder.kind!r}",
                      expected="a kind of graph with a builder", remedy="Give a batch of your own as the example.")


Maker = Callable[[Encoder[Any], int], Graph]


def _candidates(encoder: Encoder[Any]) -> Iterator[Maker]:
    """Makers of the encoder's modalities, then those of its kind."""
    yield from (make for modality in encoder.modalities for name, make in _MAKERS if name == (encoder.kind, modality))
    yield from (make for (kind, _), make in _MAKERS if kind == encoder.kind)


def _crystal(encoder: Encoder[Any], size: int) -> Graph:
    places = torch.arange(size).unsqueeze(-1) * torch.tensor([0.5, 0.25, 0.0]) / size
    return crystal_graph(numbers=range(1, size + 1), frac_coords=places, cell=torch.eye(3) * 4 * size, cutoff=6.0 * size)


def _cloud(encoder: Encoder[Any], size: int) -> Graph:
    steps = torch.arange(1.0, size + 1)
    return cloud_graph(pt=steps, eta=steps / 7, phi=steps / 3, modality=encoder.modalities[0] if encoder.modalities else "event")


def _light_curve(encoder: Encoder[Any], size: int) -> Graph:
    days = torch.arange(float(size))
    return light_curve_graph(days, 20 + days, 1 + days, passband=["r"] * size)


def _spectrum(encoder: Encoder[Any], size: int) -> Graph:
    pixels = torch.arange(float(size))
    return spectrum_graph(5000 + pixels, 1 + pixels, mask=pixels >= 0)


def _sequence(encoder: Encoder[Any], size: int) -> Graph:
    return chain_graph.from_sequence("ACGTN"[:size])


def _grid(encoder: Encoder[Any], size: int) -> Graph:
    patch = int(cast(Any, encoder.config).patch)
    channels = (encoder.features or patch**2) // patch**2
    return grid_graph(torch.ones(channels, 2 * patch, size * patch), patch=patch)


def _sphere(encoder: Encoder[Any], size: int) -> Graph:
    lat, lon = torch.linspace(60, -60, 3), torch.arange(float(size)) * (360 / size)
    return sphere_graph(torch.ones(encoder.features or 1, 3, size), lat=lat, lon=lon, level=1)


_MAKERS: tuple[tuple[tuple[str, str], Maker], ...] = (
    (("crystal", "crystal"), _crystal), (("cloud", "event"), _cloud), (("chain", "sequence"), _sequence),
    (("chain", "light_curve"), _light_curve), (("chain", "spectrum"), _spectrum), (("grid", "image"), _grid),
    (("sphere", "weather"), _sphere),
)
