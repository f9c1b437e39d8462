"""Stores on disk: graphs as memory-mapped shards, vectors as a table that can be searched. This text is the specification.

**A graph store** is a folder. The words MUST and SHOULD are meant as in RFC 2119.

``manifest.json``
    A JSON object. ``format`` MUST be 2; a reader MUST refuse numbers that it does not know. (Format 1 stored every edge and had a
    line for every record; it is read, and a store to which something is added becomes one of format 2.) ``records_in`` MUST equal
    ``built`` + ``quarantined``. ``chunks`` lists the units of work in input order: ``key`` (hash of names and content of the inputs, of
    the code that read them and of the installed readers), ``sources``, the three counts, ``repeat`` (why the chunk is built
    again by the next run, or empty) and ``shards``. Each shard gives ``stem``, ``graphs``, ``nodes``, ``edges``, ``records``
    (of its list), ``kind``, ``modality``, ``topology``, ``signature`` (shards of one signature batch together),
    ``settings`` of its builder and ``files`` (name → sha256). ``topologies`` maps file names to sha256. ``sha256`` is that
    of the document without this entry, as JSON with sorted keys, no spaces and ASCII only.
``shard-<hash>.safetensors``
    The graphs of one kind, modality, topology and set of fields, at most 16,384 or about 64 MiB. Every field of
    ``geoembed.schema.FIELDS`` and every user field that the graphs have MUST be present under its own name, the graphs
    concatenated along the axis that counts rows of the field's level; values MUST be bit-equal to those of the graph, except
    that the contract's int64 fields SHOULD be stored in the smallest of uint8, int16, int32 that holds them. Indices are local to
    their graph. ``ptr.node``, ``ptr.edge``, and where such fields exist ``ptr.token`` and ``ptr.angle``, [B+1] int64, bound the
    rows of each graph. The file's metadata holds one entry ``geoembed``, a JSON object: ``format``, ``fields`` (their order
    in the graph), ``common`` (``kind``, ``modality``, ``settings``, ``topology`` of every line that lacks them) and, where all edges
    follow from it bit for bit, ``rule``: an edge rule of ``geoembed.graphs.connect``. ``edge_index`` and ``edge_attr`` MUST then be absent
    and are derived from ``x``, ``pos`` and ``token``; ``ptr.edge`` is there all the same. A writer MUST NOT leave out edges that
    the rule does not give back.
``shard-<hash>.jsonl``
    JSON objects, one a line, in the order in which the records were read (``order``, of the line's first record). A graph has
    ``source``, ``record``, ``notes`` and what differs from ``common``. A line with ``records`` stands for so many graphs of
    consecutive records of one source: that of graph i is called ``prefix`` followed by the decimal number ``first`` + i; its notes
    are ``notes`` and those of ``counts`` (name → one integer a graph) that are not 0 there. Graphs lie in the tensors in the
    order of these lines. A
    quarantined record has ``stage``, ``reason`` and ``error`` instead, and no graph. A list without tensors is legal: all its
    records were quarantined.
``topology-<hash>.safetensors``
    The tensors that all graphs of one topology share (``FIELDS[…].shared``), once; the shards of this topology MUST NOT
    repeat them. <hash> is that of the topology's key.
``journal.jsonl``
    Present only while a store is built or after that was interrupted: one line a finished chunk, as in the manifest. A torn
    last line MUST be ignored.

A file appears under its name only when complete: it is written under a name that starts with ``.writing-``, flushed to the
disk and renamed. Files that neither manifest nor journal lists, and ``.writing-`` files, are left-overs and are removed by
the next build, which holds a lock on ``.lock`` while it works. Readers MUST check the sha256 of a file when they first open it.

**A vector table** is a folder. ``table.json`` lists ``parts`` (``file``, ``sha256``, ``rows``, ``encoder``, ``weights``,
``dim``) in row order; ``chunks``, the inputs that need not be read again (``key``: that of the chunk, a colon, and which encoder was
asked for; ``sources``, ``encoders`` that made rows of them, ``records_in``, ``embedded``, ``repeat`` as above); ``lists`` (files of
quarantined records → sha256); and it carries ``format`` and ``sha256`` like a manifest. A part that it does not list is no part of
the table. ``part-<hash>.parquet`` holds the rows of one encoder in columns ``vector`` (fixed-size list of float32; finite and never
zero), ``source``, ``record``, ``kind``, ``modality``, ``encoder``, ``weights`` (hash of the saved encoder) and ``notes`` (JSON). When
an input is embedded again, its earlier rows MUST leave the table in the commit that brings the new ones.
``quarantine-<hash>.jsonl`` lists what was left out, each line with its ``chunk``. ``encoders/<name>/`` is the saved encoder of the
rows whose ``encoder`` is <name>, with ``fits.json``, the sorts of graphs that it embedded: a query of such a sort MUST be embedded by
it. Vectors of different encoders MUST NOT be compared.
``index/`` MAY hold indices by LanceDB, made of the parts at will: it is no part of the table, and may be deleted. Its
``index.json`` (with ``format`` and ``sha256``) lists for each encoder the ``key`` of what it was made of, the sha256 of the sha256 of
its parts in row order, one a line. An index MUST NOT answer for parts of another key.

At a URL lie the same files, without locks, journal and index; :mod:`geoembed.store.remote` says what readers and writers may rely on.

No file of either holds pickled objects or code.
"""

from geoembed.store.dataset import ShardDataset
from geoembed.store.entries import ChunkEntry, ShardEntry
from geoembed.store.flat import batches
from geoembed.store.lines import Refused
from geoembed.store.loader import Loader
from geoembed.store.manifest import Store, is_store, open_store
from geoembed.store.merging import merge
from geoembed.store.pieces import Budget
from geoembed.store.sampling import balanced
from geoembed.store.shards import Shard
from geoembed.store.table import VectorTable, is_table, open_table
from geoembed.store.verify import Finding, verify
from geoembed.store.writer import ShardWriter

__all__ = [
    "Budget", "ChunkEntry", "Finding", "Loader", "Refused", "Shard", "ShardDataset", "ShardEntry", "ShardWriter", "Store", "VectorTable",
    "balanced", "batches", "is_store", "is_table", "merge", "open_store", "open_table", "verify",
]
