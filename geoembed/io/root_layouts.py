"""Where the particles of a ROOT tree are: which branches belong together, and which collections are taken."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from geoembed.io.column_map import ColumnMap
from geoembed.io.forms.particles import list_columns
from geoembed.io.kinematics import by_prefix, is_kinematic

JAGGED = re.compile(
    r"(u?int\d*(_t)?|unsigned \w+|float|double|short|bool|u?char|Float16_t|Double32_t)\[\d*\]"
    r"|(std::)?(vector|array)<(std::)?(u?int\d*_t|unsigned \w+|int|short|float|double|bool|char|long)(,\s*\d+)?>"
    r"|ROOT::VecOps::RVec<(std::)?(u?int\d*_t|unsigned \w+|int|short|float|double|bool|char|long)>"
)
"""Types of branches that hold a list of numbers an event."""

FLOW = ("pfcands", "pfcand", "pfcandidates", "packedpfcandidates", "reconstructedparticles", "pandorapfos")
"""Collections of all reconstructed particles of an event, in order of preference: PFNano, miniAOD-like, EDM4hep."""

FORWARD: Mapping[int, int] = {1: 130, 2: 22}
"""CMS marks candidates of the forward calorimeter as 1 (``h_HF``, hadronic) and 2 (``egamma_HF``, electromagnetic); in the
numbering scheme of the PDG these are quarks."""

DELPHES_FLOW: Mapping[str, int] = {"eflowtrack": 0, "eflowphoton": 22, "eflowneutralhadron": 130}
"""Particle flow of Delphes (de Favereau et al. 2014): three collections; PDG code where the collection implies it."""

_OBJECT = re.compile(r"(analysis)?(electron|muon|photon|tau|jet)(jet)?s?(auxdyn)?")
_OBJECT_CODE = {"electron": 11, "muon": 13, "photon": 22, "tau": 15, "jet": 0}


@dataclass(frozen=True)
class Collection:
    """Branches of one collection by quantity, the PDG code that its name implies (0 = none), its unit in GeV, and codes
    that mean another particle there than in the numbering scheme."""

    branches: Mapping[str, str]
    code: int = 0
    unit: float = 1.0
    recode: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """What is taken from a tree: collections that together make an event or jet, and the notes that say so."""

    collections: tuple[Collection, ...]
    modality: str = "event"
    notes: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()

    @property
    def branches(self) -> set[str]:
        """Names of all branches to be read."""
        return {*self.labels, *(branch for collection in self.collections for branch in collection.branches.values())}


def mapped_layout(types: Mapping[str, str], columns: ColumnMap) -> Layout | None:
    """The layout that a map names, in a tree with these branches; None where one is missing, no list, or a label is one."""
    lists = {name for name, kind in types.items() if JAGGED.fullmatch(kind.strip())}
    if not set(columns.columns.values()) <= lists or not set(columns.labels) <= types.keys() - lists:
        return None
    flow = columns.columns.get("pdg", "").lower().startswith("pfcands_")
    notes = {} if columns.unit == "GeV" else {"momenta_in": columns.unit}
    return Layout((Collection(columns.named, unit=columns.scale, recode=FORWARD if flow else {}),), columns.modality, notes, columns.labels)


def layout_of(types: Mapping[str, str]) -> Layout | None:
    """The layout of a tree whose branches have these type names; None where no branches fix the momenta of particles.

    In order: particle flow of PFNano or EDM4hep, particle flow of Delphes, constituents under a common prefix (``part_px``),
    and else reconstructed objects (electrons, muons, photons, taus, jets) of NanoAOD, Delphes or PHYSLITE.
    """
    names = [name for name, kind in types.items() if not name.startswith("_") and JAGGED.fullmatch(kind.strip())]
    groups = {prefix: group for prefix, group in by_prefix(names).items() if is_kinematic(group)}
    plain = {prefix.rstrip("._").lower(): prefix for prefix in groups}
    for name in FLOW:
        if name in plain:
            collection = Collection(groups[plain[name]], recode=FORWARD if "pf" in name else {})
            notes = {"collection": plain[name].rstrip("._")} | ({"codes_1_and_2": "forward hadron, photon"} if collection.recode else {})
            return Layout((collection,), notes=notes)
    flow = {plain[name]: code for name, code in DELPHES_FLOW.items() if name in plain}
    if flow:
        found = tuple(Collection(groups[prefix], code) for prefix, code in flow.items())
        return Layout(found, notes={"collection": _joined(flow)})
    lists = list_columns(names)
    if lists:
        jet = any(re.fullmatch(r"(fat|ak\d+)?jet_(pt|eta|phi|energy|mass|nparticles)", name, re.I) for name in types)
        return Layout((Collection(lists),), "jet" if jet else "event")
    objects = {prefix: match for name, prefix in sorted(plain.items()) if (match := _OBJECT.fullmatch(name))}
    if not objects:
        return None
    found = tuple(Collection(groups[prefix], _OBJECT_CODE[match[2]] if not match[3] else 15, 1e-3 if match[4] else 1.0)
                  for prefix, match in objects.items())
    notes = {"objects": _joined(objects)} | ({"momenta_in": "MEV"} if any(match[4] for match in objects.values()) else {})
    return Layout(found, notes=notes)


def _joined(prefixes: Iterable[str]) -> str:
    return ", ".join(prefix.rstrip("._") for prefix in prefixes)
