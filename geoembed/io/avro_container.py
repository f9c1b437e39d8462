"""Avro object container files (Apache Avro 1.12 specification): records one by one, checked before anything is decoded.

The framing (blocks, sync marks, compression) is walked here, so that a cut or hostile file is met where it breaks; fastavro
decodes the records of a block.
"""

from __future__ import annotations

import bz2
import io
import json
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from geoembed.errors import BudgetError, GeoembedError, TruncatedFileError, UnreadableFileError, UnsafeFileError
from geoembed.io.budget import LIMIT, RATIO, check_budget
from geoembed.io.damage import damage
from geoembed.io.extras import require

MAGIC = b"Obj\x01"
CODECS = ("null", "deflate", "bzip2", "xz")

_DEEPEST = 64  # levels of types inside types; alerts have about six
_LONGEST_METADATA = 16 << 20
_FREE = 64 << 20
_PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


class Container:
    """An open container file: ``schema`` is the writer's, as JSON; iterating gives its records as dictionaries."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path = file, path
        self.size = path.stat().st_size
        if file.read(4) != MAGIC:
            raise _unreadable(path, "no Avro signature", "Obj\\x01 and its version")
        metadata = self._metadata()
        self.codec = metadata.get("avro.codec", b"null").decode("ascii", "replace")
        if self.codec not in CODECS:
            raise UnreadableFileError(where=path, found=f"the codec {self.codec!r}", expected=f"one of {', '.join(CODECS)}",
                                      remedy="Write the file with the codec deflate or null.")
        with damage(path, "an Avro schema in JSON", RecursionError):
            self.schema = json.loads(metadata.get("avro.schema", b""))
        check_schema(self.schema, path)
        library = require("fastavro.schema", "astronomy")
        with damage(path, "a legal Avro schema", library.SchemaParseException, library.UnknownType):
            self._parsed = library.parse_schema(self.schema)
        self._sync = self._take(16)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Records in file order; raises where the file breaks, after the whole records before the break."""
        library = require("fastavro.read", "astronomy")
        while self.file.tell() < self.size:
            at = self.file.tell()
            count, size = self._integer(), self._integer()
            if count < 0 or size < count:  # a record takes a byte at least, see check_schema
                raise _unreadable(self.path, f"{count} records in a block of {size} bytes at byte {at}", "a record of a byte or more")
            payload = io.BytesIO(self._decoded(self._take(size), at))
            if self._take(16) != self._sync:
                raise _unreadable(self.path, f"another sync mark behind the block at byte {at}", "that of the file")
            for _ in range(count):
                with damage(f"{self.path}: block at byte {at}", "a record of the schema", library.SchemaResolutionError):
                    record = library.schemaless_reader(payload, self._parsed)
                yield record if isinstance(record, dict) else {}
            if payload.read(1):
                raise _unreadable(self.path, f"bytes behind the {count} records of the block at byte {at}", "a block of whole records")

    def _metadata(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        while count := self._integer():
            if count < 0:  # a negative count is followed by the size of the block
                count = -count
                self._integer()
            if count > 1000:
                raise _unreadable(self.path, f"{count} entries of metadata", "a few")
            for _ in range(count):
                key = self._text()
                found[key.decode("utf-8", "replace")] = self._text()
        return found

    def _text(self) -> bytes:
        size = self._integer()
        if not 0 <= size <= _LONGEST_METADATA:
            raise _unreadable(self.path, f"metadata of {size} bytes", f"0…{_LONGEST_METADATA}")
        return self._take(size)

    def _take(self, size: int) -> bytes:
        left = self.size - self.file.tell()
        if size > left:
            raise TruncatedFileError(where=self.path, found=f"{left} bytes at byte {self.file.tell()}", expected=f"{size} (declared)",
                                     remedy="Fetch the file again; whole blocks before the break are kept.")
        check_budget(self.path, (size,), 1)
        return self.file.read(size)

    def _integer(self) -> int:
        """A zigzag variable-length integer of at most 64 bits."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self._take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
        raise _unreadable(self.path, f"an integer of more than 64 bits before byte {self.file.tell()}", "a length")

    def _decoded(self, block: bytes, at: int) -> bytes:
        """A block without its compression, never more than the budget of a record."""
        if self.codec == "null":
            return block
        most = min(LIMIT, max(_FREE, RATIO * len(block)))
        where = f"{self.path}: block at byte {at}"
        with damage(where, f"{self.codec} data"):
            if self.codec == "deflate":
                data = zlib.decompressobj(-15).decompress(block, most + 1)
            else:
                data = (bz2.BZ2Decompressor() if self.codec == "bzip2" else lzma.LZMADecompressor()).decompress(block, most + 1)
        if len(data) > most:
            raise BudgetError(where=where, found=f"more than {most} bytes in a block of {len(block)}", expected=f"at most {most}",
                              remedy="Write the file in smaller blocks.")
        return data


def check_schema(schema: object, where: Path) -> None:
    """Refuse schemas whose data could be endless: types inside themselves, and items, values or records that take no byte.

    Alerts have neither; a few bytes that claim 2⁶² nulls would keep a reader busy for ever.
    """
    _smallest(schema, where, "", {}, frozenset(), 0)


def _smallest(
    schema: object, where: Path, namespace: str, known: dict[str, int], inside: frozenset[str], depth: int
) -> int:
    """Bytes that the smallest value of a type takes; ``known``: those of the types named so far."""
    if depth > _DEEPEST:
        raise _unsafe(where, f"types {depth} levels deep", f"at most {_DEEPEST}")
    if isinstance(schema, list):
        return 1 + min((_smallest(branch, where, namespace, known, inside, depth + 1) for branch in schema), default=0)
    if isinstance(schema, str):
        return _named(schema, where, namespace, known, inside)
    if not isinstance(schema, dict):
        raise _unreadable(where, f"{type(schema).__name__} in the schema", "the name of a type, an object or a list")
    kind = schema.get("type")
    if kind in ("record", "error", "enum", "fixed"):
        return _definition(schema, where, namespace, known, inside, depth)
    if kind in ("array", "map"):
        inner = schema.get("items" if kind == "array" else "values")
        if not _smallest(inner, where, namespace, known, inside, depth + 1) and kind == "array":
            raise _unsafe(where, "an array of items without a byte", "items that take a byte or more")
        return 1
    return _smallest(kind, where, namespace, known, inside, depth + 1)


def _named(name: str, where: Path, namespace: str, known: dict[str, int], inside: frozenset[str]) -> int:
    if name in _PRIMITIVES:
        return int(name != "null")
    full = name if "." in name or not namespace else f"{namespace}.{name}"
    full = full if full in known or full in inside else name
    if full in inside:
        raise _unsafe(where, f"the type {name!r} inside itself", "types of a known depth")
    if full not in known:
        raise _unreadable(where, f"the type {name!r}", "a type that is defined before")
    return known[full]


def _definition(
    schema: dict[str, Any], where: Path, namespace: str, known: dict[str, int], inside: frozenset[str], depth: int
) -> int:
    name = str(schema.get("name", ""))
    space = name.rpartition(".")[0] or str(schema.get("namespace") or namespace)
    full = name if "." in name or not space else f"{space}.{name}"
    if schema["type"] == "enum":
        size = 1
    elif schema["type"] == "fixed":
        length = schema.get("size")
        size = length if isinstance(length, int) else 0
    else:
        fields = schema.get("fields")
        if not isinstance(fields, list) or not all(isinstance(field, dict) and "type" in field for field in fields):
            raise _unreadable(where, f"no fields in the record {name!r}", "a list of fields with types")
        size = sum(_smallest(field["type"], where, space, known, inside | {full}, depth + 1) for field in fields)
        if not size and depth == 0:
            raise _unsafe(where, "records without a byte", "records that take a byte or more")
    known[full] = size
    return size


def _unreadable(where: Path, found: str, expected: str) -> GeoembedError:
    return UnreadableFileError(where=where, found=found, expected=expected, remedy="The file is damaged: fetch it again.")


def _unsafe(where: Path, found: str, expected: str) -> GeoembedError:
    return UnsafeFileError(where=where, found=found, expected=expected, remedy="Write the records with a plain schema.")
