"""Chains: ordered samples with irregular spacing — light curves, spectra, sequences — linked over dilated offsets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geoembed.errors import EmptyGraphError, ValueRangeError
from geoembed.graphs.arrays import as_tensor, require_finite, require_length
from geoembed.graphs.connect import connect
from geoembed.graphs.kind import Kind
from geoembed.graphs.passbands import passband_tokens
from geoembed.graphs.sequence import sequence_graph
from geoembed.schema import Graph, Provenance, Setting, validate

OFFSETS = (1, 2, 4, 8, 16)
"""Dilated steps: four layers see 2·4·16 = 128 samples to each side."""


class ChainBuilder:
    """Callable :data:`chain_graph`, with the constructor for letters beside it."""

    from_sequence = staticmethod(sequence_graph)

    def __call__(
        self, position: Any, values: Any, *, passband: Iterable[object] | Tensor | None = None, mask: Any = None,
        offsets: Sequence[int] = OFFSETS, modality: str = "chain",
    ) -> Graph:
        """Ordered samples as a graph: position [N], values [N] or [N, F] -> chain of N nodes.

        Args:
            position: any unit (days, log10 Å, s), irregular, in any order; sorted here (ties by passband, then values).
            values: NaN marks an entry as not measured; a row without any measured entry is absent from the graph.
            passband: names or tokens [N]; samples of one band are linked across the others.
            mask: [N] bool, True = measured; False rows stay as nodes whose values are never read.
            offsets: steps at which samples are linked, both ways.
            modality: what is measured; picks the encoder where none is named.

        Exact duplicates are merged and counted in the notes; conflicting values at one position are kept and counted.
        Raises :class:`EmptyGraphError` where nothing is measured, :class:`ValueRangeError` on a position that is not finite.
        """
        pos, table = as_tensor(position).flatten(), as_tensor(values)
        table = table.unsqueeze(-1) if table.dim() == 1 else table
        token = None if passband is None else passband_tokens(passband.tolist() if isinstance(passband, Tensor) else passband)
        good = torch.ones(len(pos), dtype=torch.bool) if mask is None else as_tensor(mask, torch.bool).flatten()
        require_length(modality, len(pos), values=table, passband=token, mask=good)
        require_finite(modality, position=pos)
        if min(offsets, default=1) < 1:
            raise ValueRangeError(where=f"{modality}: offsets", found=min(offsets), expected="steps of at least 1",
                                  remedy="Give positive steps; each links both ways.")
        table = table.where(good.unsqueeze(-1), torch.nan)  # what a bad sample holds must not even order or merge samples
        order, notes = _order(pos, table, token, good)
        if not len(order) or not bool(good[order].any()):
            raise EmptyGraphError(where=modality, found="no measured sample", expected="at least one", remedy="Leave the record out.")
        pos, table, good = pos[order], table[order], good[order]
        measured = torch.isfinite(table) & good.unsqueeze(-1)
        fields = {"x": table.where(measured, 0.0).float(), "measured": measured, "mask": good, "pos": pos.unsqueeze(-1)}
        if token is not None:
            fields["token"] = token[order].unsqueeze(-1)
        rule: dict[str, Setting] = {"rule": "offsets", "of": list(offsets), "bands": token is not None}
        graph = Graph(Provenance(kind="chain", modality=modality, settings=rule, notes=notes), **fields)
        return validate(connect(graph, rule))


chain_graph = ChainBuilder()


def _order(pos: Tensor, table: Tensor, token: Tensor | None, good: Tensor) -> tuple[Tensor, dict[str, int]]:
    """Rows to keep, in order, and counts of what was left out or merged."""
    present = torch.isfinite(table).any(-1) | ~good
    band = torch.zeros_like(pos) if token is None else token.double()
    keys = torch.cat([pos.unsqueeze(-1), band.unsqueeze(-1), good.double().unsqueeze(-1), table], dim=-1).numpy()
    order = np.lexsort(keys.T[::-1])
    order = order[present.numpy()[order]]
    rows = keys[order]
    if len(order) > 1:
        same = np.concatenate([[False], ((rows[1:] == rows[:-1]) | (np.isnan(rows[1:]) & np.isnan(rows[:-1]))).all(axis=1)])
        at_once = int(((rows[1:, :2] == rows[:-1, :2]).all(axis=1) & ~same[1:]).sum())
    else:
        same, at_once = np.zeros(len(order), dtype=bool), 0
    counts = {"missing_dropped": int((~present).sum()), "duplicates_merged": int(same.sum()), "conflicting_samples": at_once}
    return torch.from_numpy(order[~same]), {name: count for name, count in counts.items() if count}


def light_curve_graph(
    time: Any, magnitude: Any = None, error: Any = None, *, flux: Any = None, flux_error: Any = None, zero_point: float = 27.5,
    passband: Iterable[object] | None = None, offsets: Sequence[int] = OFFSETS,
) -> Graph:
    """A light curve: time [days], magnitude and error [mag] or flux and its error, each [N] -> chain with x = (mag, error).

    Fluxes, which may be negative, become asinh magnitudes (Lupton, Gunn & Szalay 1999, eq. 3) with ``zero_point`` and a
    softening of 5 flux units, a one-to-one map that equals the ordinary magnitude of bright samples.
    """
    unit = "mag"
    if magnitude is None:
        if flux is None:
            raise ValueRangeError(where="light_curve", found="neither magnitude nor flux", expected="one of them",
                                  remedy="Pass magnitude=, or flux= with its zero_point.")
        magnitude, error = asinh_magnitude(as_tensor(flux), None if flux_error is None else as_tensor(flux_error), zero_point)
        unit = "asinh mag"
    mag = as_tensor(magnitude).flatten()
    err = torch.full_like(mag, torch.nan) if error is None else as_tensor(error).flatten()
    require_length("light_curve", len(mag), error=err)
    err = err.where(torch.isfinite(mag), torch.nan)  # an error without its magnitude measures nothing
    bands = ["unspecified"] * len(mag) if passband is None else passband
    graph = chain_graph(time, torch.stack([mag, err], -1), passband=bands, offsets=offsets, modality="light_curve")
    return graph.with_provenance(settings={**graph.provenance.settings, "unit": unit})


def asinh_magnitude(flux: Tensor, error: Tensor | None, zero_point: float, softening: float = 5.0) -> tuple[Tensor, Tensor | None]:
    """(magnitude, error) [mag] of fluxes [N] of any sign: m = zp − 2.5/ln 10 · (asinh(f / 2b) + ln b)."""
    scale = 2.5 / math.log(10)
    magnitude = zero_point - scale * (torch.asinh(flux / (2 * softening)) + math.log(softening))
    spread = None if error is None else scale * error.abs() / torch.sqrt(flux.square() + 4 * softening**2)
    return magnitude, spread


def spectrum_graph(
    wavelength: Any, flux: Any, error: Any = None, *, mask: Any = None, redshift: float | None = None, offsets: Sequence[int] = OFFSETS
) -> Graph:
    """A spectrum: wavelength [Å], flux and error (any unit), each [N] -> chain over log10 of the rest-frame wavelength.

    x = (flux, error) divided by the median absolute flux of the good pixels, which is kept in the settings. ``mask`` True =
    good pixel; bad ones stay as nodes that are never read. ``redshift`` divides the wavelengths by 1 + z.
    """
    wave, value = as_tensor(wavelength).flatten(), as_tensor(flux).flatten()
    spread = torch.full_like(value, torch.nan) if error is None else as_tensor(error).flatten()
    good = torch.isfinite(value) if mask is None else as_tensor(mask, torch.bool).flatten() & torch.isfinite(value)
    require_length("spectrum", len(wave), flux=value, error=spread, mask=good)
    usable = torch.isfinite(wave) & (wave > 0)
    wave, value, spread, good = wave[usable], value[usable], spread[usable], good[usable]
    z = 0.0 if redshift is None or not math.isfinite(redshift) else float(redshift)
    scale = float(value[good].abs().median()) if bool(good.any()) else 0.0
    scale = scale if scale > 0 else 1.0
    table = torch.stack([value, spread], -1) / scale
    graph = chain_graph(torch.log10(wave / (1 + z)), table, mask=good, offsets=offsets, modality="spectrum")
    notes = {"unusable_wavelengths": int((~usable).sum())} if not bool(usable.all()) else {}
    settings = {**graph.provenance.settings, "flux_scale": scale, "redshift": redshift if z else None}
    return graph.with_provenance(settings=settings, notes=notes)


KIND = Kind("chain", chain_graph, rules=("offsets",))
