"""JSON lines: the provenance of a graph, or of a run of graphs of consecutive records; or the reason why there is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from geoembed.errors import SchemaError
from geoembed.graphs.blocks import Block, Names
from geoembed.schema import Provenance

COMMON = ("kind", "modality", "settings", "topology")
"""What the graphs of a shard usually agree on; a line repeats it only where it differs."""


@dataclass(frozen=True)
class Refused:
    """A record that is left out of a store or table, with its reason.

    Attributes:
        source: path or URL of the file.
        record: key of the record, or empty where the file as a whole failed.
        stage: ``open``, ``read``, ``graph``, ``limit`` or ``embed``.
        reason: what was found, expected, and the next step.
        error: name of the error's class.
    """

    source: str
    record: str
    stage: str
    reason: str
    error: str = ""


def graph_line(order: int, provenance: Provenance, common: Mapping[str, Any]) -> str:
    """The line of a graph; what it shares with ``common`` is left out."""
    line: dict[str, Any] = {"order": order, "source": provenance.source, "record": provenance.record}
    line["notes"] = dict(provenance.notes)
    for name in COMMON:
        value = plain(getattr(provenance, name))
        if value != common[name]:
            line[name] = value
    return json.dumps(line, default=_scalar)


def run_line(order: int, block: Block, common: Mapping[str, Any]) -> str:
    """The line of a block: its graphs are those of consecutive records whose keys are a prefix and a number."""
    names = block.names
    counts = {name: count.tolist() for name, count in names.counts.items()}
    line = {"order": order, "records": len(block), "source": names.source, "prefix": names.prefix, "first": names.first,
            "notes": dict(names.notes), "counts": counts}
    for name in COMMON:
        value = plain(getattr(block, name, ""))  # a block has no topology
        if value != common[name]:
            line[name] = value
    return json.dumps(line, default=_scalar)


def records_in(line: bytes) -> int:
    """How many records a line stands for."""
    return int(json.loads(line)["records"]) if b'"records": ' in line and "records" in json.loads(line) else 1


def provenances_of(values: Mapping[str, Any], common: Mapping[str, Any], low: int, high: int) -> list[Provenance]:
    """Provenance of graphs ``low`` … ``high − 1`` of a line that :func:`graph_line` or :func:`run_line` wrote, as JSON gave it back."""
    shared = {name: values.get(name, common[name]) for name in COMMON}
    if "records" not in values:
        return [Provenance(source=values["source"], record=values["record"], notes=values["notes"], **shared)][low:high]
    counts = {name: np.asarray(count[low:high], np.int64) for name, count in values["counts"].items()}
    names = Names(prefix=values["prefix"], first=values["first"] + low, source=values["source"], notes=values["notes"], counts=counts)
    return [Provenance(source=names.source, record=names.key(i), notes=names.notes_of(i), **shared) for i in range(high - low)]


def refused_line(order: int, refused: Refused, chunk: str = "") -> str:
    """The line of a quarantined record, of the chunk of inputs ``chunk`` where a list holds several."""
    return json.dumps({"order": order, **asdict(refused)} | ({"chunk": chunk} if chunk else {}))


def is_refused(line: bytes) -> bool:
    """Whether a line is that of a quarantined record."""
    return b'"stage": ' in line and "stage" in json.loads(line)


def refused_of(line: bytes) -> Refused:
    """The quarantined record that :func:`refused_line` wrote."""
    values = json.loads(line)
    return Refused(**{name: values[name] for name in ("source", "record", "stage", "reason", "error")})


def plain(value: Any) -> Any:
    """A setting as JSON would give it back."""
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value if value is None or isinstance(value, (str, bool, int, float)) else _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray, Tensor)) and value.ndim == 0:
        return value.item()
    raise SchemaError(where="provenance", found=f"a {type(value).__name__} among settings or notes", expected="JSON scalars",
                      remedy="Convert it with str, int or float in the reader.")
