"""``ShardDataset``: the graphs of a store as an ordinary PyG ``Dataset``, one by one, from maps that are opened and closed as needed."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

from torch_geometric.data import Dataset

from geoembed.schema import Graph
from geoembed.store.manifest import Store, open_store
from geoembed.store.shards import Shard

_OPEN_BYTES = 512 << 20  # of the maps that random access keeps: a store may be larger than memory, and than its limit


class _OpenShards:
    """Which shards are open, in the order of their last use; a data set and its subsets share one."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[Shard, int] = OrderedDict()
        self._mapped = 0

    def note(self, shard: Shard) -> None:
        """Note the use of a shard, and before it is opened close those that were not used for longest."""
        if shard in self._sizes:
            self._sizes.move_to_end(shard)
            return
        size = shard.nbytes
        while self._sizes and self._mapped + size > _OPEN_BYTES:
            oldest, mapped = self._sizes.popitem(last=False)
            self._mapped -= mapped
            oldest.close()
        self._sizes[shard] = size
        self._mapped += size


class ShardDataset(Dataset):  # type: ignore[misc]  # PyG is untyped
    """The graphs of a store by number, each as it was written, bit for bit; for PyG's ``DataLoader`` with any number of workers.

    An index of many (a slice, a list, a mask) gives a data set of those, as PyG's do, and ``transform`` is applied to each graph.
    For speed use :class:`geoembed.store.Loader`, which makes the same batches without making graphs.

    Args:
        store: a :class:`Store` or its folder.
        modality: only graphs of this modality (a batch takes one kind); empty for all.
        transform: applied to every graph that is asked for.
    """

    def __init__(self, store: Store | str | Path, modality: str = "", transform: Callable[[Graph], Graph] | None = None) -> None:
        store = store if isinstance(store, Store) else open_store(store)
        super().__init__(None, transform)
        self.shards = [shard for shard in store.shards() if modality in ("", shard.entry.modality)]
        self._ends = list(accumulate(len(shard) for shard in self.shards))
        self._open = _OpenShards()

    def len(self) -> int:
        """Graphs in the store."""
        return self._ends[-1] if self._ends else 0

    def get(self, idx: int) -> Graph:
        """Graph number ``idx`` of the store."""
        place = bisect_right(self._ends, idx)
        shard = self.shards[place]
        self._open.note(shard)
        return shard.graph(idx - self._ends[place] + len(shard))

    def __iter__(self) -> Iterator[Graph]:
        return (self[number] for number in range(len(self)))

    def __repr__(self) -> str:
        return f"ShardDataset({len(self)} graphs, {len(self.shards)} shards)"
