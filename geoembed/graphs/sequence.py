"""Nucleotide sequences as chains of tokens: A, C, G, T, N and the other IUPAC codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from geoembed.errors import EmptyGraphError, ValueRangeError
from geoembed.graphs.connect import connect
from geoembed.schema import Graph, Provenance, Setting, validate

ALPHABET = "ACGTNRYSWKMBDHV"
"""Token t is ``ALPHABET[t]`` (IUPAC-IUB 1984); U is read as T."""

_COMPLEMENT = "TGCANYRSWMKVHDB"
_BASES = {"A": "A", "C": "C", "G": "G", "T": "T", "N": "ACGT", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
          "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG"}
_TOKEN = np.full(256, -1, dtype=np.int64)
_TOKEN[np.frombuffer(ALPHABET.encode(), np.uint8)] = np.arange(len(ALPHABET))
_TOKEN[ord("U")] = ALPHABET.index("T")
_GAPS = np.frombuffer(b"-. \t\r\n", np.uint8)

COMPLEMENT = torch.tensor([ALPHABET.index(letter) for letter in _COMPLEMENT])
"""Token of the complementary code: [15] int64."""

COMPOSITION = torch.tensor([[float(base in _BASES[letter]) / len(_BASES[letter]) for base in "ACGT"] for letter in ALPHABET])
"""Share of A, C, G, T in each code: [15, 4]."""


def sequence_graph(sequence: str | bytes, *, offsets: Sequence[int] = (1, 2, 4, 8, 16), modality: str = "sequence") -> Graph:
    """A nucleotide sequence as a chain: letters -> token [N, 1], pos [N, 1] in bases.

    Case does not matter, U is T; gaps (``-``, ``.``, blanks) are removed and counted in the notes. Any other letter raises
    :class:`ValueRangeError` with its place; nothing left raises :class:`EmptyGraphError`.

    >>> sequence_graph("ACG-U").token.flatten().tolist()
    [0, 1, 2, 3]
    """
    raw = sequence.encode("utf-8") if isinstance(sequence, str) else sequence
    letters = np.frombuffer(raw.upper(), np.uint8)
    gaps = np.isin(letters, _GAPS)
    tokens = _TOKEN[letters[~gaps]]
    if (tokens < 0).any():
        place = int(np.flatnonzero((_TOKEN[letters] < 0) & ~gaps)[0])
        raise ValueRangeError(
            where=modality, found=f"{chr(letters[place])!r} at position {place + 1}", expected=f"IUPAC nucleotide codes {ALPHABET}U",
            remedy="Give nucleotides; proteins and qualities are other data.",
        )
    if not len(tokens):
        raise EmptyGraphError(where=modality, found="no nucleotide", expected="at least one", remedy="Leave the record out.")
    notes: dict[str, int] = {}
    if gaps.any():
        notes["gaps_removed"] = int(gaps.sum())
    if uracil := int((letters == ord("U")).sum()):
        notes["uracil_as_thymine"] = uracil
    rule: dict[str, Setting] = {"rule": "offsets", "of": list(offsets), "bands": False}
    pos = torch.arange(len(tokens), dtype=torch.float32).unsqueeze(-1)
    graph = Graph(Provenance(kind="chain", modality=modality, settings=rule, notes=notes),
                  token=torch.from_numpy(tokens).unsqueeze(-1), pos=pos)
    return validate(connect(graph, rule))


def reverse_complement(token: Tensor, ptr: Tensor) -> Tensor:
    """Tokens [N, 1] of the opposite strand of each sequence of a batch, read from its own start."""
    segment = torch.repeat_interleave(ptr.diff(), output_size=token.shape[0])
    place = torch.arange(token.shape[0], device=token.device)
    mirrored = ptr[segment] + ptr[segment + 1] - 1 - place
    return COMPLEMENT.to(token.device)[token[mirrored]]
