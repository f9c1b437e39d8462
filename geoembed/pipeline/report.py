"""``Report``: what became of every record; ``Limits``: what a file may cost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import PositiveFloat

from geoembed.config import config
from geoembed.errors import StoreError
from geoembed.io.record import Quarantined
from geoembed.store import Refused

Progress = Callable[[int, int, int], None]
"""Called after each chunk with (sources done, sources in all, records met so far)."""


@config
class Limits:
    """What one file may cost before its parsing is ended from outside.

    Attributes:
        seconds: longest time without another record.
        memory_gib: memory that parsing may take beyond what the process had before [GiB].
    """

    seconds: PositiveFloat = 300.0
    memory_gib: PositiveFloat = 4.0

    def __str__(self) -> str:
        return f"{self.seconds:g} s, {self.memory_gib:g} GiB"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of every record; made only if ``records_in`` = ``done`` + quarantined.

    Attributes:
        verb: what was done with the good ones.
        records_in: records met in all inputs.
        done: records embedded or built.
        quarantined: records left out, with reasons, in input order.
        seconds: wall time.
        resumed: records of inputs that an earlier run had finished (counted in the others too).
        ignored: hidden files and folders that were not looked at, by reason.
        encoders: name of each encoder that was used, with its state in words.
        backends: what ran: device, segment reductions.
    """

    verb: Literal["embedded", "built"]
    records_in: int
    done: int
    quarantined: Sequence[Quarantined]
    seconds: float
    resumed: int = 0
    ignored: Mapping[str, int] = field(default_factory=dict)
    encoders: Mapping[str, str] = field(default_factory=dict)
    backends: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.records_in != self.done + len(self.quarantined):
            raise StoreError(where="report", found=f"{self.records_in} records in", expected=f"{self.done} + {len(self.quarantined)}",
                             remedy="A record was lost or counted twice: report this with the inputs.")

    @property
    def embedded(self) -> int:
        """Records that are vectors now."""
        return self.done if self.verb == "embedded" else 0

    @property
    def built(self) -> int:
        """Records that are graphs in a store now."""
        return self.done if self.verb == "built" else 0

    @property
    def reasons(self) -> dict[str, int]:
        """How many records were left out, by stage and class of error."""
        return dict(Counter(f"{bad.stage}: {bad.error}" for bad in self.quarantined))

    def to_dict(self) -> dict[str, Any]:
        """The document of ``--json``."""
        return {
            "records_in": self.records_in, self.verb: self.done, "quarantined": len(self.quarantined),
            "reasons": [{"source": bad.source, "record": bad.record, "stage": bad.stage, "reason": bad.reason} for bad in self.quarantined],
            "seconds": round(self.seconds, 3),
        }

    def to_json(self) -> str:
        """The document of ``--json`` as a text."""
        return json.dumps(self.to_dict(), indent=2)

    def __repr__(self) -> str:
        return f"Report({self.records_in} records in = {self.done} {self.verb} + {len(self.quarantined)} quarantined, {self.seconds:.1f} s)"


def quarantined(lines: Iterable[Refused]) -> list[Quarantined]:
    """Lines of a store or table as what ``read`` gives."""
    return [Quarantined(line.source, line.record, line.stage, line.reason, line.error) for line in lines]
