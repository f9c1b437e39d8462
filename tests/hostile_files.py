"""A reader plug-in whose files say what it shall do: hang, crash, take all memory. Installed by a folder on ``sys.path`` alone."""

from __future__ import annotations

from pathlib import Path

READER = '''
import os, signal, sys, time, re
from geoembed.errors import MissingExtraError
from geoembed.graphs.chain import chain_graph
from geoembed.io.record import BadRecord, Record

class Hostile:
    """Each line of a file is an act: record KEY, exit N, sleep S, …"""
    kind, suffixes = "chain", (".hostile",)

    def can_open(self, head, name):
        return head.startswith(b"HOSTILE")

    def records(self, path):
        for line in path.read_text().splitlines()[1:]:
            act, _, what = line.partition(" ")
            if act == "record":
                yield Record(what, "ACGTTGCA")
            elif act == "exit":
                os._exit(int(what))
            elif act == "sysexit":
                sys.exit(0)
            elif act == "kill":
                os.kill(os.getpid(), getattr(signal, what))
            elif act == "sleep":
                time.sleep(float(what))
            elif act == "spin":  # a regular expression that blows up: no other thread of Python runs meanwhile
                re.match("(a+)+$", "a" * 40 + "b")
            elif act == "take":
                taken = bytearray(int(float(what) * 2**30))
                yield Record(f"took {what}", "ACGT")
            elif act == "countdown":  # dies after one record less each time
                left = int(open(what).read()) if os.path.exists(what) else 3
                with open(what, "w") as file:
                    file.write(str(left - 1))
                for number in range(left):
                    yield Record(f"{number}", "ACGT")
                os._exit(5)
            elif act == "once":  # dies at the first try only
                if not os.path.exists(what):
                    open(what, "w").close()
                    os._exit(3)
                yield Record("second try", "ACGT")
            elif act == "extra":
                if not os.path.exists(what):
                    raise MissingExtraError(where="lib", found="absent", expected="a library", remedy="pip install lib")
                yield Record("with extra", "ACGT")
            elif act == "print":
                print("noise on stdout")
                yield Record("noisy", "ACGT")
            elif act == "raise":
                raise {"OSError": OSError(5, "Input/output error"), "KeyError": KeyError("tree"), "MemoryError": MemoryError(),
                       "UnicodeDecodeError": UnicodeDecodeError("utf-8", b"\\xff", 0, 1, "invalid start byte"),
                       "RecursionError": RecursionError("maximum recursion depth exceeded")}[what]

    def to_graph(self, record):
        return chain_graph.from_sequence(record.payload, modality="sequence")
'''


def install(folder: Path) -> Path:
    """Write the plug-in as an installed distribution; the returned folder goes on ``sys.path`` or ``PYTHONPATH``."""
    place = folder / "plugin"
    about = place / "hostile_reader-1.0.dist-info"
    about.mkdir(parents=True)
    (place / "hostile_reader.py").write_text(READER)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile-reader\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[geoembed.readers]\nhostile = hostile_reader:Hostile\n")
    return place


def hostile(path: Path, *acts: str) -> Path:
    """A file that does these acts in turn."""
    path.write_text("\n".join(["HOSTILE", *acts]) + "\n")
    return path


def fasta(path: Path, number: int, records: int = 1) -> Path:
    """Short sequences that differ from file to file."""
    letters = "ACGT"
    lines = []
    for r in range(records):
        code = number * 31 + r
        lines.append(f">s{number}.{r}\n" + "".join(letters[(code >> (2 * i)) & 3] for i in range(12)) + "ACGTNACGT\n")
    path.write_text("".join(lines))
    return path


def folder_of_fasta(folder: Path, count: int) -> list[Path]:
    """``count`` good files with sorted names."""
    folder.mkdir(parents=True, exist_ok=True)
    return [fasta(folder / f"s{i:04d}.fasta", i) for i in range(count)]
