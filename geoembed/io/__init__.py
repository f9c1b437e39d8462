"""Readers: a path or URL becomes records, records become graphs, and what is broken is quarantined with its reason."""

from geoembed.io.reader import Reading, pick, read, readers, stream
from geoembed.io.record import BadRecord, Quarantined, Reader, Record, TableForm
from geoembed.io.shipped import sample, sample_names

__all__ = ["BadRecord", "Quarantined", "Reader", "Reading", "Record", "TableForm", "pick", "read", "readers", "sample",
           "sample_names", "stream"]
