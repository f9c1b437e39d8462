"""Each encoder, small, with graphs of any size that it reads: what exports are compared on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from geoembed import encoders as e
from geoembed.encoders import Encoder
from geoembed.graphs.chain import chain_graph, light_curve_graph, spectrum_graph
from geoembed.graphs.cloud import cloud_graph
from geoembed.graphs.crystal import crystal_graph
from geoembed.graphs.grid import grid_graph
from geoembed.graphs.sphere import sphere_graph
from geoembed.schema import Graph, GraphBatch

from generators import event, letters, numbers

TOLERANCE = 1e-5
SMALL = {"hidden_dim": 16, "layers": 1, "embedding_dim": 8}


@dataclass(frozen=True)
class World:
    """``graph(size, seed)`` of any size from 2; ``odd``: of one node, without edges, empty, where the kind allows them."""

    make: Callable[[], Encoder[Any]]
    graph: Callable[[int, int], Graph]
    odd: tuple[Callable[[], Graph], ...] = ()


def _crystal(size: int, seed: int) -> Graph:
    places = torch.arange(size).unsqueeze(-1) * 2.4 + 0.1 * numbers(size, 3, seed=seed)
    owner = [0, *range(size)]  # two species share the first site
    occupancy = [0.4, 0.5, *[1.0] * (size - 1)]
    return crystal_graph(numbers=[26, *range(3, size + 3)], positions=places, cell=np.eye(3) * 2.4 * size, token_node=owner,
                         occupancy=occupancy, cutoff=5.0)


def _image(channels: int) -> Callable[[int, int], Graph]:
    def graph(size: int, seed: int) -> Graph:
        image = numbers(channels, 2 * size, 3 + size, seed=seed)
        return grid_graph(image, patch=2, mask=numbers(*image.shape, seed=seed + 1) > -1.0)
    return graph


def _pixel(channels: int) -> Callable[[], Graph]:
    return lambda: grid_graph(numbers(channels, 1, 1), patch=2)


def _light_curve(size: int, seed: int) -> Graph:
    z = numbers(size, 3, seed=seed)
    error = z[:, 2].abs() * 0.1
    error[::3] = torch.nan
    return light_curve_graph(59000 + z[:, 0] * 30, 20 + z[:, 1], error, passband=["griz"[i % 4] for i in range(size)])


def _spectrum(size: int, seed: int) -> Graph:
    z = numbers(size, 2, seed=seed)
    return spectrum_graph(torch.linspace(3800, 9200, size), z[:, 0].abs() + 0.1, mask=z[:, 1] > -1.0)


def _field(size: int, seed: int) -> Graph:
    field = numbers(3, 3, 3 + size, seed=seed)
    field[1, 2, 2] = torch.nan
    return sphere_graph(field, lat=np.linspace(70, -70, 3), lon=np.arange(3 + size) * (360 / (3 + size)), level=1)


CLOUDS = tuple((lambda n=n: cloud_graph(**event(n))) for n in (0, 1, 2))
WORLDS = {
    "galaxy": World(lambda: e.GalaxyMorphologyEncoder(e.GalaxyConfig(channels=2, patch=2, **SMALL)), _image(2), (_pixel(2),)),
    "satellite": World(lambda: e.SatelliteImageEncoder(e.SatelliteConfig(channels=13, patch=2, **SMALL)), _image(13), (_pixel(13),)),
    "species": World(lambda: e.SpeciesImageEncoder(e.SpeciesConfig(channels=3, patch=2, species=5, **SMALL)), _image(3), (_pixel(3),)),
    "bioacoustic": World(lambda: e.BioacousticEncoder(e.BioacousticConfig(patch=2, **SMALL)), _image(1), (_pixel(1),)),
    "crystal": World(lambda: e.CrystalGraphEncoder(e.CrystalGraphConfig(cutoff=5.0, **SMALL)), _crystal,
                     (lambda: crystal_graph(numbers=[1], positions=[[0.0, 0, 0]], cell=np.eye(3) * 100),)),
    "jet": World(lambda: e.JetEncoder(e.JetConfig(widths=(8, 8), k=3, embedding_dim=8)), lambda n, seed: cloud_graph(**event(n, seed)), CLOUDS),
    "particle_cloud": World(lambda: e.ParticleCloudEncoder(e.ParticleCloudConfig(heads=2, **SMALL)),
                            lambda n, seed: cloud_graph(**event(n, seed)), CLOUDS),
    "transient": World(lambda: e.TransientLightCurveEncoder(e.TransientConfig(heads=2, **SMALL)), _light_curve,
                       (lambda: light_curve_graph([59000.0], [20.0], [0.1], passband=["g"]),)),
    "spectrum": World(lambda: e.SpectrumEncoder(e.SpectrumConfig(heads=2, **SMALL)), _spectrum, (lambda: spectrum_graph([5000.0], [1.0]),)),
    "dna": World(lambda: e.DNABarcodeEncoder(e.DNABarcodeConfig(heads=2, **SMALL)),
                 lambda n, seed: chain_graph.from_sequence(letters(n, seed, "ACGTN")), (lambda: chain_graph.from_sequence("A"),)),
    "weather": World(lambda: e.WeatherStateEncoder(e.WeatherConfig(levels=1, level_variables=2, surface_variables=1, mesh_level=1, **SMALL)), _field),
}


@cache
def encoder_of(name: str) -> Encoder[Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return WORLDS[name].make().eval()


@cache
def _graph(name: str, size: int, seed: int) -> Graph:
    return WORLDS[name].graph(size, seed).with_provenance(topology="")


def batch_of(name: str, sizes: list[int], seed: int = 0) -> GraphBatch:
    """Graphs of these sizes, flat; a size below 1 is one of the odd graphs, counted from the end."""
    odd = [make().with_provenance(topology="") for make in WORLDS[name].odd]
    return GraphBatch.from_data_list([odd[size - 1] if size < 1 else _graph(name, size, (seed + i) % 7) for i, size in enumerate(sizes)])


def shapes(name: str) -> list[list[int]]:
    """Sizes of the graphs of 50 batches: each odd graph alone and all of them beside others, 1 … 37 graphs; no two alike."""
    odd = [-i for i in range(len(WORLDS[name].odd))]
    some = [[2], [9], *([size] for size in odd), [*odd, 4, 2]]
    some += [[2 + (i * j) % 7 for j in range(1, 2 + i % 37)] for i in range(1, 51 - len(some))]
    return some


@torch.no_grad()
def vectors(name: str, batch: GraphBatch) -> torch.Tensor:
    out: torch.Tensor = encoder_of(name)(batch)
    return out
