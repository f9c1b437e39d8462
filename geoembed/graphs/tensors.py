"""Rectangular tensors of a whole batch to a :class:`GraphBatch`, without a loop over its graphs.

The ragged kinds (chains, clouds, crystals); patch grids and spheres have ``grid_batch`` and ``sphere_batch`` beside their
builders. Rows that hold nothing are left out, so padding makes no node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from geoembed.errors import EmptyGraphError, SchemaError, ValueRangeError
from geoembed.graphs.chain import OFFSETS
from geoembed.graphs.connect import TWO_PI, connect
from geoembed.ops import sort_by_target, wrap
from geoembed.schema import GraphBatch, Provenance, Setting


def check_shapes(where: str, tensors: Sequence[Tensor], *shapes: str, optional: int = 0) -> None:
    """Raise :class:`SchemaError` unless tensors have these shapes: "B T 4" binds B and T to one size each; ``|`` separates choices.

    The last ``optional`` of them may be absent.
    """
    wanted = "; ".join(f"[{shape.replace(' ', ', ')}]".replace("|", "] or [") for shape in shapes)
    sizes: dict[str, int] = {}
    fits = len(shapes) - optional <= len(tensors) <= len(shapes) and all(isinstance(tensor, Tensor) for tensor in tensors)
    fits = fits and all(any(_binds(tensor, shape.split(), sizes) for shape in choices.split("|")) for tensor, choices in
                        zip(tensors, shapes, strict=False))
    if not fits:
        found = "; ".join(str(list(tensor.shape)) if isinstance(tensor, Tensor) else type(tensor).__name__ for tensor in tensors)
        expected = wanted + (f", the last {optional} optional" if optional else "")
        raise SchemaError(where=where, found=found or "no tensors", expected=expected, remedy="Give the tensors in this order.")


def _binds(tensor: Tensor, names: Sequence[str], sizes: dict[str, int]) -> bool:
    """Whether a tensor has a size for each name, a number its own; sizes of new names are noted where it has."""
    known = {name: int(name) for name in names if name.isdigit()} | sizes
    new = {name: size for name, size in zip(names, tensor.shape, strict=False) if name not in known}
    good = len(names) == tensor.dim() and all(size == (known | new)[name] for name, size in zip(names, tensor.shape, strict=False))
    if good:
        sizes |= new
    return good


def light_curve_batch(times: Tensor, magnitudes: Tensor, errors: Tensor, passband: Tensor | None = None) -> GraphBatch:
    """Light curves [B, T] each (days, mag, mag), NaN where there is no sample -> batch of chains; ``passband`` [B, T] tokens."""
    band = torch.zeros_like(times, dtype=torch.int64) if passband is None else passband.long()
    real = torch.isfinite(magnitudes)  # an error without its magnitude measures nothing
    values = torch.stack([magnitudes, errors.where(real, torch.nan)], -1)  # [B, T, 2]
    return _chain("light_curve", times.double(), values, real, band)


def spectrum_batch(wavelength: Tensor, flux: Tensor, error: Tensor, mask: Tensor, redshift: Tensor) -> GraphBatch:
    """Spectra: wavelength [B, T] Å, flux, error [B, T], mask [B, T] True = good, redshift [B], NaN = unknown -> batch of chains."""
    usable = torch.isfinite(wavelength) & (wavelength > 0)
    good = mask & torch.isfinite(flux) & usable
    scale = flux.abs().where(good, torch.nan).nanmedian(dim=1, keepdim=True).values
    scale = scale.where(torch.isfinite(scale) & (scale > 0), 1.0)
    log_wavelength = torch.log10(wavelength.double() / (1 + redshift.double().nan_to_num(0.0, 0.0, 0.0).unsqueeze(-1)))
    values = (torch.stack([flux, error], -1) / scale.unsqueeze(-1)).where(good.unsqueeze(-1), torch.nan)
    # As in the builder: a bad pixel stays as a node that is never read.
    return _chain("spectrum", log_wavelength, values, usable, None, good)


def _chain(modality: str, pos: Tensor, values: Tensor, real: Tensor, band: Tensor | None, good: Tensor | None = None) -> GraphBatch:
    """Rectangles [B, T] to a flat batch of the rows that are ``real``, in the builder's order, exact duplicates merged."""
    mask = torch.ones_like(real) if good is None else good
    empty = torch.nonzero(~(real & mask).any(1)).flatten().tolist()
    if empty:
        raise EmptyGraphError(where=f"{modality}: row {empty[0]} of {len(real)}", found="no measured sample", expected="at least one",
                              remedy=f"Leave such rows out: {empty[:20]}.")
    if bool((real & ~torch.isfinite(pos)).any()):
        raise ValueRangeError(where=f"{modality}: position", found="a measured sample whose position is not finite",
                              expected="finite positions", remedy="Set what is measured there to NaN too.")
    keys = [pos, torch.zeros_like(pos) if band is None else band.double(), mask.double(), *values.double().unbind(-1)]
    order = torch.arange(pos.shape[1], device=pos.device).expand_as(pos)
    for key in reversed([(~real).double(), *keys]):  # stable sorts, the last key first: what is no sample stands at the end
        order = order.gather(1, torch.argsort(key.gather(1, order), dim=1, stable=True))
    table = torch.stack([key.gather(1, order) for key in keys], -1)
    real = real.gather(1, order)
    same = ((table[:, 1:] == table[:, :-1]) | (table[:, 1:].isnan() & table[:, :-1].isnan())).all(-1)
    real = torch.cat([real[:, :1], real[:, 1:] & ~same], dim=1)
    pos, mask, values = pos.gather(1, order), mask.gather(1, order), values.gather(1, order.unsqueeze(-1).expand_as(values))
    ptr = _ptr(real)
    measured = torch.isfinite(values) & mask.unsqueeze(-1)
    rule: dict[str, Setting] = {"rule": "offsets", "of": list(OFFSETS), "bands": band is not None}
    fields = {
        "x": values.where(measured, 0.0)[real].float() if values.dtype != torch.float64 else values.where(measured, 0.0)[real],
        "measured": measured[real], "mask": mask[real], "pos": pos[real].unsqueeze(-1),
    }
    if band is not None:
        fields["token"] = band.gather(1, order)[real].unsqueeze(-1)
    batch = GraphBatch.from_fields(_provenance("chain", modality, len(real), rule), ptr, **fields)
    connect(batch, rule)
    return batch


def sequence_batch(tokens: Tensor) -> GraphBatch:
    """Sequences of one length: tokens [B, T] int64 as in ``graphs.sequence.ALPHABET`` -> batch of chains."""
    count, length = tokens.shape
    if not length:
        raise EmptyGraphError(where="sequence", found="no letters", expected="at least one", remedy="Leave the record out.")
    rule: dict[str, Setting] = {"rule": "offsets", "of": list(OFFSETS), "bands": False}
    ptr = torch.arange(count + 1, device=tokens.device) * length
    pos = torch.arange(length, device=tokens.device, dtype=torch.float32).repeat(count).unsqueeze(-1)
    fields = {"token": tokens.reshape(-1, 1).long(), "pos": pos}
    batch = GraphBatch.from_fields(_provenance("chain", "sequence", count, rule), ptr, **fields)
    connect(batch, rule)
    return batch


def event_batch(kinematics: Tensor, particle_ids: Tensor, charges: Tensor, mask: Tensor | None = None, neighbors: int = 16) -> GraphBatch:
    """Events padded to one length: kinematics [B, n, 4] = (pt, eta, phi, E), ids and charges [B, n], mask [B, n] (1 = real)."""
    real = kinematics[..., 0] != 0  # as in the builder: padding has no pT
    real = real if mask is None else real & mask.bool()
    pt, eta, phi, energy = kinematics[real].unbind(-1)
    phi = wrap(phi, TWO_PI)
    token = torch.stack([particle_ids[real].long(), charges[real].long() + 1], -1)
    return _cloud("event", torch.stack([pt, eta, phi, energy], -1), torch.stack([eta, phi], -1), token, real, neighbors)


def jet_batch(constituents: Tensor, mask: Tensor | None = None, neighbors: int = 16) -> GraphBatch:
    """Jets padded with rows of zeros: constituents [B, n, F], first two columns (Δeta, Δphi) to the axis; mask [B, n] (1 = real)."""
    real = (constituents != 0).any(-1)
    real = real if mask is None else real & mask.bool()
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
    if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < len(numbers):
        raise ValueRangeError(where="crystal_batch: edge_index", found=f"atoms {int(edge_index.min())} … {int(edge_index.max())}",
                              expected=f"0 … {len(numbers) - 1}", remedy="Number the atoms through the whole batch, from 0.")
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
