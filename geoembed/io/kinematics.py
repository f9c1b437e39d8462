"""Particles of many events as flat columns: which name means which quantity, momenta to (pt, eta, phi), one payload an event.

Every container of particle data (Parquet, HDF5, npz, ROOT, LHE, HepMC) ends here, so one rule decides what a column means.
Angles are computed in float64. Codes of particles follow the numbering scheme of the Particle Data Group (PDG 2024, section 45).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from geoembed.graphs.cloud import CLASSES, cloud_graph, particle_class
from geoembed.graphs.clouds import Clouds, clouds, per_event
from geoembed.schema import Graph, Scalar

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ALIASES: Mapping[str, str] = {
    "pt": "pt", "et": "pt", "eta": "eta", "phi": "phi", "px": "px", "py": "py", "pz": "pz",
    "momentum.x": "px", "momentum.y": "py", "momentum.z": "pz",
    "e": "energy", "en": "energy", "energy": "energy", "m": "mass", "mass": "mass", "charge": "charge", "q": "charge",
    "pid": "pdg", "pdg": "pdg", "pdgid": "pdg", "pdg_id": "pdg", "particle_id": "class_or_pdg",
    "rapidity": "rapidity", "ptrel": "ptrel", "etarel": "etarel", "phirel": "phirel", "mask": "valid", "valid": "valid",
    "ischargedhadron": "is211", "isneutralhadron": "is130", "isphoton": "is22", "iselectron": "is11", "ismuon": "is13",
}
"""Lower-case name without its prefix → quantity. Momenta and masses in GeV, angles in rad; ``is211`` flags that PDG code;
``ptrel`` is a fraction of the jet's pt, ``etarel`` and ``phirel`` are distances from its axis."""

MASSES: Mapping[int, float] = {
    11: 0.000511, 13: 0.105658, 211: 0.139570, 111: 0.134977, 321: 0.493677, 130: 0.497611, 310: 0.497611, 311: 0.497611,
    2212: 0.938272, 2112: 0.939565,
}
"""Masses [GeV] of particles that reach a detector, by PDG code (PDG 2024)."""

_LONGEST_FIRST = "|".join(re.escape(name) for name in sorted(ALIASES, key=len, reverse=True))
_NAME = re.compile(rf"(?P<prefix>.*?)(?P<name>{_LONGEST_FIRST})", re.I)


@dataclass(frozen=True)
class Particles:
    """Particles of one event or jet: pt [GeV], eta, phi [rad] and what else the file gives, each [N].

    ``particle_id`` is the class 0…19 of :func:`geoembed.graphs.cloud.particle_class`; ``modality`` is ``event`` or ``jet``;
    ``labels`` [T] become the targets of the graph.
    """

    pt: FloatArray
    eta: FloatArray
    phi: FloatArray
    energy: FloatArray | None = None
    mass: FloatArray | None = None
    charge: FloatArray | None = None
    particle_id: FloatArray | None = None
    modality: str = "event"
    labels: FloatArray | None = None

    def cut(self, low: int, high: int) -> Particles:
        """Particles ``low`` up to, not including, ``high``; arrays are views."""
        optional = (self.energy, self.mass, self.charge, self.particle_id)
        energy, mass, charge, particle_id = (None if column is None else column[low:high] for column in optional)
        pt, eta, phi = self.pt[low:high], self.eta[low:high], self.phi[low:high]
        return Particles(pt, eta, phi, energy, mass, charge, particle_id, self.modality)

    def to_graph(self) -> Graph:
        """The cloud of these particles."""
        graph = cloud_graph(
            pt=self.pt, eta=self.eta, phi=self.phi, energy=self.energy, mass=self.mass, charge=self.charge,
            particle_id=self.particle_id, modality=self.modality,
        )
        if self.labels is not None:
            graph.y = torch.from_numpy(self.labels).float().unsqueeze(0)
        return graph


def by_prefix(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Column names grouped by what stands before the quantity: {prefix: {quantity: column}}; other names are left out.

    >>> by_prefix(["label", "part_px", "part_py", "Muon_Pt"])
    {'part_': {'px': 'part_px', 'py': 'part_py'}, 'Muon_': {'pt': 'Muon_Pt'}}
    """
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        match = _NAME.fullmatch(name)
        if match and (not match["prefix"] or match["prefix"][-1] in "._"):
            groups.setdefault(match["prefix"], {}).setdefault(ALIASES[match["name"].lower()], name)
    return groups


def is_kinematic(quantities: Iterable[str]) -> bool:
    """Whether these quantities fix the momenta: (pt, eta, phi), (px, py, pz) or (pt, rapidity, phi)."""
    have = set(quantities)
    return any(needed <= have for needed in ({"pt", "eta", "phi"}, {"px", "py", "pz"}, {"pt", "rapidity", "phi"}))


def charge_of(pdg: npt.ArrayLike) -> FloatArray:
    """Electric charge in units of e of PDG codes, from their quark digits; what has no known charge is 0.

    >>> charge_of([11, -11, 211, -321, 2212, 2112, 22, 24, 2]).round(2).tolist()
    [-1.0, 1.0, 1.0, -1.0, 1.0, 0.0, 0.0, 1.0, 0.67]
    """
    code = np.asarray(pdg).astype(np.int64)
    size = np.abs(code)
    thirds: IntArray = np.where((size >= 1) & (size <= 8), _thirds(size), 0)
    thirds = np.where(np.isin(size, (11, 13, 15, 17)), -3, np.where(np.isin(size, (24, 34, 37)), 3, thirds))
    digits = size // 1000 % 10, size // 100 % 10, size // 10 % 10
    q1, q2, q3 = (np.where(digit > 0, _thirds(digit), 0) for digit in digits)
    meson = np.where(digits[1] % 2 == 0, q2 - q3, q3 - q2)  # the heavier quark is the particle only if it is up-type
    hadron = (size > 100) & (size < 10_000_000) & (digits[1] > 0) & ((digits[2] > 0) | (digits[0] > 0))
    thirds = np.where(hadron, np.where(digits[0] > 0, q1 + q2 + q3, meson), thirds)
    thirds = np.where(size > 1_000_000_000, 3 * (size // 10_000 % 1000), thirds)  # nuclei 10LZZZAAAI
    return np.asarray(thirds * np.sign(code) / 3, np.float64)


def _thirds(quark: IntArray) -> IntArray:
    """Charge of a quark in thirds of e: d, s, b odd codes −1; u, c, t even codes 2."""
    return np.where(quark % 2 == 0, 2, -1).astype(np.int64)


def split(columns: Mapping[str, FloatArray], counts: IntArray, modality: str) -> Iterator[tuple[Particles, dict[str, Scalar]]]:
    """Particles and notes of each event, in order; arguments as of :func:`prepare`."""
    table = prepare(columns, counts, modality)
    for event in range(len(table.counts)):
        yield table.event(event)


@dataclass(frozen=True)
class Prepared:
    """Particles of many events in the terms of the builder: ``whole`` holds all, ``counts`` [B] says how many each event has.

    ``remark`` are notes of every event, ``notes`` counts of their own [B].
    """

    whole: Particles
    counts: IntArray
    remark: Mapping[str, Scalar]
    notes: Mapping[str, IntArray]

    @cached_property
    def bounds(self) -> IntArray:
        """[B+1]."""
        return np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)

    def event(self, number: int) -> tuple[Particles, dict[str, Scalar]]:
        """Particles and notes of one event."""
        payload = self.whole.cut(int(self.bounds[number]), int(self.bounds[number + 1]))
        return payload, {**self.remark, **{name: int(count[number]) for name, count in self.notes.items() if count[number]}}

    def clouds(self) -> Clouds:
        """All events as one block."""
        table = self.whole
        columns = {"pt": table.pt, "eta": table.eta, "phi": table.phi, "energy": table.energy, "mass": table.mass,
                   "charge": table.charge, "particle_id": table.particle_id}
        made = clouds(columns, self.counts, table.modality)
        names = made.block.names
        return replace(made, block=made.block.named(notes={**names.notes, **self.remark}, counts={**names.counts, **self.notes}))


def prepare(columns: Mapping[str, FloatArray], counts: IntArray, modality: str) -> Prepared:
    """The events of flat columns.

    Args:
        columns: flat columns of equal length by quantity (the values of :data:`ALIASES`); at least a kinematic set.
        counts: particles of each event [B]; their sum is the length of the columns.
        modality: ``event`` or ``jet``.

    Particles without transverse momentum that fly along the beam have no direction in (eta, phi): they are left out and
    noted, as are rows that the file itself masks. Rows of zeros (padding) are left to the builder, which drops and notes them.
    """
    notes: dict[str, IntArray] = {}
    flat = dict(columns)
    for reason, drop in (("masked_dropped", _masked(flat)), ("along_beam_dropped", _along_beam(flat))):
        if drop is not None and drop.any():
            notes[reason] = per_event(drop, counts)
            flat = {name: column[~drop] for name, column in flat.items()}
            counts = counts - notes[reason]
    whole, reduced, remark = _complete(flat, modality)
    if reduced is not None and reduced.any():
        notes["charge_reduced_to_sign"] = per_event(reduced, counts)
    return Prepared(whole, counts, remark, notes)


def _masked(flat: dict[str, FloatArray]) -> npt.NDArray[np.bool_] | None:
    """Rows that the table's own mask column leaves out; the column is consumed."""
    valid = flat.pop("valid", None)
    return None if valid is None else valid == 0


def _along_beam(flat: dict[str, FloatArray]) -> npt.NDArray[np.bool_] | None:
    if not {"px", "py", "pz"} <= flat.keys():
        return None
    return np.asarray((flat["px"] == 0) & (flat["py"] == 0) & (flat["pz"] != 0))


def _complete(flat: dict[str, FloatArray], modality: str) -> tuple[Particles, npt.NDArray[np.bool_] | None, dict[str, Scalar]]:
    """(all particles, rows whose charge was reduced to its sign, remarks that hold for all events)."""
    remark: dict[str, Scalar] = {}
    pdg = _pdg(flat, remark)
    if not {"pt", "eta", "phi"} <= flat.keys() and {"px", "py", "pz"} <= flat.keys():
        flat |= zip(("pt", "eta", "phi"), to_pt_eta_phi(flat["px"], flat["py"], flat["pz"]), strict=True)
    elif "eta" not in flat:
        flat["eta"] = _eta(flat, pdg, remark)
    if pdg is not None:
        with np.errstate(invalid="ignore"):  # a number beyond int64 is no code either
            code = np.nan_to_num(pdg, posinf=0, neginf=0).astype(np.int64)
        flat["class"] = _looked_up(code, _CLASS, lambda rare: particle_class(rare).numpy().astype(np.float64))
        if "charge" not in flat:
            flat["charge"] = _looked_up(code, _CHARGE, charge_of)
            remark["charge_from"] = "PDG code"
    reduced: npt.NDArray[np.bool_] | None = None
    if "charge" in flat:
        # The token of a particle holds the sign of its charge: quarks and doubly charged hadrons keep only that
        charge = flat["charge"]
        common = (charge == 0) | (np.abs(charge) == 1)
        if not common.all():
            reduced = np.isfinite(charge) & ~common
            flat["charge"] = np.where(reduced, np.sign(charge), charge)
    optional = (flat.get("energy"), flat.get("mass"), flat.get("charge"), flat.get("class"))
    return Particles(flat["pt"], flat["eta"], flat["phi"], *optional, modality), reduced, remark


_CODES = 4096  # all codes of particles that reach a detector, mesons and baryons of the light quarks included
_CLASS = particle_class(np.arange(-_CODES, _CODES + 1)).numpy().astype(np.float64)
_CHARGE = charge_of(np.arange(-_CODES, _CODES + 1))


def _looked_up(code: IntArray, table: FloatArray, rule: Callable[[IntArray], FloatArray]) -> FloatArray:
    """What ``rule`` says of PDG codes, from its table where they are small."""
    rare = (code > _CODES) | (code < -_CODES)
    if not rare.any():
        found: FloatArray = table[code + _CODES]
        return found
    result: FloatArray = table[np.where(rare, 0, code) + _CODES]
    result[rare] = rule(code[rare])
    return result


def _pdg(flat: dict[str, FloatArray], remark: dict[str, Scalar]) -> FloatArray | None:
    """PDG codes, from a column of codes or from flags such as isElectron; a column of classes is moved to ``class``."""
    if "pdg" in flat:
        return flat["pdg"]
    if "class_or_pdg" in flat:
        given = flat["class_or_pdg"]
        if given.size and (given >= 0).all() and (given < CLASSES).all():
            remark["particle_id_read_as"] = "class"
            flat["class"] = given
            return None
        remark["particle_id_read_as"] = "PDG code"
        return given
    flags = [name for name in flat if name.startswith("is")]
    if not flags:
        return None
    code: FloatArray = np.sum([int(name[2:]) * (flat[name] != 0) for name in flags], axis=0, dtype=np.float64)
    return code


def _eta(flat: dict[str, FloatArray], pdg: FloatArray | None, remark: dict[str, Scalar]) -> FloatArray:
    """Pseudorapidity from rapidity y: sinh eta = (mT / pt) sinh y, with mT from the mass, or from that of the PDG code."""
    if "mass" not in flat and pdg is not None:
        flat["mass"] = np.zeros_like(flat["pt"])
        for code, value in MASSES.items():
            flat["mass"][np.abs(pdg) == code] = value
        remark["mass_from"] = "PDG code"
    remark["eta_from"] = "rapidity and mass" if "mass" in flat else "rapidity of massless particles"
    pt, mass = flat["pt"], flat.get("mass", np.zeros_like(flat["pt"]))
    stretch = np.divide(np.hypot(pt, mass), pt, out=np.ones_like(pt), where=pt > 0)
    return np.asarray(np.arcsinh(stretch * np.sinh(flat["rapidity"])))


def to_pt_eta_phi(px: FloatArray, py: FloatArray, pz: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Cartesian momenta [N] to pt, eta, phi [N] in float64; a row of zeros (padding) gives zeros.

    >>> [float(v[0].round(6)) for v in to_pt_eta_phi(np.array([3.]), np.array([4.]), np.array([0.]))]
    [5.0, 0.0, 0.927295]
    """
    pt = np.sqrt(px * px + py * py)  # seven times as fast as hypot, and no momentum in GeV has a square beyond float64
    # arcsinh keeps eta exact for forward particles, where ln((p + pz) / (p - pz)) / 2 cancels
    eta = np.arcsinh(np.divide(pz, pt, out=np.zeros_like(pt), where=pt > 0))
    return pt, eta, np.arctan2(py, px)
