"""``Graph``: a complete graph of one record — nodes, edges, geometry and where it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from torch import Tensor
from torch_geometric.data import Data

from geoembed.schema.fields import FIELDS

Scalar = str | int | float | bool | None
Setting = Scalar | Sequence[Scalar]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a graph came from and what was done to it.

    Attributes:
        kind: ``crystal``, ``cloud``, ``sphere``, ``grid`` or ``chain``.
        modality: what was measured (``galaxy``, ``light_curve``, …); picks the encoder where none is named.
        source: path or URL.
        record: key of the record inside the source.
        settings: parameters of the builder, enough to build the graph again (cutoff, patch, offsets …).
        notes: counts and remarks of everything that was normalized on the way (latitudes flipped, gaps removed …).
        topology: key of a shared topology, empty where the graph has its own.
    """

    kind: str
    modality: str = ""
    source: str = ""
    record: str = ""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    notes: Mapping[str, Scalar] = field(default_factory=dict)
    topology: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As a JSON-ready dictionary."""
        return asdict(self)


CHECKED = "_checked"
"""Entry of a graph's ``__dict__`` that the validator leaves, so that a graph passes it once on its way; setting a field removes it."""


class Graph(Data):  # type: ignore[misc]
    """One record as a graph; a :class:`torch_geometric.data.Data` whose fields are those of ``schema.FIELDS``.

    Every field is a tensor given by keyword; ``num_nodes`` follows from ``x``, ``pos`` or ``token`` and is always stored.
    Row 0 of ``edge_index`` is the source, row 1 the target, sorted by target.
    """

    provenance: Provenance

    def __init__(self, provenance: Provenance | None = None, nodes: int | None = None, /, **fields: Tensor | int) -> None:
        # PyG builds empty containers by calling the class without arguments.
        given = fields.pop("num_nodes", nodes)
        super().__init__()
        rows = next((fields[name] for name in ("x", "pos", "mask", "token") if name in fields), None)
        if given is None and isinstance(rows, Tensor):
            given = rows.shape[0]
        more = {"provenance": provenance, "num_nodes": given}
        # PyG's way through the attributes of a graph, and through the items of its store, costs as much as a small record's arithmetic.
        self._store._mapping.update(fields, **{name: value for name, value in more.items() if value is not None})

    def __setattr__(self, key: str, value: Any) -> None:
        if key != "provenance":
            self.__dict__.pop(CHECKED, None)
        super().__setattr__(key, value)

    def __setitem__(self, key: str, value: Any) -> None:
        self.__dict__.pop(CHECKED, None)
        super().__setitem__(key, value)

    def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        return FIELDS[key].axis if key in FIELDS else 0

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        # By table: PyG would shift every field whose name contains "index" or "batch".
        offset = FIELDS[key].offset if key in FIELDS else ""
        return {"nodes": self.num_nodes, "edges": self.num_edges}.get(offset, 0)

    @property
    def kind(self) -> str:
        """``crystal``, ``cloud``, ``sphere``, ``grid`` or ``chain``."""
        return self.provenance.kind

    @property
    def source(self) -> str:
        """Path or URL that the graph was read from."""
        return self.provenance.source

    @property
    def record(self) -> str:
        """Key of the record inside the source."""
        return self.provenance.record

    @property
    def notes(self) -> Mapping[str, Scalar]:
        """What was normalized on the way."""
        return self.provenance.notes

    def with_provenance(self, **changes: Any) -> Self:
        """The same graph, tensors by reference, with changed provenance; ``notes`` are added to those it has."""
        if "notes" in changes:
            changes["notes"] = {**self.provenance.notes, **changes["notes"]}
        other = copy(self)
        other.provenance = replace(self.provenance, **changes)
        return other

    def __repr__(self) -> str:
        # One useful line: Graph(crystal mp-149: 2 nodes, 24 edges, cutoff 8.0)
        origin = getattr(self, "provenance", None)
        if not isinstance(origin, Provenance):
            return str(super().__repr__())
        name = " ".join(part for part in (origin.modality or origin.kind, origin.record) if part)
        facts = [f"{self.num_nodes} nodes", f"{self.num_edges} edges"]
        plain = {key: value for key, value in origin.settings.items() if isinstance(value, str | int | float) and value}  # set and single
        facts += [f"{key} {round(value, 4)}" if isinstance(value, float) else f"{key} {value}" for key, value in plain.items()]
        return f"Graph({name}: {', '.join(facts)})"

