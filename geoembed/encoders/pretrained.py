"""Finding encoders: saved ones by name or folder, untrained ones that fit given graphs."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import torch

from geoembed import registry
from geoembed.encoders.base import Encoder, read_config
from geoembed.errors import UnknownNameError
from geoembed.schema import Graph, GraphBatch

ENOUGH = 4
"""Graphs from which on an untrained encoder is centered on them."""

SAMPLE = 16
"""Graphs that it is centered on at most: a mean needs no more, and embedding them costs time."""


def weight_names() -> dict[str, Path]:
    """Folders of all named weights: those shipped in ``geoembed/zoo`` and those of the entry points ``geoembed.weights``."""
    found: dict[str, Path] = {}
    zoo = Path(str(files("geoembed"))) / "zoo"
    if zoo.is_dir():
        found |= {folder.name: folder for folder in sorted(zoo.iterdir()) if (folder / "config.json").is_file()}
    for entry in entry_points(group="geoembed.weights"):  # a weights package names a function that gives its folder
        found[entry.name] = Path(entry.load()())
    return found


def find_weights(name: str | Path) -> Path:
    """Folder of weights given by folder or name; :class:`UnknownNameError` lists the nearest names."""
    if (Path(name) / "config.json").is_file():
        return Path(name)
    known = weight_names()
    if str(name) in known:
        return known[str(name)]
    nearest = get_close_matches(str(name), known, n=3, cutoff=0.3)
    raise UnknownNameError(where="weights", found=repr(str(name)),
                           expected="a folder with config.json, or a name of: " + (", ".join(known) or "(none)"),
                           remedy=f"Nearest: {', '.join(nearest) or 'none'}; geoembed list shows all.")


def load(name: str | Path) -> Encoder[Any]:
    """The encoder saved under a name or in a folder, of whatever class it is."""
    folder = find_weights(name)
    encoder = registry.load("geoembed.encoders", str(read_config(folder)["encoder"]))
    return cast(Encoder[Any], encoder.load(folder))


def named_encoder(name: str | Path) -> Encoder[Any]:
    """A saved encoder by name or folder, or the registered one of that name with its defaults and random weights of seed 0.

    Saved weights go before a registered name. :class:`UnknownNameError` lists both where it is neither.
    """
    registered = registry.names("geoembed.encoders")
    if str(name) in registered and str(name) not in weight_names() and not (Path(name) / "config.json").is_file():
        return _untrained(registry.load("geoembed.encoders", str(name)), None, 0)
    try:
        return load(name)
    except UnknownNameError as error:
        known = [*weight_names(), *registered]
        nearest = get_close_matches(str(name), known, n=3, cutoff=0.3)
        raise UnknownNameError(where="encoder", found=repr(str(name)), expected=f"a folder of saved weights, or one of: {', '.join(known)}",
                               remedy=f"Nearest: {', '.join(nearest) or 'none'}; geoembed list shows all.") from error


def _untrained(cls: type[Encoder[Any]], config: Any, seed: int) -> Encoder[Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cls(config).eval()


def encoder_for(graph: Graph) -> str:
    """Name of the encoder for a graph: by its modality, else the first of its kind; :class:`UnknownNameError` where none is."""
    classes: dict[str, type[Encoder[Any]]] = registry.load_all("geoembed.encoders")
    modality = graph.provenance.modality
    for name, cls in classes.items():
        if cls.kind == graph.kind and modality in cls.modalities:
            return name
    for name, cls in classes.items():
        if cls.kind == graph.kind:
            return name
    raise UnknownNameError(where=repr(graph), found=f"kind {graph.kind!r}",
                           expected=f"a kind of {sorted({c.kind for c in classes.values()})}",
                           remedy="Install a package with an encoder for it.")


def default_encoder(graphs: Sequence[Graph], name: str | None = None, seed: int = 0) -> Encoder[Any]:
    """An untrained encoder that fits ``graphs``: by name or by their modality, with their bands or variables and statistics.

    Weights are drawn from ``seed``; standardization and the center of the embeddings come from ``graphs``, so the caller keeps
    the encoder beside the vectors it makes. One thread computes them: sums of more depend on how many there are.
    """
    cls: type[Encoder[Any]] = registry.load("geoembed.encoders", name or encoder_for(graphs[0]))
    encoder = _untrained(cls, cls.config_for(graphs[0]), seed)
    width = graphs[0].x.shape[-1] if "x" in graphs[0] else None
    alike = [graph for graph in graphs if "x" not in graph or graph.x.shape[-1] == width]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if "measured" in graphs[0]:
            encoder.fit_statistics(GraphBatch.from_data_list(alike).ragged())
        if len(alike) >= ENOUGH:
            encoder.center(GraphBatch.from_data_list(alike[:SAMPLE]))
    finally:
        torch.set_num_threads(threads)
    return encoder
