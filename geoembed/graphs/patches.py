"""Images cut into square patches, and the links between the patches of a grid (one copy for every image of a size)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

_STEPS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))  # in order of the source's index


@dataclass(frozen=True)
class Topology:
    """What all patch grids of one size share by reference.

    Attributes:
        key: name of the topology in provenance and batches, ``grid:ROWSxCOLS``.
        pos: (row, column) of each patch, [N, 2] float32.
        edge_index: 3 × 3 neighborhood without its center, [2, E] int64, sorted by target, then source.
        edge_attr: (distance, row step, column step) of the source seen from the target, in patches, [E, 3] float32.
    """

    key: str
    pos: Tensor
    edge_index: Tensor
    edge_attr: Tensor


@lru_cache(maxsize=32)
def grid_topology(rows: int, cols: int, device: str = "cpu") -> Topology:
    """The topology of a grid of ``rows`` × ``cols`` patches; equal arguments give the very same tensors.

    >>> grid_topology(2, 2).edge_index.tolist()
    [[1, 2, 3, 0, 2, 3, 0, 1, 3, 0, 1, 2], [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]]
    """
    pos = torch.cartesian_prod(torch.arange(rows), torch.arange(cols)).reshape(-1, 2)  # [N, 2]; one column squeezes otherwise
    steps = torch.tensor(_STEPS)
    source = pos.unsqueeze(1) + steps  # [N, 8, 2]
    inside = ((source >= 0) & (source < torch.tensor([rows, cols]))).all(-1)
    target, step = inside.nonzero(as_tuple=True)  # row-major, hence sorted by target and, in a target, by source
    row, col = source[target, step].unbind(-1)
    moved = steps[step].float()
    return Topology(
        f"grid:{rows}x{cols}", pos.float().to(device), torch.stack([row * cols + col, target]).to(device),
        torch.cat([moved.norm(dim=-1, keepdim=True), moved], -1).to(device),
    )


def padding_of(size: int, patch: int) -> int:
    """Pixels that are added to a side so that whole patches cover it.

    >>> padding_of(181, 8), padding_of(360, 8)
    (3, 0)
    """
    return -size % patch


def to_patches(images: Tensor, patch: int) -> Tensor:
    """images [B, C, H, W] -> [B, N, C·patch·patch], patches row by row, channel-major then row and column inside a patch.

    Where a side is not a multiple of ``patch``, zeros (False for a mask) are added at the bottom and right.
    """
    b, c, h, w = images.shape
    images = functional.pad(images, (0, padding_of(w, patch), 0, padding_of(h, patch)))
    rows, cols = images.shape[-2] // patch, images.shape[-1] // patch
    cut = images.reshape(b, c, rows, patch, cols, patch).permute(0, 2, 4, 1, 3, 5)  # [B, R, Q, C, p, p]
    return cut.reshape(b, rows * cols, c * patch * patch)


def from_patches(patches: Tensor, rows: int, cols: int, patch: int) -> Tensor:
    """Inverse of :func:`to_patches`, padding included: [B, rows·cols, C·patch·patch] -> [B, C, rows·patch, cols·patch]."""
    cut = patches.reshape(patches.shape[0], rows, cols, -1, patch, patch).permute(0, 3, 1, 4, 2, 5)  # [B, C, R, p, Q, p]
    return cut.reshape(cut.shape[0], cut.shape[1], rows * patch, cols * patch)


def induced(topology: Topology, keep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(pos, edge_index, edge_attr) of the patches in ``keep`` [N] bool, numbered anew in their order; sorting is kept."""
    number = keep.cumsum(0) - 1
    source, target = topology.edge_index
    linked = keep[source] & keep[target]
    return topology.pos[keep], number[topology.edge_index[:, linked]], topology.edge_attr[linked]


def near_pixels(row: Tensor, col: Tensor, cols: int, radius: float) -> tuple[Tensor, Tensor]:
    """(edge_index [2, E], edge_attr [E, 3]) of the pixels (row, col) [N] int64, in row-major order, that lie within ``radius``.

    As in :class:`Topology`: (distance, row step, column step) of the source seen from the target; sorted by target, then source.
    Only pixels of the list are looked at: N log N, whatever the size of the image.

    >>> near_pixels(torch.tensor([0, 1, 5]), torch.tensor([0, 1, 5]), 8, 1.5)[0].tolist()
    [[1, 0], [0, 1]]
    """
    reach = int(radius)
    steps = torch.cartesian_prod(torch.arange(-reach, reach + 1), torch.arange(-reach, reach + 1)).reshape(-1, 2).to(row.device)
    length = steps.double().norm(dim=1)
    steps = steps[(length > 0) & (length <= radius)]  # in order of the source's place
    side = col.unsqueeze(1) + steps[:, 1]  # [N, K]
    place, wanted = row * cols + col, (row.unsqueeze(1) + steps[:, 0]) * cols + side
    found = torch.searchsorted(place, wanted).clamp(max=len(place) - 1)
    there = (place[found] == wanted) & (side >= 0) & (side < cols)
    target, step = there.nonzero(as_tuple=True)
    moved = steps[step].float()
    return torch.stack([found[target, step], target]), torch.cat([moved.norm(dim=-1, keepdim=True), moved], -1)
