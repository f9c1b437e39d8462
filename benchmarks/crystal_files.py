"""How fast do crystal files become graphs, beside the field's readers alone, and are the sites the same?

CIF files are written from known lattices: P1 cells of 24 to 40 displaced sites, and cells of five space groups with their symmetry
operations; POSCAR and extended XYZ from the P1 cells. ``text``: file to sites. ``graph``: file to the validated graph at 8 Å / 12
neighbors, one at a time; ``together``: the same as ``build`` does it, up to 64 searched at once. The rivals only parse: they end
with a ``Structure`` or ``Atoms``. All columns of a row are CPU seconds of one process, measured in turns. MIL-101 (14,416 sites) is
read where the shared data are. Run: ``python -m benchmarks.crystal_files``.
"""

from __future__ import annotations

import logging
import statistics
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from ase.io import read as ase_read
from ase.io import write as ase_write
from geoembed import read
from geoembed.io.ase_formats import AseFormats
from geoembed.io.cif import Cif
from geoembed.io.poscar import Poscar
from geoembed.io.reader import Parsed, built_together, stream_blocks
from geoembed.pipeline.worker import TOGETHER
from geoembed.schema import Graph
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar as PymatgenPoscar

from benchmarks.record import write
from benchmarks.timing import on_cpu, quotients, row

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "materials" / "archives" / "large_files.tar.xz"
FILES, ROUNDS = 40, 7
Work = Callable[[list[Path]], object]
GRAPHS_PER_SECOND = 1_500
TEXT_SECONDS = {"P1": 150e-6, "symmetric": 250e-6, "poscar": 300e-6, "extxyz": 300e-6}
MIL_SECONDS = 10.0
GROUPS = [  # group, lattice of edge a [Å], species, sites of the asymmetric unit
    ("Fm-3m", Lattice.cubic, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    ("P6_3/mmc", lambda a: Lattice.hexagonal(a, 1.63 * a), ["Mg"], [[1 / 3, 2 / 3, 0.25]]),
    ("P4_2/mnm", lambda a: Lattice.tetragonal(a, 0.64 * a), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]),
    ("Pm-3m", Lattice.cubic, ["Ca", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]),
    ("P2_1/c", lambda a: Lattice.monoclinic(a, 1.01 * a, 1.03 * a, 99), ["Zr", "O", "O"],
     [[0.276, 0.041, 0.208], [0.070, 0.332, 0.345], [0.450, 0.757, 0.480]]),
]


def p1_cell(rng: np.random.Generator) -> Structure:
    """A triclinic cell of 24 to 40 sites, 12 Å³ each, none closer than 1.5 Å."""
    count = int(rng.integers(24, 41))
    edge = (12.0 * 64) ** (1 / 3)
    places = np.stack(np.unravel_index(rng.permutation(64)[:count], (4, 4, 4)), axis=1) / 4 + rng.uniform(0, 0.06, (count, 3))
    lattice = Lattice.from_parameters(*(edge * rng.uniform(0.95, 1.05, 3)), *rng.uniform(80, 100, 3))
    return Structure(lattice, [str(name) for name in rng.choice(["Li", "Fe", "P", "O", "Si"], count)], places)


def written(folder: Path) -> dict[str, list[Path]]:
    """Files of each kind, ``FILES`` of each."""
    rng = np.random.default_rng(0)
    paths: dict[str, list[Path]] = {kind: [] for kind in TEXT_SECONDS}
    for i in range(FILES):
        cell = p1_cell(rng)
        group, lattice, species, sites = GROUPS[i % len(GROUPS)]
        symmetric = Structure.from_spacegroup(group, lattice(4.5 + 0.02 * i), species, sites)
        for kind, name in (("P1", "p1.cif"), ("symmetric", "sym.cif"), ("poscar", "cell.poscar"), ("extxyz", "cell.extxyz")):
            paths[kind].append(folder / f"{i}-{name}")
        paths["P1"][-1].write_text(str(CifWriter(cell)))
        paths["symmetric"][-1].write_text(str(CifWriter(symmetric, symprec=0.01)))
        paths["poscar"][-1].write_text(PymatgenPoscar(cell).get_str())
        ase_write(paths["extxyz"][-1], AseAtomsAdaptor.get_atoms(cell), format="extxyz")
    return paths


def a_file(works: Mapping[str, Work], paths: list[Path]) -> dict[str, list[float]]:
    """CPU seconds a file of each work."""
    times = on_cpu({name: (lambda work=work: work(paths)) for name, work in works.items()}, ROUNDS)
    return {name: [seconds / len(paths) for seconds in values] for name, values in times.items()}


def each(work: Callable[[Path], object]) -> Work:
    """A work on one file, done for all."""
    return lambda paths: [work(path) for path in paths]


def together(paths: list[Path]) -> object:
    """What ``build`` does with small records: reads some, builds them, lets them go."""
    graphs = 0
    for low in range(0, len(paths), TOGETHER):
        parsed = [one for path in paths[low : low + TOGETHER] for one in stream_blocks(path) if isinstance(one, Parsed)]
        graphs += sum(isinstance(one, Graph) for one in built_together(parsed))
    if graphs != len(paths):
        raise SystemExit(f"{graphs} graphs of {len(paths)} files")
    return graphs


def rows_of(kind: str, paths: list[Path]) -> list[dict[str, object]]:
    """Rows of one kind of file: to sites, and to graphs, beside the rival's parser alone."""
    reader = {"poscar": Poscar, "extxyz": AseFormats}.get(kind, Cif)()
    rivals: dict[str, Callable[[Path], object]] = {"ase.io.read": ase_read}
    if kind != "extxyz":
        rivals["pymatgen Structure.from_file"] = lambda path: Structure.from_str(path.read_text(), "poscar") if kind == "poscar" else (
            Structure.from_file(path))
    else:
        rivals = {"ase.io.read": lambda path: ase_read(path, format="extxyz")}
    works = {"text": each(lambda path: list(reader.records(path))), "graph": each(lambda path: list(read(path))), "together": together}
    seconds = a_file(works | {name: each(rival) for name, rival in rivals.items()}, paths)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    fastest = min(rivals, key=median.__getitem__)
    common = {"rival_reader": fastest, "rivals_files_per_second": {name: 1 / median[name] for name in rivals}, "files": len(paths)}
    micro = {name: [1e6 * value for value in seconds[name]] for name in ("text", fastest)}
    rows = [row(f"{kind}: file to sites, µs a file", micro["text"], micro[fastest], quotients(micro[fastest], micro["text"]),
                goal=1e6 * TEXT_SECONDS[kind], met=median["text"] <= TEXT_SECONDS[kind], **common)]
    for name, how in (("graph", "one at a time"), ("together", "64 at once")):
        ours, rival = ([1 / value for value in seconds[side]] for side in (name, fastest))
        rows.append(row(f"{kind}: file to graph at 8 Å/12, {how}, files/s a core (rival: parsing alone)", ours, rival,
                        quotients(ours, rival), goal=GRAPHS_PER_SECOND, met=statistics.median(ours) >= GRAPHS_PER_SECOND, **common))
    return rows


def mil_101(folder: Path) -> list[dict[str, object]]:
    """MIL-101, file to graph, beside pymatgen's parser; no row where the shared data are absent."""
    if not SHARED.exists():
        return []
    with tarfile.open(SHARED) as archive:
        member = next(item for item in archive if item.name.endswith("MIL-101.cif"))
        content = archive.extractfile(member)
        path = folder / "MIL-101.cif"
        path.write_bytes(b"" if content is None else content.read())
    seconds = a_file({"text": each(lambda path: list(Cif().records(path))), "graph": each(lambda path: list(read(path)))}, [path])
    (graph,) = read(path)
    start = time.process_time()
    rival = Structure.from_file(path)
    theirs = time.process_time() - start
    ours = seconds["graph"]
    return [row("MIL-101: file to graph at 8 Å/12, CPU seconds (rival: pymatgen's parser alone, once)", ours, [theirs, theirs],
                [theirs / one for one in ours], goal=MIL_SECONDS, met=statistics.median(ours) <= MIL_SECONDS,
                parse_seconds=statistics.median(seconds["text"]), sites=[graph.num_nodes, len(rival)])]


def main() -> None:
    """Measure every kind of file, print a table, write the JSON."""
    logging.getLogger("geoembed").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        rows = [one for kind, paths in written(Path(place)).items() for one in rows_of(kind, paths)]
        rows += mil_101(Path(place))
    for one in rows:
        print(f"{one['question']:<85} {one['ours']:10.2f}  rival {one['rival']:10.2f}  goal {one['goal']}  met {one['met']}")
    print(write("crystal_files", rows))


if __name__ == "__main__":
    main()
