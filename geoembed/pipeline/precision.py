"""Precision of the arithmetic that makes vectors: what the encoder becomes, what the device may round, and how a table says so."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Literal, get_args

import torch

from geoembed.encoders import Encoder
from geoembed.errors import ConfigError
from geoembed.nn import unit_length
from geoembed.schema import GraphBatch
from geoembed.store import VectorTable
from geoembed.store.origin import called

log = logging.getLogger("geoembed")
Precision = Literal["fp32", "tf32", "bf16"]
"""``fp32``: the encoder as it is, no product rounded. ``tf32``: products of float32 with 10 bits of mantissa, on a GPU. ``bf16``: the
parameters in bfloat16 (autocast would convert every array of edges, and is slower). Vectors get their length in float32 and are stored so.
"""
AGREEMENT = 0.99
"""A cosine between vectors of an encoder and of its rounded form below which neighbors of one are hardly those of the other."""
PRECISIONS: tuple[str, ...] = get_args(Precision)


def checked(precision: str, device: torch.device) -> Precision:
    """The precision, if there is one of that name and the device has it; else :class:`ConfigError`."""
    if precision not in PRECISIONS:
        raise ConfigError(where="embed", found=f"precision {precision!r}", expected=f"one of {', '.join(PRECISIONS)}",
                          remedy="Name one of them, or none for fp32.")
    if precision == "tf32" and device.type != "cuda":
        raise ConfigError(where="embed", found=f"precision 'tf32' on {device}", expected="a GPU, which has it",
                          remedy="Choose fp32 or bf16, or a CUDA device.")
    return precision  # type: ignore[return-value]


def placed(encoder: Encoder[Any], device: torch.device, precision: Precision) -> Encoder[Any]:
    """An encoder on a device, ready for a precision; for bf16 a copy, so that the one given keeps its parameters."""
    if precision == "bf16" and encoder.dtype != torch.bfloat16:
        return deepcopy(encoder).to(device, torch.bfloat16)
    return encoder.to(device)


@contextmanager
def products(precision: Precision, device: torch.device) -> Iterator[None]:
    """Within, products of float32 matrices on a GPU are rounded as the precision says, whatever the process was set to before."""
    if device.type != "cuda":
        yield
        return
    matmul, name = torch.backends.cuda.matmul, "allow_tf32"
    before: object
    value: object
    try:
        before, value = matmul.allow_tf32, precision == "tf32"
    except RuntimeError:  # torch refuses to read this name of the setting where somebody has used its newer one
        name, before, value = "fp32_precision", matmul.fp32_precision, "tf32" if precision == "tf32" else "ieee"
    if value == before:
        yield
        return
    setattr(matmul, name, value)
    try:
        yield
    finally:
        setattr(matmul, name, before)


@torch.inference_mode()
def agreement(exact: Encoder[Any], rounded: Encoder[Any], batch: GraphBatch) -> float:
    """Smallest cosine between the vectors that an encoder and its rounded form give graphs; 1 where none has a vector."""
    both = unit_length(exact.embed(batch)).float(), unit_length(rounded.embed(batch)).float()
    cosine = (both[0] * both[1]).sum(1)
    there = both[0].any(1) & both[1].any(1)
    return float(cosine.where(there, 1.0).amin())


def mark(precision: Precision) -> str:
    """What the key of a chunk has at its end for rows of this precision, nothing for fp32: rows of another are not the same rows."""
    return "" if precision == "fp32" else f"@{precision}"


def precisions_of(table: VectorTable) -> dict[str, int]:
    """How many rows of a table were made in each precision, by the keys of its chunks."""
    rows: Counter[str] = Counter()
    for key, chunk in table.chunks.items():
        _, _, name = key.partition(":")[0].partition("@")
        rows[name or "fp32"] += chunk.embedded
    return {name: rows[name] for name in PRECISIONS if rows[name]}


def warn_of_others(table: VectorTable, precision: Precision) -> None:
    """Say so where a table has rows of another precision than those that are to come."""
    others = {name: rows for name, rows in precisions_of(table).items() if name != precision}
    if others:
        had = ", ".join(f"{rows} rows in {name}" for name, rows in others.items())
        log.warning("%s has %s; those that come are in %s. Distances between them carry the rounding of the coarser.",
                    called(table.folder), had, precision)
