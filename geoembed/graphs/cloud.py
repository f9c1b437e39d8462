"""Particle clouds: the particles of an event or jet, linked to their nearest in (eta, phi)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from geoembed.errors import ValueRangeError
from geoembed.graphs.arrays import as_tensor, require_finite, require_length
from geoembed.graphs.connect import TWO_PI, connect
from geoembed.graphs.kind import Kind
from geoembed.ops import wrap
from geoembed.schema import Graph, Provenance, Setting, validate

CLASSES = 20
PARTICLE_CLASSES = (
    "unknown", "electron", "muon", "tau", "neutrino", "photon", "charged pion", "neutral pion", "charged kaon", "neutral kaon",
    "proton", "neutron", "other baryon", "other meson", "light quark", "b quark", "c quark", "top quark", "gluon", "W, Z, Higgs",
)
"""Class c of a particle is ``PARTICLE_CLASSES[c]``; charge is a token of its own, so antiparticles share a class."""

_PDG = {11: 1, 13: 2, 15: 3, 12: 4, 14: 4, 16: 4, 22: 5, 211: 6, 111: 7, 321: 8, 130: 9, 310: 9, 311: 9, 2212: 10, 2112: 11,
        1: 14, 2: 14, 3: 14, 5: 15, 4: 16, 6: 17, 21: 18, 23: 19, 24: 19, 25: 19}


def particle_class(pdg: Any) -> Tensor:
    """Class 0…19 of Particle Data Group codes of any shape: int64; what has no class of its own is 0.

    >>> particle_class([211, -11, 22, 3122, 999999]).tolist()
    [6, 1, 5, 12, 0]
    """
    code = as_tensor(pdg, torch.int64).abs()
    digits = code // 10 % 10000  # n_q1 n_q2 n_q3 of the PDG numbering scheme (PDG 2024, section 45)
    q1, q2, q3 = (digits // place % 10 for place in (100, 10, 1))
    # A meson has two quarks (1…6), a baryon three; a diquark (1103) has none in the last place, a pomeron (990) no quarks.
    hadron = (code > 100) & (code < 10_000_000) & (q3 > 0) & (q3 <= 6) & (q2 > 0) & (q2 <= 6) & (q1 <= 6)
    baryon = hadron & (q1 > 0)
    result = torch.where(baryon, 12, torch.where(hadron, 13, 0))
    for number, index in _PDG.items():
        result = torch.where(code == number, index, result)
    return result


def cloud_graph(
    *, pt: Any, eta: Any, phi: Any, energy: Any = None, mass: Any = None, charge: Any = None, particle_id: Any = None,
    neighbors: int = 16, modality: str = "event",
) -> Graph:
    """Particles as a graph: pt [GeV], eta, phi [rad], energy or mass [GeV], each [N] -> cloud of N nodes.

    x = (pt, eta, phi, energy); pos = (eta, phi) with phi in [−π, π); token = (particle class 0…19, charge + 1); edges come
    from the min(``neighbors``, N − 1) nearest with phi periodic; edge_attr = (ln ΔR, ln kT, ln z, ln m²).

    Rows with pt 0 are padding: they are dropped and counted. Without energy and mass particles are taken as massless,
    without charge as neutral, without class as unknown, and the notes say so. No particle at all is a legal, empty cloud.
    Raises :class:`ValueRangeError` on a negative pt, a number that is not finite, a class or charge out of range.
    """
    columns = {name: _column(modality, name, value) for name, value in
               {"pt": pt, "eta": eta, "phi": phi, "energy": energy, "mass": mass, "charge": charge, "particle_id": particle_id}.items()
               if value is not None or name in ("pt", "eta", "phi")}
    require_length(modality, len(columns["pt"]), **columns)
    require_finite(modality, pt=columns["pt"])
    real = columns["pt"] != 0
    notes: dict[str, int | bool] = {}
    if not bool(real.all()):
        notes["padding_dropped"] = int((~real).sum())
        columns = {name: column[real] for name, column in columns.items()}
    require_finite(modality, **columns)  # of the real rows: eta of no momentum is not a number
    if bool((columns["pt"] < 0).any()):
        raise ValueRangeError(where=f"{modality}: pt", found=f"{float(columns['pt'].min())} GeV", expected="≥ 0", remedy="Check the unit.")
    if neighbors < 0:
        raise ValueRangeError(where=f"{modality}: neighbors", found=neighbors, expected="at least 0", remedy="Give a number of neighbors.")
    phi_wrapped = wrap(columns["phi"], TWO_PI)
    if moved := int((phi_wrapped - columns["phi"]).abs().gt(1e-9).sum()):
        notes["phi_wrapped"] = moved
    fields = {
        "x": torch.stack([columns["pt"], columns["eta"], phi_wrapped, _energy(columns, notes)], -1).float(),
        "token": torch.stack([_token(columns, "particle_id", 0, CLASSES - 1, notes), _token(columns, "charge", -1, 1, notes) + 1], -1),
        "pos": torch.stack([columns["eta"], phi_wrapped], -1),
    }
    rule: dict[str, Setting] = {"rule": "eta_phi", "k": neighbors}
    # float32 before the search, not after: the neighbors are those of the positions that the graph holds and a store keeps
    fields["pos"] = fields["pos"].float()
    return validate(connect(Graph(Provenance(kind="cloud", modality=modality, settings=rule, notes=notes), **fields), rule))


def _column(modality: str, name: str, value: Any) -> Tensor:
    """One number a particle."""
    try:
        column = as_tensor(value)
    except (TypeError, ValueError) as error:
        raise ValueRangeError(where=f"{modality}: {name}", found=f"{type(value).__name__} ({error})", expected="numbers, one a particle",
                              remedy="Give a list or an array of numbers.") from error
    if column.dim() > 1:
        raise ValueRangeError(where=f"{modality}: {name}", found=f"shape {list(column.shape)}", expected="one event, [N]",
                              remedy="Call it for each event, or make many at once by clouds_from_awkward or an encoder's from_tensors.")
    return column.flatten()


def _energy(columns: dict[str, Tensor], notes: dict[str, int | bool]) -> Tensor:
    if "energy" in columns:
        return columns["energy"]
    if "mass" not in columns:
        notes["taken_as_massless"] = True
    with np.errstate(over="ignore"):  # infinity is found by the validator
        energy = energy_of(*(None if column is None else column.numpy() for column in map(columns.get, ("pt", "eta", "mass"))))
    return torch.from_numpy(energy)


def energy_of(pt: Any, eta: Any, mass: Any = None) -> Any:
    """Energy [GeV] of particles: pt, mass [GeV], eta, each [N] numpy float64 -> [N]; massless without a mass.

    By the exponential, because torch's cosh rounds by the place of a number in its array: an event must be the same bits in any
    batch.
    """
    growth = torch.exp(torch.from_numpy(np.abs(eta))).numpy()  # three times as fast as NumPy's
    momentum = pt * ((growth + 1 / growth) / 2)
    return momentum if mass is None else np.sqrt(momentum * momentum + mass * mass)  # squares of float32 stay inside float64


def _token(columns: dict[str, Tensor], name: str, low: int, high: int, notes: dict[str, int | bool]) -> Tensor:
    """A token column with its range checked; absent = zeros, noted."""
    if name not in columns:
        notes[f"{name}_absent"] = True
        return torch.zeros(len(columns["pt"]), dtype=torch.int64)
    value = columns[name]
    wrong = (value < low) | (value > high) | (value != value.round())
    if bool(wrong.any()):
        row = int(np.flatnonzero(wrong.numpy())[0])
        raise ValueRangeError(
            where=f"cloud: {name}", found=f"{float(value[row]):g} in row {row}", expected=f"integers {low}…{high}",
            remedy="Convert PDG codes with geoembed.particle_class." if name == "particle_id" else "Give the charge in units of e.",
        )
    return value.long()


KIND = Kind("cloud", cloud_graph, rules=("eta_phi",))
