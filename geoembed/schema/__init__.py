"""The graph contract: what a graph holds (:data:`FIELDS`), its containers, and the one validator."""

from geoembed.schema.batch import GraphBatch
from geoembed.schema.fields import FIELDS, Field, level_of
from geoembed.schema.graph import Graph, Provenance, Scalar, Setting
from geoembed.schema.validate import check_batch, ensure_valid, validate, validate_parts

__all__ = [
    "FIELDS", "Field", "Graph", "GraphBatch", "Provenance", "Scalar", "Setting", "check_batch", "ensure_valid", "level_of", "validate",
    "validate_parts",
]
