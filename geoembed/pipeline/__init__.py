"""From files to a store, from files or a store to a table, from a question to an answer: wires io, store and encoders."""

from geoembed.pipeline.build import build, build_shard
from geoembed.pipeline.chunks import Chunk, chunks_of
from geoembed.pipeline.cluster import dask_cluster
from geoembed.pipeline.embed import embed
from geoembed.pipeline.inputs import Inputs, expand
from geoembed.pipeline.query import search
from geoembed.pipeline.report import Limits, Progress, Report

__all__ = [
    "Chunk", "Inputs", "Limits", "Progress", "Report", "build", "build_shard", "chunks_of", "dask_cluster", "embed", "expand", "search",
]
