"""Jets and events of proton collisions from a small shower: decay into prongs, then angular-ordered splittings to hadrons."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uproot
from numpy.random import Generator, default_rng

HADRONS = ((211, 0.55, 0.13957), (22, 0.25, 0.0), (321, 0.08, 0.49368), (130, 0.07, 0.49761), (2212, 0.05, 0.93827))
"""PDG code, share and mass [GeV] of what a shower ends in; charged ones come in both signs."""

COLUMNS = ("pt", "eta", "phi", "mass", "charge", "pid")
MASS = {1: 20.0, 2: 80.4, 3: 172.5}
"""GeV: what decays into so many prongs (a light parton, a W boson, a top quark)."""


Momentum = tuple[float, float, float]


def shower(rng: Generator, pt: float, eta: float, phi: float, angle: float, cutoff: float = 1.2) -> list[Momentum]:
    """(pt, eta, phi) of the hadrons of a parton: each splitting is at a smaller angle than the one before it.

    Opening angles are log-uniform and energy shares go as 1/z, the soft and collinear limit of QCD; a branch ends where the
    transverse momentum of its next splitting would be below ``cutoff`` [GeV].
    """
    opening = angle * np.exp(-rng.exponential(0.55))
    share = 0.03 ** (1 - rng.random()) * 0.5
    if pt * share * opening < cutoff / 8 or opening < 0.004:
        return [(pt, eta, phi)]
    turn = rng.random() * 2 * np.pi
    across, along = opening * np.cos(turn), opening * np.sin(turn)
    hard = shower(rng, pt * (1 - share), eta - share * across, phi - share * along, opening, cutoff)
    return hard + shower(rng, pt * share, eta + (1 - share) * across, phi + (1 - share) * along, opening, cutoff)


def jet(rng: Generator, prongs: int, pt: float, eta: float, phi: float) -> dict[str, np.ndarray]:
    """Columns of the particles of a jet of ``prongs`` prongs that share the momentum of their parent."""
    shares = rng.dirichlet(np.full(prongs, 6.0))
    spread = 0.0 if prongs == 1 else 2 * MASS[prongs] / pt
    start = rng.random() * 2 * np.pi
    hadrons = []
    for i, share in enumerate(shares):
        turn = start + 2 * np.pi * i / prongs
        place = eta + spread * np.cos(turn) / 2, phi + spread * np.sin(turn) / 2
        hadrons += shower(rng, pt * share, *place, 0.8 / np.sqrt(prongs))
    return particles(rng, np.array(hadrons))


def particles(rng: Generator, momenta: np.ndarray) -> dict[str, np.ndarray]:
    """Columns for momenta [N, 3] = (pt, eta, phi), hardest first, with species drawn from :data:`HADRONS`."""
    momenta = momenta[np.argsort(-momenta[:, 0], kind="stable")]
    kind = rng.choice(len(HADRONS), size=len(momenta), p=[share for _, share, _ in HADRONS])
    sign = rng.choice([-1, 1], size=len(momenta))
    code, mass = (np.array([row[i] for row in HADRONS])[kind] for i in (0, 2))
    charge = np.where(np.isin(code, (22, 130)), 0, sign)
    code = np.where(charge == 0, code, code * sign)
    phi = np.mod(momenta[:, 2] + np.pi, 2 * np.pi) - np.pi
    values = (momenta[:, 0], momenta[:, 1], phi, mass, charge, code)
    return dict(zip(COLUMNS, values, strict=True))


def write(folder: Path) -> None:
    """``jet-1prong.parquet`` … (20 jets each, a row a jet), ``event-dijet.root`` and ``event-Zmumu.root`` (6 events each)."""
    rng = default_rng(20)
    for prongs in (1, 2, 3):
        jets = [jet(rng, prongs, rng.uniform(450, 650), rng.uniform(-1.5, 1.5), rng.uniform(-np.pi, np.pi)) for _ in range(20)]
        if prongs == 3:  # the first jet once more, a quarter turn round the beam
            jets.insert(1, jets[0] | {"phi": np.mod(jets[0]["phi"] + 1.5 * np.pi, 2 * np.pi) - np.pi})
        _write_jets(folder / f"jet-{prongs}prong.parquet", jets)
    _write_events(folder / "event-dijet.root", [_dijet(rng) for _ in range(6)])
    _write_events(folder / "event-Zmumu.root", [_z_to_muons(rng) for _ in range(6)])


def _write_jets(path: Path, jets: list[dict[str, np.ndarray]]) -> None:
    types = {name: pa.float32() for name in COLUMNS} | {"charge": pa.int8(), "pid": pa.int32()}
    columns = {name: pa.array([one[name].tolist() for one in jets], pa.list_(kind)) for name, kind in types.items()}
    pq.write_table(pa.table(columns), path, compression="zstd")


def _dijet(rng: Generator) -> dict[str, np.ndarray]:
    """Two jets back to back, and soft particles everywhere."""
    pt, phi = rng.uniform(150, 400), rng.uniform(-np.pi, np.pi)
    parts = [jet(rng, 1, pt, rng.uniform(-2, 2), phi), jet(rng, 1, 0.95 * pt, rng.uniform(-2, 2), phi + np.pi), _soft(rng)]
    return _joined(parts)


def _z_to_muons(rng: Generator) -> dict[str, np.ndarray]:
    """A Z boson of 91.19 GeV to two muons, at rest along the beam, beside a recoil jet."""
    phi, eta = rng.uniform(-np.pi, np.pi), rng.uniform(-1, 1)
    back = np.mod(phi + 2 * np.pi, 2 * np.pi) - np.pi
    muons = {"pt": np.full(2, 91.19 / 2), "eta": np.full(2, eta), "phi": np.array([phi, back]),
             "mass": np.full(2, 0.10566), "charge": np.array([-1, 1]), "pid": np.array([13, -13])}
    return _joined([muons, jet(rng, 1, rng.uniform(30, 60), rng.uniform(-2, 2), rng.uniform(-np.pi, np.pi)), _soft(rng)])


def _soft(rng: Generator) -> dict[str, np.ndarray]:
    count = int(rng.integers(60, 100))
    momenta = np.stack([0.3 + rng.exponential(0.7, count), rng.uniform(-2.5, 2.5, count), rng.uniform(-np.pi, np.pi, count)], -1)
    return particles(rng, momenta)


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}


def _write_events(path: Path, events: list[dict[str, np.ndarray]]) -> None:
    """A TTree ``Events`` with jagged branches ``PFCands_pt`` …, as in PFNano."""
    types = {name: np.int32 if name in ("charge", "pid") else np.float32 for name in COLUMNS}
    names = {"pid": "pdgId"}
    jagged = {names.get(name, name): ak.Array([event[name].astype(kind) for event in events]) for name, kind in types.items()}
    particles = ak.zip(jagged)
    with uproot.recreate(path, compression=uproot.ZLIB(6)) as file:
        file.mktree("Events", {"PFCands": particles.type.content}).extend({"PFCands": particles})
