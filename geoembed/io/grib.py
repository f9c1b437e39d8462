"""GRIB 1 and 2: the fields of one grid, valid time, step and member as one record; no message is lost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from geoembed.errors import GeoembedError, UnreadableFileError
from geoembed.io.budget import check_budget
from geoembed.io.extras import require
from geoembed.io.fields import Channel, field_graph, field_record
from geoembed.io.grib_messages import GribFile, Message, opened
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Graph


class Grib:
    """Fields in GRIB of both editions, on every grid that ecCodes can locate.

    A record holds all messages of one grid, valid time, forecast step and ensemble member, whatever order the file has;
    level type and step type are part of a channel's name where they are not usual (``t@500``, ``t@hybrid,137``,
    ``tp:accum``). Messages that agree in all of that fill further records. ``messages`` in the notes counts those used.
    """

    kind = "sphere"
    suffixes: tuple[str, ...] = (".grib", ".grib1", ".grib2", ".grb", ".grb1", ".grb2", ".gb1", ".gb2", ".gr1", ".gr2")

    def can_open(self, head: bytes, name: str) -> bool:
        """By the indicator of a message, at the start or, with a suffix of GRIB, behind a bulletin header."""
        return head.startswith(b"GRIB") or (b"GRIB" in head and name.endswith(self.suffixes))

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """Records by valid time, step, member and grid; damaged messages are bad records of their own."""
        eccodes = require("eccodes", "climate")
        with opened(eccodes, path) as file:
            states: defaultdict[tuple[tuple[str, str, int], str], list[Message]] = defaultdict(list)
            found = 0
            for item in file.messages():
                found += 1
                if isinstance(item, Message):
                    states[(item.state, item.grid)].append(item)
                else:
                    yield BadRecord(*item)
            if not found:
                raise UnreadableFileError(where=path, found="no GRIB message", expected="at least one",
                                          remedy="The file is damaged: fetch it again.")
            layers = {key: _layers(messages) for key, messages in sorted(states.items(), key=lambda entry: entry[0])}
            each = Counter(grid for (_, grid), stack in layers.items() for _ in stack)
            for ((valid, step, member), grid), stack in layers.items():
                parts = [valid, step, f"member {member}" if member else "", _grid_name(file, grid) if len(each) > 1 else ""]
                for messages in stack:
                    yield _record(file, " ".join(filter(None, parts)), messages, alone=each[grid] == 1)

    def to_graph(self, record: Record) -> Graph:
        """The sphere graph of one state of one grid."""
        return field_graph(record)


def _grid_name(file: GribFile, grid: str) -> str:
    geometry = file.geometries[grid]
    return f"{geometry.kind} {geometry.lat.size}"


def _layers(messages: list[Message]) -> list[list[Message]]:
    """Messages with at most one of each channel in a layer; which layer does not depend on the order of the file."""
    layers: list[list[Message]] = []
    seen: Counter[str] = Counter()
    for message in sorted(messages, key=lambda m: (m.name, m.variant, m.offset, m.part)):
        if seen[message.name] == len(layers):
            layers.append([])
        layers[seen[message.name]].append(message)
        seen[message.name] += 1
    return layers


def _record(file: GribFile, key: str, messages: list[Message], *, alone: bool) -> Record | BadRecord:
    geometry = file.geometries[messages[0].grid]
    if geometry.error is not None:
        return BadRecord(key, geometry.error)
    try:
        check_budget(f"{file.path} [{key}]", (len(messages), geometry.lat.size), 5)
        channels = [
            Channel(message.base, message.levels, message.name, values, measured, message.conversion)
            for message, values, measured in file.values(messages)
        ]
        return field_record(key, channels, geometry.lat, geometry.lon, where=file.path, alone=alone,
                            notes={"messages": len(messages), **({"grid": geometry.note} if geometry.note else {})})
    except GeoembedError as error:
        return BadRecord(key, error)
