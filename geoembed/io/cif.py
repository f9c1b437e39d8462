"""CIF: one record a data block. gemmi parses the syntax, :mod:`geoembed.io.cif_block` reads the structure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geoembed.errors import EmptyGraphError, GeoembedError, TruncatedFileError, UnreadableFileError
from geoembed.io.budget import check_budget
from geoembed.io.cif_block import crystal_of, truncated
from geoembed.io.cif_items import BlockItems
from geoembed.io.cif_rows import has_sites
from geoembed.io.extras import require
from geoembed.io.record import BadRecord, Record
from geoembed.io.sites import Sites
from geoembed.schema import Graph, Scalar

_HEADER = re.compile(r"^[ \t]*data_(\S*)", re.MULTILINE | re.IGNORECASE)
_NAME = re.compile(r"\S*")
_TEXT_FIELD = re.compile(r"^;.*?^;", re.MULTILINE | re.DOTALL)
_ITEM = re.compile(  # a loop with its columns, or one tag; then every line up to the next of either
    r"^[ \t]*(?:loop_\s+(_\S+)\s+(?:_\S+\s+)*|(_\S+))(?:(?!^[ \t]*(?:_|loop_)).*(?:\n|\Z))*", re.MULTILINE | re.IGNORECASE
)
_STRUCTURE = re.compile(r"_(?:cell|symmetry|space_group|atom_site|chemical_formula_sum|chem_comp_atom)", re.IGNORECASE)


class Cif:
    """Crystal structures, any number of blocks a file, ordered or disordered, in any space group; magnetic CIFs without moments.

    Blocks without atom sites (``data_global``, powder patterns) are not records. The block name is the key.
    """

    kind, suffixes = "crystal", (".cif", ".mcif")

    def can_open(self, head: bytes, name: str) -> bool:
        """A ``.cif`` of any content, or a text whose first words make it one."""
        if b"\0" in head:  # a tar or zip archive shows the text of its first member
            return False
        if name.endswith(self.suffixes):
            return True
        text = head.decode("ascii", "replace")
        return bool(_HEADER.search(text)) and bool(re.search(r"^\s*(?:loop_|_[A-Za-z])", text, re.MULTILINE))

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """One record a block that has atom sites, in file order."""
        with open(path, "rb") as file:
            check_budget(path, (os.fstat(file.fileno()).st_size,), 16)  # text, its copies and its tokens
            text = file.read().decode("utf-8", "replace")
        yield from cif_records(text, str(path))

    def to_graph(self, record: Record) -> Graph:
        """The crystal graph of the sites of the cell."""
        sites: Sites = record.payload
        return sites.graph()


def cif_records(text: str, where: str) -> Iterator[Record | BadRecord]:
    """Records of the text of a CIF, one a block with atom sites; raises :class:`EmptyGraphError` where there is none."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    notes: dict[str, Scalar] = {}
    if not text.isascii():
        notes["non_ascii_replaced"] = sum(not letter.isascii() for letter in text)
        text = text.encode("ascii", "replace").decode("ascii")
    spans = _blocks(text, where)
    found = False
    for i, (name, start) in enumerate(spans):
        end = spans[i + 1][1] if i + 1 < len(spans) else len(text)
        record = _record(name or "block", text[start:end], text.count("\n", 0, start), dict(notes), where)
        if record is not None:
            found = True
            yield record
    if not found:
        raise EmptyGraphError(where=where, found=f"{len(spans)} blocks without atom sites", expected="_atom_site_fract_x, y, z",
                              remedy="Leave the file out, or give it the coordinates.")


def _blocks(text: str, where: str) -> list[tuple[str, int]]:
    """(name, offset) of each block header outside text fields."""
    headers: list[tuple[str, int]] = []
    lower = text.lower()
    place = lower.find("data_")
    while place >= 0:
        start = text.rfind("\n", 0, place) + 1
        if not text[start:place].strip(" \t"):
            name = _NAME.match(text, place + 5)
            headers.append((name.group() if name else "", start))
        end = lower.find("\n", place)
        place = lower.find("data_", end) if end >= 0 else -1  # one a line: only blanks stand before a heading
    if len(headers) > 1:
        fields = [(match.start(), match.end()) for match in _TEXT_FIELD.finditer(text)]
        headers = [header for header in headers if not any(start < header[1] < end for start, end in fields)]
    if not headers:
        raise UnreadableFileError(where=where, found="no block heading", expected="a line data_NAME before the items",
                                  remedy="Put a line such as data_crystal before the first item.")
    return headers


def _record(name: str, text: str, line: int, notes: dict[str, Scalar], where: str) -> Record | BadRecord | None:
    """The record of one block, the reason why there is none, or None where the block is not about a structure."""
    where = f"{where} [{name}]"
    if not _STRUCTURE.search(text):
        return None
    try:
        items = BlockItems(_parse(text, line, notes, where))
        if not has_sites(items):
            return None
        sites, found = crystal_of(items, where)
        notes |= found
        if not text.endswith("\n"):  # the end of the file, and perhaps not where it was meant to end
            notes["no_line_end_at_the_end"] = True
            if truncated(notes):
                raise TruncatedFileError(where=where, found=f"no line end, and {notes['composition_mismatch']}",
                                         expected="the sites of the whole formula", remedy="Fetch the file again.")
    except GeoembedError as error:
        return BadRecord(name, error)
    return Record(name, sites, notes)


def _parse(text: str, line: int, notes: dict[str, Scalar], where: str) -> Any:
    """The gemmi block. A syntax error in an item that no structure is read from costs a note; elsewhere it is the error."""
    cif = require("gemmi", "materials").cif
    try:
        return cif.read_string(text)[0]
    except (ValueError, RuntimeError) as error:
        complaint = _complaint(str(error), line)
        try:
            block = cif.read_string(_structure_items(text))[0]
        except (ValueError, RuntimeError) as second:
            raise UnreadableFileError(
                where=where, found=_complaint(str(second), line), expected="the syntax of CIF 1.1",
                remedy="Correct that line: an open quote, a missing value, or a loop that is cut.",
            ) from error
        notes["syntax_error_elsewhere"] = complaint
        return block


def _complaint(message: str, line: int) -> str:
    """gemmi's ``string:3:24(45): parse error`` with the line of the file."""
    found = re.match(r"string:(\d+):\d+\(\d+\):\s*(.*)", message, re.DOTALL)
    return f"line {int(found.group(1)) + line}: {found.group(2).strip()[:200]}" if found else message[:200]


def _structure_items(text: str) -> str:
    """The text with the items that no structure is read from blanked, line by line, so that line numbers stay."""

    def kept(item: re.Match[str]) -> str:
        return item.group() if _STRUCTURE.match(item.group(1) or item.group(2)) else "\n" * item.group().count("\n")

    return _ITEM.sub(kept, text)
