"""Made worlds that several tests draw from: cells with their neighbors by brute force, events, and a graph of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, radians, sin, sqrt

import numpy as np
import torch
from geoembed.graphs.chain import chain_graph, light_curve_graph, spectrum_graph
from geoembed.graphs.cloud import cloud_graph
from geoembed.graphs.crystal import crystal_graph
from geoembed.graphs.grid import grid_graph
from geoembed.graphs.sphere import sphere_graph
from geoembed.schema import Graph
from numpy.typing import NDArray
from pymatgen.core import Structure
from torch import Tensor

Array = NDArray[np.float64]
EVERY_KIND = ("crystal", "disordered", "event", "jet", "image", "field", "light_curve", "spectrum", "sequence")


_FCC, _BCC = np.ones((3, 3)) - np.eye(3), np.ones((3, 3)) - 2 * np.eye(3)
_U = 0.305  # of rutile's oxygen
CRYSTALS: dict[str, tuple[Array, list[str], list[list[float]]]] = {
    # Lattice vectors [Å], species, fractional coordinates: shells that hold more sites than k = 12 would cut off, or exactly as many.
    "simple cubic Po": (3.34 * np.eye(3), ["Po"], [[0, 0, 0]]),
    "bcc Fe": (1.43 * _BCC, ["Fe"], [[0, 0, 0]]),
    "fcc Cu": (1.805 * _FCC, ["Cu"], [[0, 0, 0]]),
    "diamond": (1.785 * _FCC, ["C", "C"], [[0, 0, 0], [0.25] * 3]),
    "hcp Mg": (np.array([[3.21, 0, 0], [-1.605, 3.21 * sqrt(0.75), 0], [0, 0, 5.21]]), ["Mg"] * 2,
               [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]),
    "rock salt": (2.82 * _FCC, ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]),
    "CsCl": (4.12 * np.eye(3), ["Cs", "Cl"], [[0, 0, 0], [0.5] * 3]),
    "fluorite": (2.73 * _FCC, ["Ca", "F", "F"], [[0, 0, 0], [0.25] * 3, [0.75] * 3]),
    "perovskite": (3.905 * np.eye(3), ["Sr", "Ti", "O", "O", "O"], [[0, 0, 0], [0.5] * 3, [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "rutile": (np.diag([4.59, 4.59, 2.96]), ["Ti"] * 2 + ["O"] * 4,
               [[0, 0, 0], [0.5] * 3, [_U, _U, 0], [-_U, -_U, 0], [0.5 + _U, 0.5 - _U, 0.5], [0.5 - _U, 0.5 + _U, 0.5]]),
    "quartz": (np.array([[4.913, 0, 0], [-2.4565, 4.913 * sqrt(0.75), 0], [0, 0, 5.405]]), ["Si"] * 3 + ["O"] * 6,
               [[0, 0.4697, 1 / 3], [0.5303, 0.5303, 0], [0.4697, 0, 2 / 3], [0.2669, 0.4135, 0.21423], [0.5865, 0.8534, 0.8809],
                [0.7331, 0.1466, 0.45243], [0.8534, 0.5865, 0.1191], [0.4135, 0.2669, 0.78577], [0.1466, 0.7331, 0.54757]]),
}


def crystal(name: str) -> Structure:
    """One of ``CRYSTALS``."""
    return Structure(*CRYSTALS[name])


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Normal random float64 numbers of a fixed seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cell_of(a: float, b: float, c: float, alpha: float, beta: float, gamma: float) -> Array | None:
    """Lattice vectors as rows from lengths [Å] and angles [degrees]; None where the angles close no cell."""
    ca, cb, cg, sg = cos(radians(alpha)), cos(radians(beta)), cos(radians(gamma)), sin(radians(gamma))
    height = 1 - cb**2 - ((ca - cb * cg) / sg) ** 2
    if height < 0.02:
        return None
    return np.array([[a, 0, 0], [b * cg, b * sg, 0], [c * cb, c * (ca - cb * cg) / sg, c * sqrt(height)]])


def random_cells(rng: np.random.Generator, low: float = 17.0, high: float = 160.0) -> Iterator[Array]:
    """Cells of any skew, half of them left-handed, without end."""
    while True:
        cell = cell_of(*rng.uniform(2.0, 5.0, 3), *rng.uniform(low, high, 3))
        if cell is not None:
            yield cell[[1, 0, 2]] if rng.random() < 0.5 else cell


def brute_force(positions: Array, cell: Array, pbc: NDArray[np.bool_], cutoff: float) -> set[tuple[int, ...]]:
    """Directed pairs (source, target, shift) not farther than ``cutoff``, to 1e-8 Å: every image of the wrapped sites that can reach.

    An own derivation: the images to visit follow from the longest distance in the wrapped cell, not from its spread.
    """
    full = cell.copy()
    missing = ~pbc & (np.linalg.norm(full, axis=1) == 0)
    if missing.any():
        full[missing] = np.linalg.svd(full)[2][(~missing).sum():]
    inverse = np.linalg.inv(full)
    whole = np.where(pbc, np.floor(positions @ inverse), 0.0)
    wrapped = positions - whole @ full
    span = max((np.linalg.norm(a - b) for a in wrapped for b in wrapped), default=0.0)
    reach = np.where(pbc, np.ceil((cutoff + span) * np.linalg.norm(inverse, axis=0)), 0).astype(int)
    shifts = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), -1).reshape(-1, 3)
    shifts = shifts[np.linalg.norm(shifts @ full, axis=1) <= cutoff + span + 1e-6]
    images = wrapped[None] + (shifts @ full)[:, None]  # [M, source, 3]
    distance = np.linalg.norm(images[:, :, None] - wrapped[None, None], axis=-1)  # [M, source, target]
    m, s, t = np.nonzero(distance <= cutoff + 1e-8)
    other = (s != t) | shifts[m].any(axis=1)
    m, s, t = m[other], s[other], t[other]
    moved = (shifts[m] - whole[s] + whole[t]).astype(int)
    return set(zip(s.tolist(), t.tolist(), *moved.T.tolist(), strict=True))


def directed_pairs(graph: Graph) -> list[tuple[int, ...]]:
    """(source, target, shift) of each edge of a crystal graph."""
    return [(s, t, *shift) for s, t, shift in zip(*graph.edge_index.tolist(), graph.edge_shift.tolist(), strict=True)]


def event(n: int, seed: int = 0) -> dict[str, Tensor]:
    """Columns of an event of n particles: pt, eta, phi, energy [GeV, rad], class and charge."""
    z = numbers(n, 4, seed=seed)
    pt, eta = z[:, 0].exp() * 5, z[:, 1]
    phi = torch.remainder(z[:, 2] * 2 + torch.pi, 2 * torch.pi) - torch.pi
    return {"pt": pt, "eta": eta, "phi": phi, "energy": pt * eta.cosh() + z[:, 3].abs(),
            "particle_id": torch.arange(n) % 7, "charge": torch.arange(n) % 3 - 1}


def letters(n: int, seed: int = 0, alphabet: str = "ACGT") -> str:
    """A random sequence."""
    draw = torch.randint(len(alphabet), (n,), generator=torch.Generator().manual_seed(seed))
    return "".join(alphabet[i] for i in draw.tolist())


def sample(kind: str, seed: int = 0) -> Graph:
    """A small graph of one of ``EVERY_KIND``, with something missing where the kind can miss something."""
    z = numbers(40, 3, seed=seed)
    if kind == "crystal":
        return crystal_graph(numbers=[11, 17, 8], frac_coords=torch.rand(3, 3, generator=torch.Generator().manual_seed(seed)) * 0.4
                             + torch.tensor([[0.0, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5]]), cell=np.eye(3) * 4.5, cutoff=5.0)
    if kind == "disordered":
        return crystal_graph(numbers=[26, 27, 8], token_node=[0, 0, 1], occupancy=[0.5, 0.3, 1.0],
                             frac_coords=[[0, 0, 0], [0.5, 0.5, 0.5 + 0.01 * seed]], cell=np.eye(3) * 2.9, cutoff=4.0)
    if kind in ("event", "jet"):
        return cloud_graph(**event(5 + seed, seed), neighbors=4, modality=kind)
    if kind == "image":
        image = numbers(2, 8, 12, seed=seed)
        image[0, :4, :4] = torch.nan
        return grid_graph(image, patch=4, modality="photo")
    if kind == "field":
        field = numbers(2, 5, 10, seed=seed)
        field[1, 2, 3] = torch.nan
        return sphere_graph(field, lat=np.linspace(90, -90, 5), lon=np.arange(10) * 36.0, level=1)
    if kind == "light_curve":
        n = 12 + seed
        error = z[:n, 2].abs() * 0.1
        error[::4] = torch.nan
        return light_curve_graph(59000 + z[:n, 0] * 30, 20 + z[:n, 1], error, passband=["griz"[i % 4] for i in range(n)])
    if kind == "spectrum":
        return spectrum_graph(torch.linspace(3800, 9200, 20 + seed), z[: 20 + seed, 0].abs(), mask=z[: 20 + seed, 1] > -1.5)
    return chain_graph.from_sequence(letters(20 + seed, seed, "ACGTN"))
