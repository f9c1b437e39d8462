"""Rectangular tensors of a whole batch to a :class:`GraphBatch`, without a loop over its graphs.

The ragged kinds (chains, clouds, crystals); patch grids and spheres have ``grid_batch`` and ``sphere_batch`` beside their
builders. Rows that hold nothing are left out, so padding makes no node.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from geoembed.errors import ValueRangeError
from geoembed.graphs.chain import OFFSETS
from geoembed.graphs.connect import TWO_PI, connect
from geoembed.ops import sort_by_target, wrap
from geoembed.schema import GraphBatch, Provenance, Setting


def light_curve_batch(times: Tensor, magnitudes: Tensor, errors: Tensor, passband: Tensor | None = None) -> GraphBatch:
    """Light curves [B, T] each (days, mag, mag), NaN where there is no sample -> batch of chains; ``passband`` [B, T] tokens."""
    band = torch.zeros_like(times, dtype=torch.int64) if passband is None else passband
    real = torch.isfinite(magnitudes) | torch.isfinite(errors)
    by_band = torch.argsort(band, dim=1, stable=True)
    order = by_band.gather(1, torch.argsort(times.gather(1, by_band), dim=1, stable=True))
    values = torch.stack([magnitudes, errors], -1)  # [B, T, 2]
    values = values.gather(1, order.unsqueeze(-1).expand_as(values))
    times, band, real = (part.gather(1, order) for part in (times.double(), band, real))
    return _chain("light_curve", times, values, real, band)


def spectrum_batch(wavelength: Tensor, flux: Tensor, error: Tensor, mask: Tensor, redshift: Tensor) -> GraphBatch:
    """Spectra: wavelength [B, T] Å ascending, flux, error [B, T], mask [B, T] True = good, redshift [B] -> batch of chains."""
    good = mask & torch.isfinite(flux)
    scale = flux.abs().where(good, torch.nan).nanmedian(dim=1, keepdim=True).values
    scale = scale.where(torch.isfinite(scale) & (scale > 0), 1.0)
    log_wavelength = torch.log10(wavelength.double() / (1 + redshift.double().unsqueeze(-1)))
    values = torch.stack([flux, error], -1) / scale.unsqueeze(-1)
    present = torch.isfinite(values).any(-1) | ~good  # as in the builder: a bad pixel stays as a node that is never read
    return _chain("spectrum", log_wavelength, values, present & torch.isfinite(log_wavelength), None, good)


def _chain(modality: str, pos: Tensor, values: Tensor, real: Tensor, band: Tensor | None, good: Tensor | None = None) -> GraphBatch:
    """Rectangles [B, T] to a flat batch of the rows that are ``real``."""
    ptr = _ptr(real)
    mask = torch.ones_like(real) if good is None else good
    measured = torch.isfinite(values) & mask.unsqueeze(-1)
    rule: dict[str, Setting] = {"rule": "offsets", "of": list(OFFSETS), "bands": band is not None}
    fields = {
        "x": values.where(measured, 0.0)[real].float() if values.dtype != torch.float64 else values.where(measured, 0.0)[real],
        "measured": measured[real], "mask": mask[real], "pos": pos[real].unsqueeze(-1),
    }
    if band is not None:
        fields["token"] = band[real].unsqueeze(-1)
    batch = GraphBatch.from_fields(_provenance("chain", modality, len(real), rule), ptr, **fields)
    connect(batch, rule)
    return batch


def sequence_batch(tokens: Tensor) -> GraphBatch:
    """Sequences of one length: tokens [B, T] int64 as in ``graphs.sequence.ALPHABET`` -> batch of chains."""
    count, length = tokens.shape
    rule: dict[str, Setting] = {"rule": "offsets", "of": list(OFFSETS), "bands": False}
    ptr = torch.arange(count + 1, device=tokens.device) * length
    pos = torch.arange(length, device=tokens.device, dtype=torch.float32).repeat(count).unsqueeze(-1)
    fields = {"token": tokens.reshape(-1, 1).long(), "pos": pos}
    batch = GraphBatch.from_fields(_provenance("chain", "sequence", count, rule), ptr, **fields)
    connect(batch, rule)
    return batch


def event_batch(kinematics: Tensor, particle_ids: Tensor, charges: Tensor, mask: Tensor | None = None, neighbors: int = 16) -> GraphBatch:
    """Events padded to one length: kinematics [B, n, 4] = (pt, eta, phi, E), ids and charges [B, n], mask [B, n] (1 = real)."""
    real = torch.ones(kinematics.shape[:2], dtype=torch.bool, device=kinematics.device) if mask is None else mask.bool()
    pt, eta, phi, energy = kinematics[real].unbind(-1)
    phi = wrap(phi, TWO_PI)
    token = torch.stack([particle_ids[real].long(), charges[real].long() + 1], -1)
    return _cloud("event", torch.stack([pt, eta, phi, energy], -1), torch.stack([eta, phi], -1), token, real, neighbors)


def jet_batch(constituents: Tensor, neighbors: int = 16) -> GraphBatch:
    """Jets padded with rows of zeros: constituents [B, n, F], whose first two columns are (Δeta, Δphi) to the axis."""
    real = (constituents != 0).any(-1)
    x = constituents[real]
    token = torch.zeros(len(x), 2, dtype=torch.int64, device=x.device)
    return _cloud("jet", x, x[:, :2], token, real, neighbors)


def _cloud(modality: str, x: Tensor, pos: Tensor, token: Tensor, real: Tensor, neighbors: int) -> GraphBatch:
    rule: dict[str, Setting] = {"rule": "eta_phi", "k": neighbors}
    batch = GraphBatch.from_fields(_provenance("cloud", modality, len(real), rule), _ptr(real), x=x, pos=pos, token=token)
    connect(batch, rule)
    return batch


def crystal_batch(numbers: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> GraphBatch:
    """Crystals with ready-made edges: atomic numbers [N], edge_index [2, E] in any order, edge_attr [E, G], graph of each atom [N].

    Edges are sorted by target; repeated edges and self-loops stay. Atoms are sorted by graph. Graphs are numbered 0…max.
    """
    if len(batch) != len(numbers) or (len(batch) and int(batch.min()) < 0):
        raise ValueRangeError(where="crystal_batch: batch", found=f"{len(batch)} entries from {int(batch.min()) if len(batch) else 0}",
                              expected=f"{len(numbers)} graph numbers ≥ 0", remedy="Give the graph of each atom.")
    order = torch.argsort(batch, stable=True)
    place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    edges, attr = sort_by_target(place[edge_index], edge_attr)
    count = int(batch.max()) + 1 if len(batch) else 1
    ptr = torch.searchsorted(batch[order].contiguous(), torch.arange(count + 1, device=batch.device))
    n = len(numbers)
    return GraphBatch.from_fields(
        _provenance("crystal", "crystal", count, {}), ptr, token=numbers[order].long().unsqueeze(-1),
        token_node=torch.arange(n, device=numbers.device), token_weight=attr.new_ones(n), weight=attr.new_ones(n),
        edge_index=edges, edge_attr=attr,
    )


def _ptr(real: Tensor) -> Tensor:
    count = real.sum(1)
    return torch.cat([count.new_zeros(1), count.cumsum(0)])


def _provenance(kind: str, modality: str, count: int, rule: Mapping[str, Setting]) -> list[Provenance]:
    return [Provenance(kind=kind, modality=modality, record=str(i), settings=rule) for i in range(count)]
