"""Column maps: a small TOML that says which columns of a table are the particles of a jet or event.

For tables whose names say nothing, or something else::

    columns = {pt = "constit_p", eta = "constit_e", phi = "constit_f"}   # quantity = column
    layout = "lists"          # lists | padded ("E_{}" stands for E_0, E_1 …) | rows (one particle a row, with event)
    unit = "MeV"              # of momenta, energies and masses
    modality = "jet"          # jet | event
    labels = ["is_top"]       # numbers a row, which become the targets y of the graph
    tree = "Events"           # of a ROOT file with several
    [features]                # names along the last axis of an array [rows, particles, features]
    jets = ["constit_p", "constit_e", "constit_f"]

Given as ``geoembed.read(path, columns="map.toml")``, ``geoembed build … --columns map.toml``, or by the name of a preset.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from geoembed.config import config, from_toml
from geoembed.errors import ConfigError, UnknownNameError
from geoembed.io.kinematics import is_kinematic

Quantity = Literal[
    "pt", "eta", "phi", "px", "py", "pz", "rapidity", "energy", "mass", "charge", "pdg", "class", "valid",
    "is11", "is13", "is22", "is130", "is211",
]
"""``class`` is the class 0…19 of ``geoembed.particle_class``; ``valid`` is 0 where a row is no particle; ``is211`` flags that PDG code."""


@config
class ColumnMap:
    """Which columns hold which quantity of the particles; see the module for the TOML.

    Attributes:
        columns: column of each quantity; they must fix the momenta: (pt, eta, phi), (px, py, pz) or (pt, rapidity, phi).
        layout: how a column holds the particles of a jet or event.
        event: in the layout ``rows``, the columns that together number the event.
        features: names along the last axis of an array, by array (HDF5, npz).
        labels: columns of one number a jet or event that become its targets ``y``; missing ones are NaN.
        unit: of momenta, energies and masses in the file.
        modality: what a row is.
        tree: the tree of a ROOT file; empty for the one that has the columns.
        jets: a record a jet of this collection of a PFNano tree (``Jet``, ``FatJet``), by its index of constituents.
    """

    columns: Mapping[Quantity, str] = Field(min_length=3)
    layout: Literal["lists", "padded", "rows"] = "lists"
    event: tuple[str, ...] = ()
    features: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    labels: tuple[str, ...] = ()
    unit: Literal["GeV", "MeV", "TeV"] = "GeV"
    modality: Literal["jet", "event"] = "jet"
    tree: str = ""
    jets: str = ""

    def __post_init__(self) -> None:
        if not is_kinematic(self.columns):
            raise ConfigError(where="ColumnMap.columns", found=sorted(self.columns), expected="pt, eta, phi; or px, py, pz",
                              remedy="Name the columns that fix the momenta.")
        if (self.layout == "rows") != bool(self.event):
            raise ConfigError(where="ColumnMap.event", found=list(self.event), expected="the columns that number the event, in layout rows",
                              remedy='Set layout = "rows" and event = ["event"], or neither.')
        if plain := [column for column in self.columns.values() if (column.count("{}") == 1) != (self.layout == "padded")]:
            raise ConfigError(where="ColumnMap.columns", found=plain, expected='"{}" in the place of the number, in layout padded alone',
                              remedy='Write "E_{}" for E_0, E_1 …')

    @property
    def named(self) -> dict[str, str]:
        """{quantity: column}."""
        return {str(quantity): column for quantity, column in self.columns.items()}

    @property
    def scale(self) -> float:
        """GeV in the unit of the file."""
        return {"GeV": 1.0, "MeV": 1e-3, "TeV": 1e3}[self.unit]


_HLS4ML = (
    "j1_px", "j1_py", "j1_pz", "j1_e", "j1_erel", "j1_pt", "j1_ptrel", "j1_eta", "j1_etarel", "j1_etarot", "j1_phi", "j1_phirel",
    "j1_phirot", "j1_deltaR", "j1_costheta", "j1_costhetarel",
)
_PFNANO: Mapping[Quantity, str] = {
    "pt": "PFCands_pt", "eta": "PFCands_eta", "phi": "PFCands_phi", "mass": "PFCands_mass", "charge": "PFCands_charge",
    "pdg": "PFCands_pdgId",
}
_JETCLASS = ("QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl")

PRESETS: Mapping[str, ColumnMap] = {
    # Kasieczka, Plehn, Thompson & Russell 2019, Top quark tagging reference dataset: 200 constituents, padded with zeros
    "top-tagging": ColumnMap(
        columns={"energy": "E_{}", "px": "PX_{}", "py": "PY_{}", "pz": "PZ_{}"}, layout="padded", labels=("is_signal_new",)),
    # Qu, Li & Qian 2022, JetClass: a tree of lists
    "jetclass": ColumnMap(
        columns={"px": "part_px", "py": "part_py", "pz": "part_pz", "energy": "part_energy", "charge": "part_charge",
                 "is211": "part_isChargedHadron", "is130": "part_isNeutralHadron", "is22": "part_isPhoton",
                 "is11": "part_isElectron", "is13": "part_isMuon"},
        labels=tuple(f"label_{name}" for name in _JETCLASS)),
    # Duarte et al. 2018, jets of the hls4ml project: arrays [jets, particles, features]
    "hls4ml": ColumnMap(
        columns={"pt": "j1_pt", "eta": "j1_eta", "phi": "j1_phi", "energy": "j1_e"}, features={"jetConstituentList": _HLS4ML},
        labels=("j_g", "j_q", "j_w", "j_z", "j_t")),
    # CMS PFNano: jets by their index of constituents among the particle-flow candidates of the event
    "pfnano-jets": ColumnMap(columns=_PFNANO, tree="Events", jets="Jet"),
    "pfnano-fatjets": ColumnMap(columns=_PFNANO, tree="Events", jets="FatJet"),
}
"""Maps of public sets of jets, by name."""


def column_map(given: ColumnMap | str | Path | None) -> ColumnMap | None:
    """A map as it is, the preset of that name, or the map in a TOML file. An unknown key raises :class:`ConfigError`."""
    if given is None or isinstance(given, ColumnMap):
        return given
    if str(given) in PRESETS:
        return PRESETS[str(given)]
    if not Path(given).is_file():
        raise UnknownNameError(where="columns", found=repr(str(given)), expected=f"a TOML file, or one of {', '.join(PRESETS)}",
                               remedy="Write a map, see geoembed.io.column_map.")
    try:
        return from_toml(ColumnMap, given)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(where=given, found=str(error), expected="TOML", remedy="Correct the file.") from error
