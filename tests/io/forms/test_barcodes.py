"""Tables of barcodes: BOLD's columns or plain ones, one sequence a row."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from geoembed.errors import EmptyGraphError, ValueRangeError
from geoembed.io.forms.barcodes import BarcodeTable
from geoembed.io.reader import read
from geoembed.io.record import BadRecord, Record

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
here = pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")


def records(table: pd.DataFrame, start: int = 0) -> list[Record | BadRecord]:
    return list(BarcodeTable().records(table, start, "bold"))


def test_the_key_is_the_process_id_and_the_letters_are_the_sequence() -> None:
    table = pd.DataFrame({"processid": ["AAASF001-17"], "species": ["Lutzomyia cruciata"], "nucraw": ["AAC-TNU"]})
    (record,) = records(table)
    assert isinstance(record, Record)
    graph = BarcodeTable().to_graph(record)
    assert record.key == "AAASF001-17"
    assert graph.token.flatten().tolist() == [0, 0, 1, 3, 4, 3]  # A A C T N T
    assert graph.notes == {"gaps_removed": 1, "uracil_as_thymine": 1}


def test_the_barcodes_of_bioscan_5m_are_sequences() -> None:
    (record,) = records(pd.DataFrame({"processid": ["A"], "sampleid": ["b"], "dna_bin": ["BOLD:AAA"], "dna_barcode": ["ACGT"]}))
    assert isinstance(record, Record)
    assert (record.key, BarcodeTable().to_graph(record).token.flatten().tolist()) == ("A", [0, 1, 2, 3])


def test_lineage_changes_nothing() -> None:
    one, other = (records(pd.DataFrame({"processid": ["a"], "family": [family], "nuc": ["ACGT"]}))[0] for family in ("x", "y"))
    assert (one.key, one.payload) == (other.key, other.payload)


def test_a_missing_sequence_is_none_in_any_spelling() -> None:
    found = records(pd.DataFrame({"processid": list("abcdef"), "seq": ["ACGT", "None", "", None, float("nan"), "MENLL"]}), start=10)
    assert [type(record).__name__ for record in found] == ["Record"] + ["BadRecord"] * 5
    for bad in found[1:5]:
        assert isinstance(bad, BadRecord)
        with pytest.raises(EmptyGraphError, match=r"no sequence.*Leave the row out"):
            raise bad.error
    assert isinstance(found[5], BadRecord)
    with pytest.raises(ValueRangeError, match=r"row 15 \(f\): found the amino acids EL"):
        raise found[5].error


def test_a_column_called_sequence_needs_an_identifier_beside_it() -> None:
    form = BarcodeTable()
    assert form.matches(["processid", "nucraw"])
    assert form.matches(["nuc"])
    assert form.matches(["Accession", "Sequence"])
    assert not form.matches(["sequence", "time", "mag"])
    assert not form.matches(["id", "time"])


@here
def test_a_bold_file_is_read_to_its_last_row() -> None:
    reading = read(SHARED / "ecology" / "files" / "seq" / "BOLD_head25.tsv")
    graphs = list(reading)
    assert (len(graphs), reading.quarantined) == (25, [])
    assert graphs[0].record == "AAASF001-17"
    assert {graph.kind for graph in graphs} == {"chain"}


@here
def test_published_barcodes_have_the_lengths_of_their_letters() -> None:
    table = pd.read_parquet(SHARED / "ecology" / "barcodes" / "annelida_coi.parquet", columns=["processid", "seq"]).iloc[::400]
    found = records(table)
    assert [len(record.payload) for record in found if isinstance(record, Record)] == table["seq"].str.len().tolist()


def test_lineage_bin_and_marker_are_labels_in_the_notes() -> None:
    columns = {"processid": "a", "kingdom": "Animalia", "phylum": "Annelida", "class": "None", "order": "Sabellida", "species": None,
               "bin_uri": "BOLD:AAA0001", "marker_code": "COI-5P", "nucraw": "ACGT"}
    (record,) = records(pd.DataFrame({name: [value] for name, value in columns.items()}))
    assert record.notes == {"lineage": "Animalia,Annelida,,Sabellida", "bin": "BOLD:AAA0001", "marker": "COI-5P"}
    (older,) = records(pd.DataFrame({"processid": ["a"], "phylum_name": ["Annelida"], "species_name": ["Nereis sp."], "nuc": ["ACGT"]}))
    assert older.notes == {"lineage": "Annelida,Nereis sp."}
    (plain,) = records(pd.DataFrame({"id": ["a"], "sequence": ["ACGT"]}))
    assert plain.notes == {}
