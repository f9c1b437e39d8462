"""One face for trees and RNTuples of ROOT files: names and types of branches, and their arrays some events at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from geoembed.io.budget import check_budget
from geoembed.io.damage import check_ratio, damage

EVENTS, STEP_BYTES, MOST_BRANCHES = 1000, 50 << 20, 100_000

Chunk = Mapping[str, Any]
"""Awkward arrays of consecutive events by branch."""


def branch_types(tree: Any, where: str) -> dict[str, str]:
    """{branch: type}; a branch of a branch has its own name, which EDM4hep and Delphes give in full (``Jet.PT``)."""
    # Of an RNTuple only the fields on top: those inside collections repeat them, and listing them takes seconds
    branches = tree.fields if _is_ntuple(tree) else list(tree.itervalues(recursive=True))
    check_budget(where, (len(branches),), 1, limit=MOST_BRANCHES)
    return {branch.name: str(branch.typename) for branch in branches}


def chunks(tree: Any, wanted: set[str], path: Path, broken: tuple[type[Exception], ...]) -> Iterator[Chunk]:
    """Arrays of the wanted branches, about 1,000 events at a time; sizes that the file declares are checked first."""
    source = _ntuple_chunks(tree, wanted, path) if _is_ntuple(tree) else _tree_chunks(tree, wanted, path)
    while True:
        with damage(path, "readable branches", *broken):
            chunk = next(source, None)
        if chunk is None:
            return
        yield chunk


def _is_ntuple(tree: Any) -> bool:
    return hasattr(tree, "ntuple")


def _tree_chunks(tree: Any, wanted: set[str], path: Path) -> Iterator[Chunk]:
    if tree.num_entries == 0:
        return
    sizes = {name: int(tree[name].uncompressed_bytes) for name in wanted}
    for name, size in sizes.items():
        check_ratio(f"{path} [{name}]", size, path.stat().st_size)
    step = max(1, min(EVENTS, STEP_BYTES * tree.num_entries // max(sum(sizes.values()), 1)))
    yield from tree.iterate(filter_branch=lambda branch: branch.name in wanted, step_size=step, library="ak")


def _ntuple_chunks(tree: Any, wanted: set[str], path: Path) -> Iterator[Chunk]:
    """A cluster is decompressed once, whatever part of it is asked for: so each is read whole and cut into events."""
    fields = {field.name: field for field in tree.fields if field.name in wanted}
    for number, cluster in enumerate(tree.cluster_summaries):
        elements = max((sum(page.num_elements for page in column.pages) for column in tree.page_link_list[number]), default=0)
        check_ratio(f"{path} [cluster {number}]", 8 * elements, path.stat().st_size)
        first, last = int(cluster.num_first_entry), int(cluster.num_first_entry + cluster.num_entries)
        arrays = {name: field.array(entry_start=first, entry_stop=last) for name, field in fields.items()}
        for low in range(0, last - first, EVENTS):
            yield {name: array[low : low + EVENTS] for name, array in arrays.items()}
