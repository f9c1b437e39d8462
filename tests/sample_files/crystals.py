"""Crystals and molecules from textbook lattice parameters (Å), as CIF, POSCAR and extended XYZ.

Each CIF has the asymmetric unit and its space group; those that end in ``-P1`` list every site of the same crystal instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from math import cos, radians, sin, sqrt
from pathlib import Path

import gemmi
import numpy as np

Site = tuple[str, float, float, float, float]  # element, fractional coordinates, occupancy


@dataclass(frozen=True)
class Crystal:
    """A textbook crystal: formula, Hermann-Mauguin symbol, (a, c, gamma), and the sites of the asymmetric unit."""

    formula: str
    group: str
    a: float
    sites: tuple[Site, ...]
    c: float = 0.0
    gamma: float = 90.0


_THIRD = 1 / 3
CRYSTALS = {  # Wyckoff, Crystal Structures (1963); Kittel, Introduction to Solid State Physics (2005)
    "covalent-Si": Crystal("Si", "F d -3 m:2", 5.4310, (("Si", 0.125, 0.125, 0.125, 1),)),
    "covalent-GaAs": Crystal("Ga As", "F -4 3 m", 5.6533, (("Ga", 0, 0, 0, 1), ("As", 0.25, 0.25, 0.25, 1))),
    "covalent-graphite": Crystal("C", "P 63/m m c", 2.4640, (("C", 0, 0, 0.25, 1), ("C", _THIRD, 2 / 3, 0.25, 1)), 6.7110, 120),
    "ionic-NaCl": Crystal("Na Cl", "F m -3 m", 5.6402, (("Na", 0, 0, 0, 1), ("Cl", 0.5, 0.5, 0.5, 1))),
    "ionic-CsCl": Crystal("Cs Cl", "P m -3 m", 4.1230, (("Cs", 0, 0, 0, 1), ("Cl", 0.5, 0.5, 0.5, 1))),
    "metal-Cu": Crystal("Cu", "F m -3 m", 3.6149, (("Cu", 0, 0, 0, 1),)),
    "metal-Fe": Crystal("Fe", "I m -3 m", 2.8665, (("Fe", 0, 0, 0, 1),)),
    "metal-FeCo": Crystal("Fe0.5 Co0.5", "I m -3 m", 2.8570, (("Fe", 0, 0, 0, 0.5), ("Co", 0, 0, 0, 0.5))),
    "oxide-SrTiO3": Crystal("Sr Ti O3", "P m -3 m", 3.9050,
                            (("Sr", 0, 0, 0, 1), ("Ti", 0.5, 0.5, 0.5, 1), ("O", 0.5, 0.5, 0, 1))),
    "oxide-TiO2": Crystal("Ti O2", "P 42/m n m", 4.5937, (("Ti", 0, 0, 0, 1), ("O", 0.3053, 0.3053, 0, 1)), 2.9587),
    "oxide-ZnO": Crystal("Zn O", "P 63 m c", 3.2495, (("Zn", _THIRD, 2 / 3, 0, 1), ("O", _THIRD, 2 / 3, 0.3820, 1)), 5.2069, 120),
    "oxide-SiO2": Crystal("Si O2", "P 32 2 1", 4.9134,
                          (("Si", 0.4697, 0, 2 / 3, 1), ("O", 0.4135, 0.2669, 0.1191 + 2 / 3, 1)), 5.4052, 120),
}
IN_P1 = ("ionic-NaCl", "oxide-TiO2")


def write(folder: Path) -> None:
    """``crystal-FAMILY-NAME.cif``, the primitive cell of silicon as POSCAR, magnesia as POSCAR, three molecules."""
    for name, crystal in CRYSTALS.items():
        (folder / f"crystal-{name}.cif").write_text(_cif(name, crystal, crystal.group, crystal.sites))
    for name in IN_P1:
        crystal = CRYSTALS[name]
        (folder / f"crystal-{name}-P1.cif").write_text(_cif(f"{name}-P1", crystal, "P 1", _expanded(crystal)))
    primitive = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    silicon = _poscar("Si, diamond structure, primitive cell", 5.4310 * primitive, {"Si": [[0, 0, 0], [0.25, 0.25, 0.25]]})
    (folder / "crystal-covalent-Si-primitive.vasp").write_text(silicon)
    magnesia = _poscar("MgO, rock salt, primitive cell", 4.2120 * primitive, {"Mg": [[0, 0, 0]], "O": [[0.5, 0.5, 0.5]]})
    (folder / "crystal-ionic-MgO.vasp").write_text(magnesia)
    (folder / "crystal-molecule-three.extxyz").write_text(_molecules())


def _expanded(crystal: Crystal) -> tuple[Site, ...]:
    """All sites of the cell: the orbit of each site under the operations of the group."""
    sites: dict[tuple[str, tuple[float, ...]], Site] = {}
    for element, *place, occupancy in crystal.sites:
        for operation in gemmi.SpaceGroup(crystal.group).operations():
            x, y, z = (round(value % 1.0, 6) % 1.0 for value in operation.apply_to_xyz(place))
            sites.setdefault((element, (x, y, z)), (element, x, y, z, occupancy))
    return tuple(sites.values())


def _cif(name: str, crystal: Crystal, group: str, sites: tuple[Site, ...]) -> str:
    symmetry = gemmi.SpaceGroup(group)
    a, c, gamma = crystal.a, crystal.c or crystal.a, crystal.gamma
    rows = [f"{element}{i + 1} {element} {x:.6f} {y:.6f} {z:.6f} {occupancy:g}"
            for i, (element, x, y, z, occupancy) in enumerate(sites)]
    operations = [f"'{operation.triplet()}'" for operation in symmetry.operations()]
    return "\n".join([
        f"data_{name}", f"_chemical_formula_sum '{crystal.formula}'",
        f"_cell_length_a {a:.4f}", f"_cell_length_b {a:.4f}", f"_cell_length_c {c:.4f}",
        "_cell_angle_alpha 90", "_cell_angle_beta 90", f"_cell_angle_gamma {gamma:g}",
        f"_space_group_name_H-M_alt '{symmetry.xhm()}'", f"_space_group_IT_number {symmetry.number}",
        "loop_", "_space_group_symop_operation_xyz", *operations,
        "loop_", "_atom_site_label", "_atom_site_type_symbol", "_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z",
        "_atom_site_occupancy", *rows, "",
    ])


def _poscar(comment: str, cell: np.ndarray, sites: dict[str, list[list[float]]]) -> str:
    rows = [" ".join(f"{value:.8f}" for value in row) for row in [*cell.tolist(), *chain(*sites.values())]]
    counts = " ".join(str(len(places)) for places in sites.values())
    return "\n".join([comment, "1.0", *rows[:3], " ".join(sites), counts, "Direct", *rows[3:], ""])


def _molecules() -> str:
    """Water, methane and benzene: bond lengths and angles of the gas phase (CRC Handbook of Chemistry and Physics)."""
    half = radians(104.5 / 2)
    water = [("O", 0.0, 0.0, 0.0), *(("H", side * 0.958 * sin(half), 0.958 * cos(half), 0.0) for side in (-1, 1))]
    corner = 1.087 / sqrt(3)
    methane = [("C", 0.0, 0.0, 0.0), *(("H", x * corner, y * corner, x * y * corner) for x in (-1, 1) for y in (-1, 1))]
    ring = [radians(60 * i) for i in range(6)]
    benzene = [(element, r * cos(angle), r * sin(angle), 0.0) for element, r in (("C", 1.397), ("H", 2.481)) for angle in ring]
    frames = []
    for name, atoms in (("water", water), ("methane", methane), ("benzene", benzene)):
        rows = [f"{element} {x + 0.0:.5f} {y + 0.0:.5f} {z + 0.0:.5f}" for element, x, y, z in atoms]
        frames += [str(len(atoms)), f'Properties=species:S:1:pos:R:3 name={name} pbc="F F F"', *rows]
    return "\n".join([*frames, ""])
