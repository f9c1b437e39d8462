"""Every question that has a script, in one place: a new script is one line here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Question:
    """A script of this folder and what it answers."""

    name: str
    """Of the module in ``benchmarks`` and of the JSON that it writes."""
    line: str
    where: str
    """``cpu``; ``gpu``; or ``both``: each measures its own thing there."""
    needs: str = ""
    """Data or software that it can use beyond what the tests have."""
    quick: tuple[str, ...] = ()
    """Arguments of a short run."""
    parts: bool = False
    """Whether it takes --only, --quick and --cpu: a small problem where there is no GPU."""

    @property
    def module(self) -> str:
        """Name to import it by."""
        return f"benchmarks.{self.name}"


_ALL = (
    Question("crystal_encoder", "Crystals to vectors: rate, training step, batch sizes, precisions, ragged degrees", "gpu", parts=True),
    Question("segment", "Sums of segments beside index_add, segment_reduce, scatter_add and the copy rate", "gpu", parts=True),
    Question("cgconv", "CGConv beside PyG's, forward and backward", "gpu", parts=True),
    Question("mesh", "Weather states on the sphere: processor, encoder at 1° and 0.25°, training step", "gpu", parts=True),
    Question("neighbors_gpu", "Periodic neighbors on a GPU beside brute force", "gpu", needs="--crystals FILE.npz for a file of crystals"),
    Question("neighbors", "Periodic neighbors on a CPU beside pymatgen, vesin, matscipy and ASE", "cpu"),
    Question("point_neighbors", "k nearest neighbors on the cylinder beside padded cdist and topk", "both"),
    Question("crystal_files", "Crystal files to graphs beside the field's readers", "cpu", needs="MIL-101 of the shared data for one row"),
    Question("particles", "Tables of jets to a store, by columns and record by record", "cpu"),
    Question("loader", "Batches out of a store beside PyG's loaders", "both", quick=("--graphs", "2048")),
    Question("pipeline", "Files to a table, a domain and a stage, and its memory", "cpu"),
    Question("search", "The vector table: build, exact search, index", "cpu", needs="12 GB of disk", quick=("--rows", "100000")),
    Question("sphere", "Multi-mesh and its edges to a grid beside anemoi-graphs", "cpu", needs="--rival-python for the rival's columns",
             quick=("--repeats", "2")),
    Question("particle_net", "A network of ParticleNet's size with dynamic neighbors: jets a second", "gpu"),
    Question("embed", "A store to embeddings, sustained", "gpu"),
    Question("crystal_store", "A compact store of crystals: bytes an edge, rate out", "both"),
)

QUESTIONS = {one.name: one for one in _ALL if find_spec(one.module)}
"""By name, in the order of the list."""
