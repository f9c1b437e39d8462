"""Small graphs of every kind for the tests of pictures."""

from __future__ import annotations

import numpy as np
from geoembed.graphs.chain import chain_graph, light_curve_graph, spectrum_graph
from geoembed.graphs.cloud import cloud_graph
from geoembed.graphs.crystal import crystal_graph
from geoembed.graphs.grid import grid_graph
from geoembed.graphs.sphere import sphere_graph
from geoembed.schema import Graph
from numpy.typing import NDArray

ROCK_SALT = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def salt() -> Graph:
    """Conventional cell of NaCl."""
    return crystal_graph([11] * 4 + [17] * 4, np.concatenate([ROCK_SALT, ROCK_SALT + np.array([0.5, 0, 0])]), 5.64 * np.eye(3))


def benzene() -> Graph:
    """A flat ring of six CH."""
    turn = np.arange(6) * np.pi / 3
    ring = np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1)
    return crystal_graph(numbers=[6] * 6 + [1] * 6, positions=np.concatenate([1.397 * ring, 2.481 * ring]))


def alloy() -> Graph:
    """Body-centered cubic Fe 0.7 Co 0.3: every site is disordered."""
    return crystal_graph(numbers=[26, 27, 26, 27], token_node=[0, 0, 1, 1], occupancy=[0.7, 0.3, 0.7, 0.3],
                         frac_coords=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=2.86 * np.eye(3))


def event(count: int = 40, modality: str = "event") -> Graph:
    """Particles of five classes."""
    rng = np.random.default_rng(1)
    return cloud_graph(pt=rng.exponential(5, count), eta=rng.uniform(-2, 2, count), phi=rng.uniform(-3.1, 3.1, count),
                       particle_id=np.arange(count) % 12, charge=np.zeros(count), modality=modality)


def globe(values: NDArray[np.float64] | None = None) -> Graph:
    """A field on a grid of 10°."""
    lat, lon = np.arange(90.0, -91, -10), np.arange(0.0, 360, 10)
    field = np.sin(np.radians(lat))[:, None] + 0 * lon if values is None else values
    return sphere_graph(field[None], lat=lat, lon=lon, level=2, variables=["temperature"])


def photo(side: int = 32) -> Graph:
    """Red to the right, green downwards."""
    ramp = np.linspace(0, 1, side)
    image = np.stack([np.tile(ramp, (side, 1)), np.tile(ramp[:, None], (1, side)), np.full((side, side), 0.25)])
    return grid_graph(image, patch=8, bands=("red", "green", "blue"), modality="photo")


def sound() -> Graph:
    """One tone."""
    image = np.zeros((1, 16, 40))
    image[:, 4] = 1
    return grid_graph(image, patch=8, modality="spectrogram")


def curve(count: int = 30) -> Graph:
    """A light curve in three bands."""
    rng = np.random.default_rng(2)
    return light_curve_graph(np.sort(rng.uniform(59000, 59100, count)), 18 + rng.random(count), np.full(count, 0.1),
                             passband=["i", "g", "r"] * (count // 3))


def spectrum(count: int = 300) -> Graph:
    """A flat spectrum with one line at pixel 200, and ten bad pixels."""
    flux = np.ones(count)
    flux[200] = 9.0
    good = np.ones(count, dtype=bool)
    good[20:30] = False
    return spectrum_graph(np.linspace(4000, 7000, count), flux, np.full(count, 0.05), mask=good)


def letters(count: int = 60) -> Graph:
    """A sequence with a code that is no base."""
    return chain_graph.from_sequence(("ACGTN" * count)[:count])


def samples() -> Graph:
    """A chain that is none of the others."""
    return chain_graph(np.arange(50.0), np.stack([np.sin(np.arange(50.0)), np.cos(np.arange(50.0))], 1))


EVERY = {make.__name__: make for make in (salt, benzene, alloy, event, globe, photo, sound, curve, spectrum, letters, samples)}
