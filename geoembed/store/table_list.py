"""``table.json``: which files are a table, and which inputs need not be read again; read whole or refused, written in one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from geoembed.errors import StoreError
from geoembed.store.atomic import replace_with, sealed, unsealed
from geoembed.store.entries import ChunkRows
from geoembed.store.origin import refuse_copy
from geoembed.store.parts import Part

TABLE, FORMAT = "table.json", 1


@dataclass
class TableList:
    """Parts in row order, finished chunks by key, lists of quarantined records with their sha256."""

    parts: list[Part] = field(default_factory=list)
    chunks: dict[str, ChunkRows] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)


def read_list(folder: Path) -> TableList:
    """The list of the table in ``folder``, empty where there is none; :class:`StoreError` where it cannot be trusted."""
    path = folder / TABLE
    if not path.is_file():
        return TableList()
    document = unsealed(path, (FORMAT,))
    try:
        found = TableList([Part(**part) for part in document["parts"]],
                          {chunk["key"]: ChunkRows(**chunk) for chunk in document["chunks"]}, dict(document["lists"]))
    except (KeyError, TypeError) as error:
        raise StoreError(where=path, found=f"an entry that is not one of a table ({error})", expected=f"format {FORMAT}",
                         remedy="Make the table again.") from error
    for name in [*(part.file for part in found.parts), *found.lists]:
        if Path(name).name != name:
            raise StoreError(where=path, found=f"a file called {name!r}", expected="a plain name",
                             remedy="The list was edited: make the table again.")
    return found


def write_list(folder: Path, parts: Sequence[Part], chunks: Mapping[str, ChunkRows], lists: Mapping[str, str]) -> None:
    """Commit: from now on these files are the table."""
    refuse_copy(folder)
    replace_with(folder / TABLE, sealed({
        "format": FORMAT, "rows": sum(part.rows for part in parts), "parts": [asdict(part) for part in parts],
        "chunks": [asdict(chunk) for chunk in chunks.values()], "lists": dict(lists),
    }))
