"""``Encoder``: what all encoders share — the check at the door, unit length, saving, and the way from raw tensors."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from geoembed import __version__
from geoembed.config import from_mapping, to_json
from geoembed.errors import ConfigError, SchemaError, StoreError, ValueRangeError
from geoembed.graphs.symmetries import PermutationOfEdges, PermutationOfNodes, Symmetry
from geoembed.nn import Standardize, unit_length
from geoembed.schema import Graph, GraphBatch, check_batch

C = TypeVar("C")

FORMAT = 1
"""Number of the saved layout; a change raises it and adds an upgrade."""


class Encoder(nn.Module, Generic[C]):
    """A batch of graphs of one kind to unit vectors [B, D].

    A subclass states ``name`` (as registered), ``kind``, ``modalities``, ``needs``, ``symmetries`` and ``config_class``, names its
    parts in ``__init__`` and writes :meth:`embed`.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    modalities: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[frozenset[str]]
    vocabulary: ClassVar[tuple[tuple[int, int], ...]] = ()
    symmetries: ClassVar[tuple[Symmetry, ...]] = (PermutationOfNodes(), PermutationOfEdges())
    heads: ClassVar[tuple[str, ...]] = ()
    """Submodules that act on embeddings and are no part of :meth:`embed`."""
    config_class: ClassVar[type]

    def __init__(self, config: C | None = None) -> None:
        super().__init__()
        self.config: C = self.config_class() if config is None else config
        if not isinstance(self.config, self.config_class):
            raise ConfigError(where=type(self).__name__, found=type(config).__name__, expected=self.config_class.__name__,
                              remedy="Pass the encoder's own configuration, or none for its defaults.")
        self.trained = False
        self.card: dict[str, Any] = {}

    @abstractmethod
    def embed(self, batch: GraphBatch) -> Tensor:
        """Embeddings [B, D] of any length; :meth:`forward` makes them unit vectors."""

    @abstractmethod
    def from_tensors(self, *tensors: Tensor) -> GraphBatch:
        """Rectangular tensors of a batch as a :class:`GraphBatch`: a call of the kind's builder, no second way into the model."""

    @classmethod
    def config_for(cls, graph: Graph) -> Any:
        """Configuration of an untrained encoder whose bands, variables or patches are those of ``graph``."""
        return cls.config_class()

    @property
    def features(self) -> int | None:
        """Width F of ``x`` that the encoder expects; None where it reads no ``x`` or any width."""
        return None

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the parameters; inputs are brought to it."""
        return next(self.parameters()).dtype

    def forward(self, batch: GraphBatch | Graph) -> Tensor:
        """Unit vectors [B, D] of a batch (or [1, D] of one graph); a graph that embeds to zero stays the zero vector."""
        whole = batch if isinstance(batch, GraphBatch) else GraphBatch.from_data_list([batch])
        self.check(whole)
        return unit_length(self.embed(whole))

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # it reads provenance and numbers, on which no compiled graph may depend
    def check(self, batch: GraphBatch) -> None:
        """Raise a typed error unless this encoder can read ``batch``."""
        if batch.kind != self.kind:
            raise SchemaError(where=repr(batch), found=f"graphs of kind {batch.kind!r}",
                              expected=f"{self.kind!r}, which {self.name} reads", remedy="Choose the encoder of this kind: geoembed list.")
        check_batch(batch, self.needs, self.vocabulary)
        width = batch.x.shape[-1] if "x" in batch else None
        if self.features is not None and width != self.features:
            raise ValueRangeError(where=repr(batch), found=f"{width} features a node", expected=f"{self.features}, as configured",
                                  remedy="Build the graph with the encoder's bands and patch, or configure the encoder for it.")

    def fit_statistics(self, batch: GraphBatch) -> None:
        """Take the statistics of every :class:`Standardize` that reads ``x`` from a batch; trained encoders keep theirs."""
        for module in self.modules():
            if isinstance(module, Standardize):
                real = batch.measured & batch.mask.unsqueeze(-1)
                module.fit(batch.x, real)

    @torch.no_grad()
    def center(self, batch: GraphBatch) -> None:
        """Move the bias of the last linear map of ``readout`` so that the embeddings of a batch average to zero.

        Random weights give all graphs one large common part, beside which they hardly differ; without it, cosines tell them
        apart. Left as it is where the graphs of the batch all embed alike.
        """
        readout = getattr(self, "readout", None)
        last = readout[-1] if isinstance(readout, nn.Sequential) else readout
        vectors = self.embed(batch)
        mean = vectors.mean(0)
        if isinstance(last, nn.Linear) and bool((vectors - mean).norm(dim=1).min() > 1e-4 * mean.norm()):
            last.bias.sub_(mean)

    def save(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json`` into ``folder``."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}, place / "model.safetensors")
        document = {
            "format": FORMAT, "encoder": self.name, "config": json.loads(to_json(self.config)), "trained": self.trained,
            "card": self.card, "versions": {"geoembed": __version__, "torch": torch.__version__},
        }
        (place / "config.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The encoder saved in ``folder``, bit for bit; :class:`StoreError` names what does not fit."""
        place = Path(folder)
        document = read_config(place)
        if document["encoder"] != cls.name:
            raise StoreError(where=place, found=f"an encoder {document['encoder']!r}", expected=repr(cls.name),
                             remedy="Load it with geoembed.encoders.load, which picks the class.")
        settings = document["config"]
        if absent := sorted({field.name for field in fields(cls.config_class)} - set(settings)):
            raise StoreError(where=f"{place / 'config.json'}: config", found=f"no {', '.join(absent)}", expected="every setting",
                             remedy="Save the encoder again; today's default may not be the one that it was trained with.")
        encoder = cls(from_mapping(cls.config_class, settings))
        encoder.trained, encoder.card = bool(document["trained"]), document["card"]
        state = _read_tensors(place / "model.safetensors")
        own = encoder.state_dict()
        both = own.keys() & state.keys()
        wrong = sorted((own.keys() ^ state.keys()) | {name for name in both if own[name].shape != state[name].shape})
        if wrong:
            raise StoreError(where=place / "model.safetensors", found=f"tensors that do not fit: {', '.join(wrong[:5])}",
                             expected="those of its config.json", remedy="Save the encoder again; the two files belong together.")
        first, _ = next(encoder.named_parameters())
        encoder.to(state[first].dtype).load_state_dict(state)  # copied in the precision that was saved; a mapped file is not aligned
        return encoder.eval()

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Self:
        """Weights by name or folder; :class:`UnknownNameError` lists the nearest names."""
        from geoembed.encoders.pretrained import find_weights

        return cls.load(find_weights(name))

    def __repr__(self) -> str:
        state = "trained" if self.trained else "untrained: random weights"
        count = sum(p.numel() for p in self.parameters())
        return f"{type(self).__name__}({self.kind} → [B, {self.embedding_dim}], {count:,} parameters, {state})"

    @property
    def embedding_dim(self) -> int:
        """D."""
        return int(cast(Any, self.config).embedding_dim)


def read_config(folder: Path) -> Mapping[str, Any]:
    """``config.json`` of a saved encoder, with its format checked."""
    path = folder / "config.json"
    if not path.is_file():
        raise StoreError(where=folder, found="no config.json", expected="a folder written by Encoder.save", remedy="Check the path.")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(where=path, found=f"no JSON ({error})", expected="the file that Encoder.save wrote",
                         remedy="Fetch the weights again.") from error
    if not isinstance(document, dict):
        raise StoreError(where=path, found="no JSON object", expected="the file that Encoder.save wrote", remedy="Fetch the weights again.")
    missing = {"format", "encoder", "config", "trained", "card"} - set(document)
    if missing or document["format"] != FORMAT:
        raise StoreError(where=path, found=f"format {document.get('format')}, without {sorted(missing)}", expected=f"format {FORMAT}",
                         remedy="Install the version of geoembed that wrote it.")
    return cast(Mapping[str, Any], document)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise StoreError(where=path.parent, found=f"no {path.name}", expected="a folder written by Encoder.save",
                         remedy="Fetch both files of the weights.")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise StoreError(where=path, found=f"not a safetensors file ({error})", expected="the file that Encoder.save wrote",
                         remedy="Fetch the weights again.") from error


def configured(config: C, **changes: Any) -> C:
    """A configuration with some fields changed, validated again."""
    return cast(C, replace(cast(Any, config), **changes))

