"""Nucleotide sequences."""

from __future__ import annotations

import pytest
import torch
from geoembed.errors import EmptyGraphError, ValueRangeError
from geoembed.graphs.sequence import ALPHABET, COMPLEMENT, COMPOSITION, reverse_complement, sequence_graph
from hypothesis import given
from hypothesis import strategies as st

BASES = {"A": "A", "C": "C", "G": "G", "T": "T", "N": "ACGT", "R": "AG", "Y": "CT", "S": "GC", "W": "AT", "K": "GT", "M": "AC",
         "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG"}  # IUPAC-IUB 1984
PARTNER = {"A": "T", "C": "G", "G": "C", "T": "A"}


@pytest.mark.parametrize("code", ALPHABET)
def test_a_code_is_the_mean_of_its_bases_and_its_complement_pairs_each_of_them(code):
    token = ALPHABET.index(code)
    share = [1 / len(BASES[code]) if base in BASES[code] else 0.0 for base in "ACGT"]
    assert COMPOSITION[token].tolist() == pytest.approx(share)
    partners = {PARTNER[base] for base in BASES[code]}
    assert set(BASES[ALPHABET[int(COMPLEMENT[token])]]) == partners


@given(st.text(ALPHABET + ALPHABET.lower(), min_size=1, max_size=60))
def test_letters_become_tokens_in_order_whatever_their_case(text):
    graph = sequence_graph(text)
    assert "".join(ALPHABET[t] for t in graph.token.flatten().tolist()) == text.upper()
    assert graph.pos.flatten().tolist() == list(range(len(text)))
    assert graph.notes == {}
    assert torch.equal(sequence_graph(text.encode()).token, graph.token)


@given(st.text("ACGU-. \n", min_size=1, max_size=40).filter(lambda text: any(c in "ACGU" for c in text)))
def test_gaps_are_removed_and_uracil_is_thymine_and_both_are_counted(text):
    graph = sequence_graph(text)
    plain = "".join(c for c in text if c in "ACGU").replace("U", "T")
    assert torch.equal(graph.token, sequence_graph(plain).token)
    assert graph.notes.get("gaps_removed", 0) == sum(c in "-. \n" for c in text)
    assert graph.notes.get("uracil_as_thymine", 0) == text.count("U")


@given(st.lists(st.text(ALPHABET, max_size=9), min_size=1, max_size=4).filter(any))
def test_opposite_strands_of_a_batch_are_those_of_each_sequence(texts):
    tokens = torch.tensor([ALPHABET.index(c) for text in texts for c in text]).unsqueeze(-1)
    ptr = torch.tensor([0, *torch.tensor([len(text) for text in texts]).cumsum(0).tolist()])
    opposite = reverse_complement(tokens, ptr)
    expected = [int(COMPLEMENT[ALPHABET.index(c)]) for text in texts for c in reversed(text)]
    assert opposite.flatten().tolist() == expected
    assert torch.equal(reverse_complement(opposite, ptr), tokens)


@pytest.mark.parametrize(("text", "match"), [
    ("ACGX", r"found 'X' at position 4; expected IUPAC nucleotide codes"), ("AC-G*", r"found '\*' at position 5"),
    ("MKVLAE", r"found 'L' at position 4.*proteins and qualities are other data"), ("AC1", "found '1' at position 3"),
])
def test_a_letter_that_is_no_nucleotide_is_named_with_its_place(text, match):
    with pytest.raises(ValueRangeError, match=match):
        sequence_graph(text)


@pytest.mark.parametrize("text", ["", "---", " . \n"])
def test_a_sequence_of_gaps_is_empty(text):
    with pytest.raises(EmptyGraphError, match=r"found no nucleotide.*Leave the record out"):
        sequence_graph(text)


def test_letters_outside_of_ascii_are_refused_too():
    with pytest.raises(ValueRangeError, match="at position 3"):
        sequence_graph("ACé")
