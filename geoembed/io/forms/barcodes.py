"""Tables of barcodes: one sequence a row, as BOLD (barcodeoflife.org) exports them or with plain column names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from geoembed.errors import EmptyGraphError
from geoembed.graphs.sequence import sequence_graph
from geoembed.io.record import BadRecord, Record
from geoembed.io.sequences import nucleotide_record
from geoembed.io.tables import find
from geoembed.schema import Graph, Scalar

_OWN = {"sequence": ("nucraw", "nuc", "nucleotides", "dna_barcode")}  # names that mean nothing else
_COLUMNS = {
    "sequence": (*_OWN["sequence"], "sequence", "seq", "dna", "barcode"),
    "id": ("processid", "process_id", "sequenceid", "sequence_id", "seq_id", "record_id", "sampleid", "accession", "id"),
}
_RANKS = ("kingdom", "phylum", "class", "order", "family", "subfamily", "genus", "species", "subspecies")
_LABELS = {  # as BOLD's data packages call them, and its public interface
    **{rank: (rank, f"{rank}_name") for rank in _RANKS},
    "bin": ("bin_uri",), "marker": ("marker_code", "markercode"),
}
_MISSING = frozenset({"", "none", "nan", "na", "null", "<na>"})


class BarcodeTable:
    """One sequence a row; the key is the process id.

    Lineage, BIN and marker go into the notes as labels, ``lineage`` from kingdom to subspecies with ranks that are not known left
    empty between commas; they are never inputs.
    """

    kind, rows = "chain", True
    columns = "nucraw or nuc, or sequence beside processid or id (one nucleotide sequence a row)"

    def matches(self, columns: Sequence[str]) -> bool:
        """A BOLD column of nucleotides, or a column called sequence beside an identifier."""
        return bool(find(columns, _OWN)) or set(find(columns, _COLUMNS)) == {"sequence", "id"}

    def records(self, table: pd.DataFrame, start: int, name: str) -> Iterator[Record | BadRecord]:
        """One record a row; a missing sequence (``None`` in BOLD's files) is a :class:`BadRecord`."""
        names = find(list(table.columns), _COLUMNS)
        labels = _labels(table)
        keys = table[names["id"]].astype(str) if "id" in names else (str(start + i) for i in range(len(table)))
        for i, (key, value) in enumerate(zip(keys, table[names["sequence"]], strict=True)):
            where = f"{name}, row {start + i} ({key})"
            if not isinstance(value, str) or value.strip().lower() in _MISSING:
                yield BadRecord(key, EmptyGraphError(where=where, found=f"no sequence ({value})", expected="nucleotides",
                                                     remedy="Leave the row out."))
            else:
                record = nucleotide_record(key, value, where)
                yield replace(record, notes={**record.notes, **labels[i]}) if isinstance(record, Record) else record

    def to_graph(self, record: Record) -> Graph:
        """The sequence as a chain of bases."""
        return sequence_graph(record.payload)


def _labels(table: pd.DataFrame) -> list[dict[str, Scalar]]:
    """Lineage, BIN and marker of each row, as far as there are columns for them and the row knows them."""
    found = find([str(column) for column in table.columns], _LABELS)
    columns = {name: [_known(cell) for cell in table[column]] for name, column in found.items()}
    ranks = [columns[rank] for rank in _RANKS if rank in columns]
    rows: list[dict[str, Scalar]] = []
    for i in range(len(table)):
        labels: dict[str, Scalar] = {name: columns[name][i] for name in ("bin", "marker") if name in columns and columns[name][i]}
        lineage = ",".join(rank[i] for rank in ranks).rstrip(",")
        rows.append({"lineage": lineage, **labels} if lineage else labels)
    return rows


def _known(cell: object) -> str:
    text = str(cell).strip()
    return "" if text.lower() in _MISSING else text
