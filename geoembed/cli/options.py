"""Options that several verbs share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

Workers = Annotated[int, typer.Option("--workers", "-n", min=1, help="Parsing processes.")]
Seconds = Annotated[float, typer.Option(help="Longest time that a file may take without another record.")]
Memory = Annotated[float, typer.Option(help="Memory that a file may take [GiB].")]
Columns = Annotated[
    str | None, typer.Option(help="What the columns of particle tables mean: a TOML file, or top-tagging, jetclass, hls4ml.")
]
Cluster = Annotated[
    str | None, typer.Option(help="Address of a Dask scheduler whose workers parse, tcp://HOST:8786; they must share files with us.")
]


class PrecisionName(StrEnum):
    """The precisions of :mod:`geoembed.pipeline.precision`, which is not imported to print help."""

    fp32 = "fp32"
    tf32 = "tf32"
    bf16 = "bf16"


Precision = Annotated[
    PrecisionName, typer.Option(help="Of the encoder's arithmetic: fp32 as it is; tf32 rounds products (GPU); bf16 rounds its weights too.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Only a JSON document on stdout.")]
