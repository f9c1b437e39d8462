"""What a Zarr store says of itself, read as JSON before any library touches it: shapes, codecs, chunks that are there."""

from __future__ import annotations

import json
import os
import zipfile
from collections import Counter
from collections.abc import Mapping
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np

from geoembed.errors import BudgetError, EmptyGraphError, TruncatedFileError, UnreadableFileError, UnsafeFileError
from geoembed.io.budget import check_budget
from geoembed.io.damage import check_ratio, damage
from geoembed.io.fields import check_written

METADATA = (".zgroup", ".zarray", ".zattrs", ".zmetadata", "zarr.json")
MOST_OBJECTS = 2_000_000
_MOST_JSON = 16 << 20
_MOST_CHUNKS = 50_000_000


class ZarrStore:
    """Names and metadata of a store, a folder or a zip archive.

    Attributes:
        root: path of the outermost group inside (``""``, or the folder's name where a folder was zipped).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sizes = _folder(path) if path.is_dir() else _archive(path)
        groups = [name.rpartition("/")[0] for name in self.sizes if name.rpartition("/")[2] in METADATA]
        if not groups:
            raise UnreadableFileError(where=path, found=f"{len(self.sizes)} files, none of them metadata", expected=" or ".join(METADATA),
                                      remedy="Point to the folder that holds .zgroup or zarr.json.")
        self.root = min(groups, key=lambda group: (group.count("/") + bool(group), group))

    def check(self) -> dict[str, int]:
        """{group with arrays: number of its chunks that were never written}, after claims and codecs were checked.

        Raises:
            BudgetError: arrays that claim far more than the store can hold, or chunks above the memory budget.
            UnsafeFileError: a codec that rebuilds Python objects.
            EmptyGraphError: a store without arrays.
        """
        stored = self.path.stat().st_size if self.path.is_file() else sum(self.sizes.values())
        declared, missing = 0, Counter[str]()
        present = self._chunks_present()
        for name, array in self._arrays().items():
            where = f"{self.path} [{name or '/'}]"
            with damage(where, "the metadata of a Zarr array"):
                shape, chunks, itemsize = _layout(array)
            _refuse_objects(array, where)
            declared += prod(shape) * itemsize
            check_budget(where, tuple(chunks), itemsize)
            count = prod(ceil(n / c) for n, c in zip(shape, chunks, strict=True))
            if count > _MOST_CHUNKS:
                raise BudgetError(where=where, found=f"{count} chunks", expected=f"at most {_MOST_CHUNKS}", remedy="Write larger chunks.")
            # A scalar that equals the fill value has no chunk.
            written = min(present[name], count) * prod(chunks) * itemsize if shape else prod(shape) * itemsize
            check_written(where, prod(shape) * itemsize, written)
            missing[name.rpartition("/")[0]] += max(count - present[name], 0) if shape else 0
        check_ratio(self.path, declared, stored)
        if not missing:
            raise EmptyGraphError(where=self.path, found="groups without arrays", expected="a field on a grid",
                                  remedy="The store was opened for writing and never filled.")
        return {group: missing[group] for group in sorted(missing)}

    def _arrays(self) -> dict[str, Mapping[str, Any]]:
        """Metadata of every array, by its path."""
        found: dict[str, Mapping[str, Any]] = {}
        for name in self.sizes:
            folder, _, leaf = name.rpartition("/")
            if leaf == ".zarray":
                found[folder] = self._json(name)
            elif leaf == "zarr.json" and (node := self._json(name)).get("node_type") == "array":
                found[folder] = node
        return found

    def _json(self, name: str) -> Mapping[str, Any]:
        check_budget(f"{self.path} [{name}]", (self.sizes[name],), 1, _MOST_JSON)
        with damage(f"{self.path} [{name}]", "JSON", zipfile.BadZipFile, RecursionError):
            if self.path.is_dir():
                content: Any = json.loads((self.path / name).read_bytes())
            else:
                with zipfile.ZipFile(self.path) as archive:
                    content = json.loads(archive.read(name))
        if not isinstance(content, dict):
            raise UnreadableFileError(where=f"{self.path} [{name}]", found=type(content).__name__, expected="a JSON object",
                                      remedy="The metadata are damaged: write the store again.")
        return content

    def _chunks_present(self) -> Counter[str]:
        """Number of files that are no metadata below each folder, at any depth."""
        present: Counter[str] = Counter()
        for name in self.sizes:
            folder, _, leaf = name.rpartition("/")
            if leaf not in METADATA:
                parts = folder.split("/")
                present.update("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
        return present


def _layout(array: Mapping[str, Any]) -> tuple[list[int], list[int], int]:
    """(shape, shape of a chunk file, bytes an element) of version 2 or 3 metadata."""
    shape = [int(n) for n in array["shape"]]
    chunks = array["chunks"] if "chunks" in array else array["chunk_grid"]["configuration"]["chunk_shape"]
    kind = array.get("dtype", array.get("data_type"))
    try:
        itemsize = np.dtype(kind).itemsize if isinstance(kind, str) else 8
    except TypeError:  # texts and extension types, which no field is made of
        itemsize = 8
    chunks = [int(c) for c in chunks]
    if min(shape, default=0) < 0 or min(chunks, default=1) < 1 or len(chunks) != len(shape):
        raise ValueError(f"shape {shape}, chunks {chunks}")
    return shape, chunks, itemsize


def _refuse_objects(array: Mapping[str, Any], where: str) -> None:
    codecs = [*(array.get("filters") or ()), array.get("compressor") or {}, *(array.get("codecs") or ())]
    names = [str(codec.get("id", codec.get("name", ""))).removeprefix("numcodecs.") for codec in codecs if isinstance(codec, dict)]
    if "pickle" in names:
        raise UnsafeFileError(where=where, found="the codec 'pickle', which runs code when a chunk is read", expected="a data codec",
                              remedy="Write the array with numbers or texts, not Python objects.")


def _folder(path: Path) -> dict[str, int]:
    """Sizes of all files of a folder by relative name; links are not followed."""
    sizes: dict[str, int] = {}
    for folder, _, names in os.walk(path):
        base = Path(folder)
        for name in names:
            if not (base / name).is_symlink():
                sizes[(base / name).relative_to(path).as_posix()] = (base / name).stat().st_size
        _limit(path, len(sizes))
    return sizes


def _archive(path: Path) -> dict[str, int]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise TruncatedFileError(where=path, found=f"no readable directory of a zip archive ({error})", expected="one at its end",
                                 remedy="Fetch or write the file again.") from error
    _limit(path, len(infos))
    check_ratio(path, sum(info.file_size for info in infos), path.stat().st_size)
    return {info.filename: info.file_size for info in infos}


def _limit(path: Path, count: int) -> None:
    if count > MOST_OBJECTS:
        raise BudgetError(where=path, found=f"over {MOST_OBJECTS} files", expected=f"at most {MOST_OBJECTS}",
                          remedy="Use larger chunks or shards.")
