"""Faults 1, 2, 6, 19, 49, 50, 52, 54–56, 62, 63 and 66 where they concern store, pipeline and command line."""

from __future__ import annotations

import ast
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import geoembed
import numpy as np
import pytest
import torch
from geoembed.errors import StoreError
from geoembed.pipeline import Limits, build, embed
from geoembed.schema import Graph, Provenance
from geoembed.store import ChunkEntry, ShardDataset, ShardWriter, VectorTable, batches, open_store, open_table, verify
from geoembed.store.atomic import sealed
from geoembed.store.manifest import Journal

from hostile_files import fasta, folder_of_fasta, hostile, install
from tiny_encoder import Tiny

PACKAGE = Path(geoembed.__file__).parent


def run(*arguments: str, cwd: Path, path: Path | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, with a plug-in on its path."""
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run([sys.executable, "-m", "geoembed", *arguments], cwd=cwd, env=environment, capture_output=True, text=True,
                          timeout=timeout)


@pytest.fixture
def plugin(tmp_path_factory, monkeypatch) -> Path:
    place = install(tmp_path_factory.mktemp("plugin"))
    monkeypatch.syspath_prepend(place)
    return place


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# 1


def test_fault_01_four_broken_files_of_200_are_listed_and_196_embedded(tmp_path):
    files = folder_of_fasta(tmp_path / "in", 200)
    whole = files[1].read_bytes()
    files[0].write_bytes(b"")  # empty
    files[1].write_bytes(b">only a title\n")  # header only
    files[100].write_bytes(whole[:20] + b"\x00" + whole[21:])  # a byte that is no letter
    files[199].unlink()
    (tmp_path / "in" / "s0199.cif").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")  # another content than the suffix says
    done = run("embed", "in", "-o", "table", "--workers", "2", "--json", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert (document["records_in"], document["embedded"], document["quarantined"]) == (200, 196, 4)
    assert [Path(reason["source"]).stem for reason in document["reasons"]] == ["s0000", "s0001", "s0100", "s0199"]
    assert len({reason["reason"].partition(": ")[2] for reason in document["reasons"]}) == 4
    assert len(open_table(tmp_path / "table")) == 196


def test_fault_01_a_reader_that_ends_its_process_loses_one_file(tmp_path, plugin):
    folder_of_fasta(tmp_path / "in", 20)
    hostile(tmp_path / "in" / "s0007x.hostile", "exit 9")
    done = run("build", "in", "-o", "graphs", "--workers", "2", "--json", cwd=tmp_path, path=plugin)
    document = json.loads(done.stdout)
    assert (done.returncode, document["built"], document["quarantined"]) == (1, 20, 1)
    assert document["reasons"][0]["source"] == "in/s0007x.hostile"
    assert "exit code 9" in document["reasons"][0]["reason"]


# 2


@pytest.mark.usefixtures("plugin")
def test_fault_02_any_exception_is_a_listed_reason_and_the_counts_reconcile(tmp_path):
    names = ("OSError", "KeyError", "MemoryError", "UnicodeDecodeError", "RecursionError")
    files = [hostile(tmp_path / f"{name}.hostile", "record first", f"raise {name}") for name in names]
    files.append(hostile(tmp_path / "nothing.hostile"))
    report = build(files, tmp_path / "out")
    assert (report.records_in, report.built) == (11, 5)
    store = open_store(tmp_path / "out")
    assert store.records_in == store.built + store.quarantined == 11
    reasons = [bad.reason.partition(": ")[2] for bad in report.quarantined]
    assert len(set(reasons)) == 6
    for name, reason in zip(names, reasons, strict=False):
        assert name in reason
    assert "no records" in reasons[5]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["records_in"] == manifest["built"] + manifest["quarantined"]


# 6


@pytest.mark.usefixtures("plugin")
def test_fault_06_a_sleeping_reader_is_ended_and_the_next_file_is_read(tmp_path):
    build(fasta(tmp_path / "warm.fasta", 0), tmp_path / "warm")  # workers have imported their libraries
    files = [hostile(tmp_path / "a.hostile", "sleep 60"), fasta(tmp_path / "b.fasta", 1)]
    started = time.monotonic()
    report = build(files, tmp_path / "out", limits=Limits(seconds=2))
    assert time.monotonic() - started < 20  # 3 s on an idle machine; the hang is 60 s
    assert report.built == 1
    assert "timeout: no record in 2 s" in report.quarantined[0].reason


# 19


def test_fault_19_odd_names_are_embedded_and_found_again(tmp_path):
    odd = ["with space.fasta", "run[1].fasta", "café.fasta", "line\nbreak.fasta", "UPPER.FASTA", "x" * 190 + ".fasta", "sequence.txt"]
    for number, name in enumerate(odd):
        fasta(tmp_path / name, number)
    folder_of_fasta(tmp_path / "run[2]", 3)
    (tmp_path / "run[2]" / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.fasta").symlink_to(tmp_path / "nowhere")
    raw = os.path.join(os.fsencode(tmp_path), b"\xff\xfe.fasta")
    shutil.copy(tmp_path / "UPPER.FASTA", raw)
    (tmp_path / ".hidden").write_text("x")
    report = embed(tmp_path, Tiny(), out=tmp_path / "out" / "table")
    assert (report.records_in, report.embedded) == (len(odd) + 5, len(odd) + 4)
    assert "a link that leads nowhere" in report.quarantined[0].reason
    assert report.ignored == {"hidden": 1, "folder met before": 1}
    found = {os.path.basename(source) for source in open_table(tmp_path / "out" / "table").to_pandas()["source"]}
    assert found == {*odd, "s0000.fasta", "s0001.fasta", "s0002.fasta", "\\xff\\xfe.fasta"}


# 49


def test_fault_49_memory_of_the_caller_does_not_grow_with_the_number_of_files(tmp_path):
    folder_of_fasta(tmp_path / "in", 400)
    build(tmp_path / "in", tmp_path / "graphs", workers=2)
    store = open_store(tmp_path / "graphs")

    def epoch() -> int:
        for graph in ShardDataset(store):
            assert graph.num_nodes
        return resident()

    epoch()
    before = epoch()
    assert epoch() - before < 400 * 2_000  # 2 kB a file would be a leak; pages of the maps come and go


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


# 50


def test_fault_50_two_dozen_descriptors_are_enough_for_any_number_of_shards(tmp_path):
    folder_of_fasta(tmp_path / "in", 1_000)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 24, limits[1]))
    try:
        report = embed(tmp_path / "in", Tiny(), out=tmp_path / "table", workers=2)
        build(tmp_path / "in", tmp_path / "graphs", workers=2)
        store = open_store(tmp_path / "graphs")
        kept = list(ShardDataset(store)), list(batches(store.shards()))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(store.shards()) > 25
    assert report.embedded == len(kept[0]) == sum(batch.num_graphs for batch in kept[1]) == 1_000


# 52


def test_fault_52_exactly_what_changed_is_built_again(tmp_path, monkeypatch):
    files = folder_of_fasta(tmp_path / "in", 100)
    build(tmp_path / "in", tmp_path / "out")
    before = {chunk.key: chunk for chunk in open_store(tmp_path / "out").chunks}
    fasta(files[10], 999)
    build(tmp_path / "in", tmp_path / "out")
    after = {chunk.key: chunk for chunk in open_store(tmp_path / "out").chunks}
    (new,) = after.keys() - before.keys()
    assert str(files[10]) in after[new].sources
    monkeypatch.setattr("geoembed.pipeline.chunks.code_version", lambda: "another radius")
    report = build(tmp_path / "in", tmp_path / "out")
    assert report.resumed == 0
    assert {chunk.key for chunk in open_store(tmp_path / "out").chunks}.isdisjoint(after)


# 54


def verify_names(folder: Path) -> set[str]:
    return {finding.file for finding in verify(folder)}


@pytest.fixture
def store(tmp_path) -> Path:
    folder_of_fasta(tmp_path / "in", 100)
    build(tmp_path / "in", tmp_path / "out")
    assert verify(tmp_path / "out") == []
    return tmp_path / "out"


def test_fault_54_a_flipped_bit_is_named_wherever_it_is(store):
    generator = random.Random(1)
    for path in sorted(store.glob("shard-*")):
        whole = path.read_bytes()
        place = generator.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << generator.randrange(8)]) + whole[place + 1 :])
        assert verify_names(store) == {path.name}
        path.write_bytes(whole)
    assert verify(store) == []


def test_fault_54_missing_and_exchanged_shards_are_named(store):
    first, second = sorted(store.glob("shard-*.safetensors"))[:2]
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b), second.write_bytes(a)
    assert {finding.file: finding.found for finding in verify(store)} == {
        first.name: f"the content of {second.name}", second.name: f"the content of {first.name}"}
    second.write_bytes(b), first.unlink()
    assert [(finding.file, finding.found) for finding in verify(store)] == [(first.name, "no such file")]
    with pytest.raises(StoreError, match=f"{first.name}: found no such file"):
        list(ShardDataset(store))


def test_fault_54_an_edited_manifest_is_named(store):
    path = store / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace('"built": 100', '"built": 101', 1))
    with pytest.raises(StoreError, match=r"manifest\.json: found a document that does not match its own sha256"):
        verify(store)
    done = run("verify", str(store), cwd=store)
    assert (done.returncode, "manifest.json" in done.stderr) == (2, True)


def test_fault_54_tables_are_verified_too(tmp_path):
    embed(fasta(tmp_path / "a.fasta", 1), Tiny(), out=tmp_path / "table")
    (part,) = (tmp_path / "table").glob("part-*")
    whole = part.read_bytes()
    part.write_bytes(whole[:-1])
    assert verify_names(tmp_path / "table") == {part.name}
    part.write_bytes(whole)
    Tiny(seed=1).save(tmp_path / "table" / "encoders" / "tiny")  # queries would be embedded by another encoder than the rows
    assert verify_names(tmp_path / "table") == {"encoders/tiny"}


# 55


def test_fault_55_ten_thousand_records_are_few_files_and_every_row_is_found(tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(10_000, 16)).astype(np.float32)
    vectors[17], vectors[4711, 3] = 0, np.nan
    origins = [Provenance(kind="chain", source=f"f{i}", record=str(i)) for i in range(10_000)]
    with VectorTable(tmp_path / "table") as table:
        refused = [line for i in range(0, 10_000, 100) for line in table.append(vectors[i : i + 100], origins[i : i + 100])]
        table.refuse(refused)
    assert [line.record for line in refused] == ["17", "4711"]
    table = open_table(tmp_path / "table")
    assert sum(1 for path in (tmp_path / "table").rglob("*") if path.is_file()) < 20
    assert len(table.search(vectors[0], k=20_000)) == len(table) == 9_998
    assert table.refused() == refused


def test_fault_55_many_commits_of_the_pipeline_are_few_files(tmp_path, monkeypatch):
    monkeypatch.setattr("geoembed.pipeline.run.COMMIT_ROWS", 1)
    folder_of_fasta(tmp_path / "in", 600)
    commits = []
    flush = VectorTable.flush
    monkeypatch.setattr(VectorTable, "flush", lambda table, chunks=(): (commits.append(len(chunks)), flush(table, chunks)))
    report = embed(tmp_path / "in", Tiny(), out=tmp_path / "table")
    assert report.embedded == len(open_table(tmp_path / "table")) == 600
    assert len([count for count in commits if count]) > 10
    assert sum(1 for path in (tmp_path / "table").rglob("*") if path.is_file()) < 20


# 56


READ_ALL = """
import random, resource, sys
import torch
from pathlib import Path
from geoembed.store import ShardDataset, batches, dataset
dataset._OPEN_BYTES = 32 << 20
data = ShardDataset(sys.argv[1])
used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (used + (160 << 20),) * 2)
order = random.Random(0).sample(range(30), 30)
assert [float(data[i].x[-1, -1]) for i in order] == [float(i) for i in order]
assert [float(batch.x[0, 0]) for batch in batches(data.shards)] == [float(i) for i in range(30)]
try:
    torch.ones(80 << 20).sum()
except RuntimeError:
    print("the limit holds")
"""


def test_fault_56_a_store_larger_than_the_limit_of_memory_is_read_at_random(tmp_path, monkeypatch):
    monkeypatch.setattr("geoembed.store.writer.MAX_BYTES", 16 << 20)
    writer = ShardWriter(tmp_path, "k")
    for number in range(30):  # 300 MB in shards of 20 MB
        x = torch.full((250_000, 10), float(number))
        writer.add(Graph(Provenance(kind="cloud", modality="event", source="big", record=str(number)), x=x))
    entry = ChunkEntry(key="k", sources=["big"], records_in=30, built=30, quarantined=0, shards=writer.close())
    Journal(tmp_path).close([entry])
    # A process of its own: what other tests left in memory must not count against its limit.
    done = subprocess.run([sys.executable, "-c", READ_ALL, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "the limit holds\n"), done.stderr


# 62


def test_fault_62_help_is_instant_and_imports_no_torch(tmp_path):
    code = (
        "import resource, sys\n"
        "sys.argv = ['geoembed', '--help']\n"
        "from geoembed.cli import main\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert done.code == 0\n"
        "assert not {'torch', 'lightning', 'torch_geometric', 'pandas'} & set(sys.modules)\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\nprint('CPU', used.ru_utime + used.ru_stime)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert float(done.stdout.rpartition("CPU ")[2]) < 0.5


EXTRAS = ("ase", "gemmi", "uproot", "awkward", "h5py", "xarray", "netCDF4", "zarr", "cfgrib", "eccodes", "rasterio", "PIL", "astropy",
          "soundfile", "soxr", "dnaio", "matplotlib", "torch_scatter", "lightning")


def test_fault_62_without_any_extra_everything_else_works_and_the_message_names_the_extra(tmp_path):
    fasta(tmp_path / "a.fasta", 1)
    np.save(tmp_path / "never.npy", np.zeros(3))
    (tmp_path / "b.fits").write_bytes(b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800))
    code = (
        "import sys\n"
        f"for name in {EXTRAS!r}:\n    sys.modules[name] = None\n"
        "import geoembed\n"
        "assert [g.num_nodes for g in geoembed.read('a.fasta')] == [21]\n"
        "reading = geoembed.read('b.fits')\n"
        "assert list(reading) == []\n"
        "print(reading.quarantined[0].reason)\n"
        "from geoembed.cli.doctor import examine\n"
        "assert 'geoembed[astronomy]' in examine()['extras']['astronomy']\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "pip install 'geoembed[astronomy]'" in done.stdout


# 63


def test_fault_63_no_source_line_can_run_what_a_file_holds():
    found = [f"{path.relative_to(PACKAGE)}:{node.lineno}" for path in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))
             if _dangerous(node)]
    assert found == []


def _dangerous(node: ast.AST) -> bool:
    modules = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] in modules for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").partition(".")[0] in modules
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    allowed = {keyword.arg: keyword.value for keyword in node.keywords}.get("allow_pickle")
    return (
        called in {"eval", "exec", "compile", "torch.load", "torch.jit.load", "yaml.load", "yaml.unsafe_load", "np.loads", "os.system", "os.popen"}
        or (isinstance(allowed, ast.Constant) and allowed.value is True)
    )


@pytest.mark.parametrize("line", ["import pickle", "from pickle import loads", "eval('1')", "torch.load(f)", "np.load(f, allow_pickle=True)"])
def test_fault_63_the_scan_sees_what_it_looks_for(line):
    assert any(map(_dangerous, ast.walk(ast.parse(line))))


SUFFIXES = (".pt", ".pkl", ".npy", ".cif", ".csv", ".parquet", ".h5", ".json", ".fits", ".bin")


def test_fault_63_a_pickle_under_any_suffix_is_refused_and_runs_nothing(tmp_path):
    marker = tmp_path / "marker"
    # Protocol 2 by hand: os.mkdir(marker), so that this file needs no pickle either.
    text = str(marker).encode()
    payload = b"\x80\x02cposix\nmkdir\nq\x00X" + len(text).to_bytes(4, "little") + text + b"\x85Rq\x01."
    files = [tmp_path / f"payload{suffix}" for suffix in SUFFIXES]
    for path in files:
        path.write_bytes(payload)
    report = build(files, tmp_path / "out")
    assert len(report.quarantined) == report.records_in == len(SUFFIXES)
    assert all("pickle" in bad.reason for bad in report.quarantined)
    assert not marker.exists()


# 66


def test_fault_66_a_store_from_elsewhere_cannot_reach_outside_its_folder(store):
    document: dict[str, Any] = json.loads((store / "manifest.json").read_text())
    document.pop("sha256")
    document["chunks"][0]["shards"][0]["stem"] = "../../x"
    (store / "manifest.json").write_bytes(sealed(document))
    with pytest.raises(StoreError, match=r"a file called '\.\./\.\./x'"):
        open_store(store)
