"""A Dask cluster of real processes: the same bytes as without one, also when a worker is killed, and typed errors where it cannot be."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from geoembed.cli import main
from geoembed.errors import ConfigError, MissingExtraError, StoreError
from geoembed.pipeline import Limits, build, build_shard, chunks_of, dask_cluster, embed
from geoembed.pipeline import cluster as module
from geoembed.pipeline.cluster import confirm
from geoembed.store import open_table, verify

from hostile_files import folder_of_fasta, hostile, install

distributed = pytest.importorskip("distributed")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def children(pid: int) -> list[int]:
    """The processes below one, of any depth."""
    found, parents = [], {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        below = [child for child, over in parents.items() if over == parent]
        found += below
        waiting += below
    return found


@dataclass
class Cluster:
    """A scheduler and workers, each a process; workers begin in a folder of their own, as on another machine."""

    folder: Path
    plugin: Path
    address: str = ""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, program: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        log = open(self.folder / f"{program}-{len(self.processes)}.log", "wb")  # noqa: SIM115 — the process keeps it
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{program}", *arguments], cwd=self.folder, stdout=log, stderr=log,
            env=os.environ | {"PYTHONPATH": str(self.plugin)} | environment,
        )
        log.close()
        self.processes.append(process)
        return process

    def scheduler(self) -> None:
        place = self.folder / "scheduler.json"
        self.start("dask_scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(place))
        end = time.monotonic() + 20
        while not self.address and time.monotonic() < end:
            time.sleep(0.05)
            try:
                self.address = json.loads(place.read_text())["address"]
            except (OSError, ValueError):
                continue

    def worker(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        return self.start("dask_worker", self.address, "--nthreads", "1", "--no-dashboard", "--memory-limit", "0", *options, **environment)

    def stop(self) -> None:
        for process in self.processes[::-1]:  # the scheduler last: without it a worker takes its time to end
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def plugin(tmp_path_factory) -> Path:
    return install(tmp_path_factory.mktemp("plugin"))


@pytest.fixture
def same_code(plugin, monkeypatch) -> Iterator[None]:
    """This process has the plug-in that the workers have."""
    monkeypatch.syspath_prepend(plugin)
    module.code_version.cache_clear()
    yield
    module.code_version.cache_clear()


@pytest.fixture(scope="module")
def running(tmp_path_factory, plugin) -> Iterator[Cluster]:
    """A scheduler, a worker whose nanny lets it have children, and one without a nanny, first of all to die."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), plugin)
    cluster.scheduler()
    cluster.worker("--no-nanny", "--name", "mortal")
    cluster.worker("--nanny", "--name", "nursed", DASK_DISTRIBUTED__WORKER__DAEMON="False")
    with distributed.Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=30)
    yield cluster
    cluster.stop()


def slow_files(folder: Path, count: int) -> None:
    """Files of a record that take a while, so that a kill meets work in hand; two are broken."""
    folder.mkdir()
    for i in range(count):
        hostile(folder / f"s{i:04d}.hostile", "sleep 0.01", f"record r{i}")
    (folder / "s0150.hostile").write_text("HOSTILE\n")
    (folder / "s0160.hostile").write_text("")  # its quarantine is that of a file which cannot be opened, and it can


def command_line(monkeypatch, *arguments: str) -> int:
    """The command line in this process; its exit status."""
    monkeypatch.setattr("geoembed.cli.console.quiet_libraries", lambda: None)  # other tests listen
    monkeypatch.setattr(sys, "argv", ["geoembed", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_a_relative_path_means_the_same_on_a_worker_of_another_folder(running, same_code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder_of_fasta(Path("in"), 70)
    build("in", "here", workers=2)
    assert command_line(monkeypatch, "build", "in", "-o", "there", "--json", "--cluster", running.address) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["built"] == 70
    assert "Parsing takes at most 2 × 4 GiB on the cluster" in err.replace("\n", " ")
    assert contents(Path("here")) == contents(Path("there"))


def test_the_command_line_embeds_on_a_cluster_into_the_table_that_it_makes_alone(running, same_code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder_of_fasta(Path("in"), 20)
    embed("in", out="here")
    assert command_line(monkeypatch, "embed", "in", "-o", "there", "--json", "--cluster", running.address) == 0
    assert json.loads(capsys.readouterr().out)["embedded"] == 20
    assert (open_table("here").vectors() == open_table("there").vectors()).all()
    assert not list(Path("there").glob(".writing-*"))


def test_a_worker_of_other_code_is_refused(running, tmp_path):
    folder_of_fasta(tmp_path / "in", 3)  # this process lacks the plug-in that the workers have
    with pytest.raises(ConfigError, match=r"worker of the cluster, .* found geoembed or reader plug-ins of code .* Install the same geoembed"), \
            dask_cluster(running.address) as executor:
        build(tmp_path / "in", tmp_path / "out", executor=executor)


def test_a_worker_that_is_killed_half_way_costs_time_only(running, same_code, tmp_path):
    slow_files(tmp_path / "in", 200)
    build(tmp_path / "in", tmp_path / "here", workers=2)
    mortal, killed, orphans = running.processes[1], [], []

    def kill(done: int, total: int, records: int) -> None:
        if done < total / 4 or killed:
            return
        with distributed.Client(running.address, set_as_default=False) as client:
            end = time.monotonic() + 5
            while not killed and time.monotonic() < end:
                names = {address: worker["name"] for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()}
                if any(keys and names.get(address) == "mortal" for address, keys in client.processing().items()):
                    orphans.extend(children(mortal.pid))
                    os.kill(mortal.pid, signal.SIGKILL)
                    killed.append(done)
                time.sleep(0.01)
        mortal.wait()

    with dask_cluster(running.address) as executor:
        report = build(tmp_path / "in", tmp_path / "there", executor=executor, progress=kill)
    assert 50 <= killed[0] < 200
    assert (report.records_in, report.built, [Path(bad.source).name for bad in report.quarantined]) == (200, 198, ["s0150.hostile", "s0160.hostile"])
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert verify(tmp_path / "there") == []
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in orphans) and time.monotonic() < end:
        time.sleep(0.05)
    assert orphans
    assert [pid for pid in orphans if Path(f"/proc/{pid}").exists()] == []  # its parsing processes noticed
    again = build(tmp_path / "in", tmp_path / "there", workers=2)
    assert again.resumed == 200


def test_a_scheduler_that_goes_away_is_a_typed_error_and_the_run_goes_on_without_it(tmp_path, plugin, same_code):
    folder_of_fasta(tmp_path / "in", 3)
    cluster = Cluster(tmp_path, plugin)
    cluster.scheduler()  # no worker: what is asked for waits
    started = time.monotonic()
    with ThreadPoolExecutor(1) as thread, pytest.raises(StoreError, match="a scheduler that went away .* The same command goes on"), \
            dask_cluster(cluster.address) as executor:
        assert (executor.threads, executor.width) == (0, 8)
        thread.submit(lambda: (time.sleep(0.3), cluster.processes[0].kill()))
        build(tmp_path / "in", tmp_path / "out", executor=executor)
    assert time.monotonic() - started < 15
    cluster.stop()
    assert build(tmp_path / "in", tmp_path / "out").built == 3


@pytest.mark.parametrize("address", ["", "somewhere", "foo://x:1", "tcp://127.0.0.1:9", "no-such-host.invalid:8786"])
def test_an_address_where_no_scheduler_answers_is_a_typed_error_in_seconds(address):
    started = time.monotonic()
    with pytest.raises(ConfigError, match="Start one with 'dask scheduler' and give the address that it prints"), dask_cluster(address, 0.4):
        pass
    assert time.monotonic() - started < 4


def test_something_that_answers_and_is_no_scheduler_is_a_typed_error_in_seconds():
    with socket.create_server(("127.0.0.1", 0)) as server, \
            pytest.raises(ConfigError, match="no Dask scheduler"), dask_cluster(f"tcp://127.0.0.1:{server.getsockname()[1]}", 0.2):
        pass


def test_the_command_line_says_who_did_not_answer(tmp_path, monkeypatch, capsys):
    assert command_line(monkeypatch, "build", str(tmp_path), "--cluster", "somewhere") == 2
    assert capsys.readouterr().err.startswith("geoembed: cluster: found 'somewhere'; expected the address of a Dask scheduler. Start one with")


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'geoembed\[cluster\]'"), dask_cluster("tcp://127.0.0.1:9"):
        pass


def test_a_worker_that_may_have_no_children_says_how_to_start_it(monkeypatch):
    monkeypatch.setitem(module.multiprocessing.current_process()._config, "daemon", True)
    with pytest.raises(ConfigError, match="DASK_DISTRIBUTED__WORKER__DAEMON=False"):
        module._there(module.code_version(), len, ([1, 2],), {})


def test_a_worker_without_the_folder_of_the_store_says_that_it_must_be_shared(tmp_path):
    folder_of_fasta(tmp_path / "in", 1)
    chunk = next(chunks_of([str(tmp_path / "in" / "s0000.fasta")]))
    with pytest.raises(StoreError, match="no such folder on the machine that does the work.*a file system that all machines share"):
        build_shard(chunk, tmp_path / "absent", Limits(), base=tmp_path)


def test_shards_that_stay_on_the_disk_of_a_worker_are_not_taken_for_the_store(tmp_path):
    folder_of_fasta(tmp_path / "in", 1)
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    chunk = next(chunks_of([str(tmp_path / "in" / "s0000.fasta")]))
    entry = build_shard(chunk, tmp_path / "there", Limits(), base=tmp_path)
    assert confirm(entry, tmp_path / "there") is entry
    with pytest.raises(StoreError, match="no file, though a worker has written it.*put the inputs and the output on a shared file system"):
        confirm(entry, tmp_path / "here")


def test_a_file_that_only_this_machine_sees_is_not_listed_as_missing(tmp_path):
    source = tmp_path / "s.fasta"
    entry = build_shard(next(chunks_of([str(source)])), tmp_path, Limits(), base=tmp_path)
    assert confirm(entry, tmp_path).quarantined == 1  # nobody sees it: it is missing
    source.write_text(">a\nACGT\n")
    with pytest.raises(StoreError, match="that a worker cannot open it .*no such file.*shared file system"):
        confirm(entry, tmp_path)


@pytest.mark.parametrize(("error", "match"), [("KilledWorker", "limit on their memory"), ("CancelledError", "went away")])
def test_a_lost_unit_of_work_is_a_typed_error(running, error, match):
    lost = CancelledError() if error == "CancelledError" else distributed.scheduler.KilledWorker("task", None, 4)
    with pytest.raises(StoreError, match=f"{match}.*The same command goes on where it stopped"), dask_cluster(running.address):
        raise lost


def test_each_thread_of_an_outside_executor_parses_in_a_process_of_its_own(same_code, tmp_path):
    paths = [hostile(tmp_path / f"{i}.hostile", "sleep 0.6", "record r") for i in range(2)]
    work = [next(chunks_of([str(path)])) for path in paths]

    def spans() -> tuple[float, float]:
        with ThreadPoolExecutor(2) as threads:
            started = time.monotonic()
            ended = list(threads.map(lambda chunk: (build_shard(chunk, tmp_path, Limits()), time.monotonic())[1], work))
        return ended[0] - started, ended[1] - started

    spans()  # the processes start
    assert max(spans()) < 1.15  # one after the other takes 1.2 s
