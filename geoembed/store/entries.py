"""What the manifest says about a shard and about the chunk of inputs that it came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from geoembed.schema import Setting

_PLAIN = re.compile(r"(shard|topology)-[0-9a-f]+(\.safetensors|\.jsonl)?")


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One shard: its files, its size and what its graphs have in common; see the specification in :mod:`geoembed.store`."""

    stem: str
    graphs: int
    nodes: int
    edges: int
    records: int
    files: Mapping[str, str]
    kind: str = ""
    modality: str = ""
    topology: str = ""
    signature: str = ""
    settings: Mapping[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ChunkEntry:
    """One unit of work: some inputs, and the shards that hold all their records.

    ``repeat`` says why the next run builds the chunk again although no input changed (a library was missing, a time limit was
    reached under these limits …); empty for good.
    """

    key: str
    sources: list[str]
    records_in: int
    built: int
    quarantined: int
    shards: list[ShardEntry]
    topologies: Mapping[str, str] = field(default_factory=dict)
    repeat: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From the values that :meth:`to_dict` gave; unknown entries and file names that are paths raise a ValueError."""
        try:
            chunk = cls(**{**values, "shards": [ShardEntry(**shard) for shard in values["shards"]]})
        except (KeyError, TypeError) as error:
            raise ValueError(str(error)) from error
        for name in [*chunk.files, *(shard.stem for shard in chunk.shards)]:
            if not _PLAIN.fullmatch(name):  # a store may come from anywhere: its names never leave its folder
                raise ValueError(f"a file called {name!r}")
        return chunk

    @property
    def files(self) -> dict[str, str]:
        """Every file of the chunk with its sha256."""
        files = dict(self.topologies)
        for shard in self.shards:
            files |= shard.files
        return files


@dataclass(frozen=True, kw_only=True)
class ChunkRows:
    """What a vector table holds of one chunk of inputs, so that a later run can skip it or replace it.

    ``key`` is that of the chunk, a colon, and which encoder was asked for; ``encoders`` are those that made rows of it.
    """

    key: str
    sources: list[str]
    encoders: list[str]
    records_in: int
    embedded: int
    repeat: str = ""

    @property
    def asked(self) -> str:
        """Which encoder was asked for."""
        return self.key.partition(":")[2]
