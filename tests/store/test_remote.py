"""Stores and tables at URLs: the files of a local one, seen before or after a command and never between, kept on the way and resumed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from geoembed.cli import main
from geoembed.errors import ConfigError, EmptyGraphError, MissingExtraError, StoreError
from geoembed.pipeline import build, embed, expand, search
from geoembed.pipeline.chunks import fingerprint
from geoembed.store import Loader, ShardDataset, VectorTable, is_store, is_table, merge, open_store, open_table, remote, verify
from geoembed.store.origin import RemoteFolder, cache_folder, local, place_of, refuse_secrets

from hostile_files import fasta, folder_of_fasta
from tiny_encoder import Tiny


def moto_is_here() -> bool:
    try:
        import flask_cors  # noqa: F401
        import moto.server  # noqa: F401
        import s3fs  # noqa: F401
    except ImportError:
        return False
    return True


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Iterator[Path]:
    """A cache of its own, and an empty file system in memory."""
    monkeypatch.setenv("GEOEMBED_CACHE", str(tmp_path / "cache"))
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    yield tmp_path / "cache"
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(scope="module")
def s3_address() -> Iterator[str]:
    """A server that speaks S3, in a process of its own on this machine."""
    if not moto_is_here():
        pytest.skip("moto's S3 server or s3fs is not installed: pip install s3fs 'moto[s3]' flask flask-cors")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def bucket(s3_address, monkeypatch, tmp_path) -> str:
    """An empty bucket, and credentials for this test alone."""
    settings = {"ENDPOINT_URL": s3_address, "ACCESS_KEY_ID": "for-this-test", "SECRET_ACCESS_KEY": "only", "DEFAULT_REGION": "us-east-1",
                "CONFIG_FILE": str(tmp_path / "none"), "SHARED_CREDENTIALS_FILE": str(tmp_path / "none"), "EC2_METADATA_DISABLED": "true"}
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    system = fsspec.filesystem("s3")
    name = f"bucket-{tmp_path.name[-20:].strip('_-').replace('_', '-')}-{time.monotonic_ns()}".lower()
    system.mkdir(name)
    return f"s3://{name}"


def at(url: str) -> dict[str, bytes]:
    """Every file at a URL."""
    system, root = fsspec.core.url_to_fs(url)
    system.invalidate_cache()
    return {path[len(root) + 1 :]: system.cat_file(path) for path in system.find(root)}


def local_files(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"}
    return {name: path.read_bytes() for name, path in found.items()}


def failing(monkeypatch, number: int, error: Exception) -> list[str]:
    """Let the ``number``-th file that is sent fail, and every one after it; the names of what was to be sent."""
    sent: list[str] = []
    put = MemoryFileSystem.put_file

    def put_file(self: MemoryFileSystem, source: str, target: str, *args: object, **more: object) -> object:
        sent.append(target)
        if len(sent) >= number:
            raise error
        return put(self, source, target, *args, **more)

    monkeypatch.setattr(MemoryFileSystem, "put_file", put_file)
    return sent


# — what is there —


def round_trip(base: str, folder: Path) -> None:
    """Everything that a command does to a store and a table at a URL, against the same in folders."""
    files = folder_of_fasta(folder / "in", 12)
    files[3].write_text("")
    build(folder / "in", folder / "graphs")
    report = build(folder / "in", f"{base}/graphs")
    assert (report.records_in, report.built, report.resumed) == (12, 11, 0)
    assert at(f"{base}/graphs") == local_files(folder / "graphs")
    assert is_store(f"{base}/graphs")
    assert not is_table(f"{base}/graphs")
    store = open_store(f"{base}/graphs")
    assert repr(store) == f"Store({base}/graphs: 11 graphs (sequence), 1 quarantined)"
    mine = open_store(folder / "graphs")
    assert store.refused() == mine.refused()
    data, straight = ShardDataset(f"{base}/graphs"), ShardDataset(mine)
    assert all(torch.equal(data[i].token, straight[i].token) and data[i].source == straight[i].source for i in range(11))
    embed(folder / "graphs", Tiny(), out=folder / "table")
    report = embed(f"{base}/graphs", Tiny(), out=f"{base}/table")
    assert (report.records_in, report.embedded) == (12, 11)
    assert at(f"{base}/table") == local_files(folder / "table")
    table, near = open_table(f"{base}/table"), open_table(folder / "table")
    assert is_table(f"{base}/table")
    assert table.search(near.vectors()[:2], k=3).equals(near.search(near.vectors()[:2], k=3))
    assert search(f"{base}/table", files[0], k=2).equals(search(folder / "table", files[0], k=2))
    assert verify(f"{base}/graphs") == verify(f"{base}/table") == []


def test_in_memory_a_store_and_a_table_are_those_of_a_folder(tmp_path):
    round_trip("memory://place", tmp_path)


def test_on_an_s3_server_a_store_and_a_table_are_those_of_a_folder(bucket, tmp_path):
    round_trip(bucket, tmp_path)


def test_a_file_url_is_the_path_that_it_means(tmp_path, cache):
    folder_of_fasta(tmp_path / "in", 3)
    base = f"file://{tmp_path}"
    build(f"{base}/in", f"{base}/graphs")
    assert {Path(source).parent for chunk in open_store(tmp_path / "graphs").chunks for source in chunk.sources} == {tmp_path / "in"}
    assert embed(f"{base}/graphs", Tiny(), out=f"{base}/table").embedded == 3
    assert len(ShardDataset(f"{base}/graphs")) == len(open_table(f"{base}/table")) == len(open_table(tmp_path / "table")) == 3
    assert verify(f"{base}/graphs") == verify(f"{base}/table") == []
    assert not cache.exists()


def test_the_command_line_takes_urls_of_a_server_for_everything(bucket, tmp_path, monkeypatch, capsys):
    fasta(tmp_path / "a.fasta", 1, records=3)
    fsspec.filesystem("s3").put_file(str(tmp_path / "a.fasta"), f"{bucket[5:]}/in/a.fasta")

    def run(*words: str) -> dict[str, object] | list[dict[str, object]]:
        monkeypatch.setattr(sys, "argv", ["geoembed", *words, "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
            raise SystemExit(0)
        assert not ended.value.code
        return json.loads(capsys.readouterr().out)

    assert run("build", f"{bucket}/in/", "-o", f"{bucket}/graphs")["built"] == 3
    assert run("embed", f"{bucket}/graphs", "-o", f"{bucket}/table")["embedded"] == 3
    assert run("verify", f"{bucket}/graphs") == {"folder": f"{bucket}/graphs", "findings": []}
    hits = run("search", f"{bucket}/table", f"{bucket}/in/a.fasta", "-k", "1")
    assert [hit["record"] for hit in hits] == ["s1.0", "s1.1", "s1.2"]
    assert "for-this-test" not in "".join(content.decode(errors="replace") for content in at(bucket).values())


# — reading —


def two_shards(tmp_path: Path, url: str) -> None:
    """A store of two chunks with one shard each at a URL."""
    fasta(tmp_path / "a.fasta", 1)
    fasta(tmp_path / "b.fasta", 2)
    build(tmp_path / "a.fasta", url)
    build(tmp_path / "b.fasta", url)


def test_a_shard_is_copied_when_it_is_asked_for_and_not_before(tmp_path, cache):
    two_shards(tmp_path, "memory://s")
    other = tmp_path / "other machine"
    os.environ["GEOEMBED_CACHE"] = str(other)
    try:
        data = ShardDataset("memory://s")
        assert list(other.rglob("shard-*")) == []
        assert data[1].record == "s2.0"
        assert len(list(other.rglob("*.safetensors"))) == 1
        assert sum(batch.num_graphs for batch in Loader("memory://s")) == 2
        assert len(list(other.rglob("*.safetensors"))) == 2
    finally:
        os.environ["GEOEMBED_CACHE"] = str(cache)


def test_the_loader_knows_how_large_shards_are_that_are_not_here(tmp_path, monkeypatch):
    two_shards(tmp_path, "memory://s")
    sizes = {name: len(content) for name, content in at("memory://s").items()}
    monkeypatch.setenv("GEOEMBED_CACHE", str(tmp_path / "other machine"))
    assert [shard.nbytes for shard in open_store("memory://s").shards()] == [
        sizes[f"{shard.entry.stem}.safetensors"] for shard in open_store("memory://s").shards()]


@pytest.mark.parametrize("break_it", [lambda content: content[:-1] + bytes([content[-1] ^ 1]), lambda content: None])
def test_a_file_that_is_not_the_listed_one_is_named_by_its_url(tmp_path, monkeypatch, break_it: Callable[[bytes], bytes | None]):
    two_shards(tmp_path, "memory://s")
    monkeypatch.setenv("GEOEMBED_CACHE", str(tmp_path / "other machine"))
    shard = open_store("memory://s").shards()[1]
    name = f"{shard.entry.stem}.safetensors"
    system = fsspec.filesystem("memory")
    changed = break_it(system.cat_file(f"/s/{name}"))
    system.rm(f"/s/{name}")
    if changed is not None:
        system.pipe_file(f"/s/{name}", changed)
    with pytest.raises(StoreError, match=rf"memory://s/{name}: found (sha256|no such file).*(build it again|made it again)"):
        shard.graph(0)
    assert name in {finding.file for finding in verify("memory://s")}
    assert open_store("memory://s").shards()[0].graph(0).record == "s1.0"


def test_verify_looks_at_what_is_there_and_not_at_the_copy(tmp_path):
    two_shards(tmp_path, "memory://s")
    name = next(name for name in at("memory://s") if name.endswith(".jsonl"))
    fsspec.filesystem("memory").pipe_file(f"/s/{name}", b"{}\n")
    assert [finding.file for finding in verify("memory://s")] == [name]


def test_what_is_nowhere_is_no_store_and_no_table():
    with pytest.raises(StoreError, match=r"memory://nowhere: found no manifest.json.*geoembed build"):
        open_store("memory://nowhere")
    with pytest.raises(StoreError, match=r"memory://nowhere: found no table.json.*geoembed embed"):
        open_table("memory://nowhere")
    with pytest.raises(StoreError, match="no manifest.json or table.json"):
        verify("memory://nowhere")
    assert not is_store("memory://nowhere")


def test_nobody_writes_to_a_copy_by_mistake(tmp_path):
    fasta(tmp_path / "a.fasta", 1)
    embed(tmp_path / "a.fasta", Tiny(), out="memory://t")
    table = open_table("memory://t")
    frame = table.to_pandas()
    from geoembed.schema import Provenance

    with pytest.raises(StoreError, match=r"memory://t: found a write to the copy.*embed files into the URL"), table:
        table.append(np.stack(frame["vector"]), [Provenance(kind="chain")], encoder="tiny", weights=frame["weights"][0])
    with pytest.raises(ConfigError, match=r"found a URL; expected a folder.*open_table"):
        VectorTable("memory://t")


# — writing —


def test_what_is_there_is_not_built_again_nor_sent_again(tmp_path, monkeypatch):
    folder_of_fasta(tmp_path / "in", 5)
    build(tmp_path / "in", "memory://s")
    sent = failing(monkeypatch, 99, OSError())
    assert build(tmp_path / "in", "memory://s").resumed == 5
    assert sent == []
    monkeypatch.setenv("GEOEMBED_CACHE", str(tmp_path / "other machine"))
    assert build(tmp_path / "in", "memory://s").resumed == 5
    assert sent == []
    assert list((tmp_path / "other machine").rglob("*.safetensors")) == []  # what is not needed is not fetched


def test_a_changed_file_replaces_its_chunk_and_the_files_of_the_old_one_go(tmp_path):
    a, b = fasta(tmp_path / "a.fasta", 1), fasta(tmp_path / "b.fasta", 2)
    for out in (tmp_path / "local", "memory://s"):
        build(a, out)
        build(b, out)
    before = set(at("memory://s"))
    fasta(a, 7)
    build(a, "memory://s")
    build(a, tmp_path / "local")
    assert at("memory://s") == local_files(tmp_path / "local")
    assert len(before - set(at("memory://s"))) == 2
    assert list(place_of("memory://s").rglob("shard-*")) != []
    assert {path.name for path in (place_of("memory://s") / "copy").glob("shard-*")} <= set(at("memory://s"))


def test_a_table_is_added_to_from_another_machine(tmp_path, monkeypatch):
    a, b = fasta(tmp_path / "a.fasta", 1), fasta(tmp_path / "b.fasta", 2)
    for out in (tmp_path / "local", "memory://t"):
        monkeypatch.setenv("GEOEMBED_CACHE", str(tmp_path / "one"))
        embed(a, Tiny(), out=out)
        monkeypatch.setenv("GEOEMBED_CACHE", str(tmp_path / "two"))
        embed(b, Tiny(), out=out)
        embed(fasta(tmp_path / "a.fasta", 5), Tiny(), out=out)  # and rows make way
        fasta(a, 1)
    assert at("memory://t") == local_files(tmp_path / "local")
    assert sorted(open_table("memory://t").to_pandas()["record"]) == ["s2.0", "s5.0"]


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_an_upload_that_breaks_leaves_the_old_state_and_the_next_run_finishes_it(tmp_path, monkeypatch, number):
    a, b, c = (fasta(tmp_path / f"{name}.fasta", n) for n, name in enumerate("abc"))
    for out in (tmp_path / "local", "memory://s"):
        build(a, out)
    monkeypatch.setattr("geoembed.pipeline.chunks.MAX_FILES", 1)  # two chunks, four files, one list
    build([b, c], tmp_path / "local")
    old = at("memory://s")
    with monkeypatch.context() as patch:
        sent = failing(patch, number, TimeoutError("timed out"))
        patch.setattr("geoembed.store.remote._AT_ONCE", 1)
        with pytest.raises(StoreError, match=r"found TimeoutError: timed out.*goes on where it stopped"):
            build([b, c], "memory://s")
    between = at("memory://s")
    assert {name: between[name] for name in old} == old
    assert open_store("memory://s").built == 1
    assert verify("memory://s") == [] or {finding.found for finding in verify("memory://s")} == {"a left-over that nothing lists"}
    sent = failing(monkeypatch, 99, OSError())
    report = build([b, c], "memory://s")
    assert (report.built, report.resumed) == (2, 2)
    assert len(sent) == len(set(at("memory://s")) - set(between)) + 1  # what had arrived is not sent again; the list is
    assert at("memory://s") == local_files(tmp_path / "local")


def test_an_upload_of_a_table_that_breaks_is_gone_on_with_and_no_file_is_read_again(tmp_path, monkeypatch):
    files = folder_of_fasta(tmp_path / "in", 4)
    embed(files[:2], Tiny(), out="memory://t")
    old = at("memory://t")
    with monkeypatch.context() as patch:
        failing(patch, 1, OSError("reset"))
        with pytest.raises(StoreError, match="found OSError: reset"):
            embed(files[2:], Tiny(), out="memory://t")
    assert at("memory://t") == old
    encoder = Tiny()
    assert embed(files[2:], encoder, out="memory://t").resumed == 2
    assert encoder.batches == []
    embed(files[:2], Tiny(), out=tmp_path / "local")
    embed(files[2:], Tiny(), out=tmp_path / "local")
    assert at("memory://t") == local_files(tmp_path / "local")


def test_what_another_writer_has_put_there_in_the_meantime_is_not_overwritten(tmp_path, monkeypatch):
    a, b = fasta(tmp_path / "a.fasta", 1), fasta(tmp_path / "b.fasta", 2)
    put = MemoryFileSystem.put_file
    met: list[dict[str, bytes]] = []

    def put_file(self: MemoryFileSystem, source: str, target: str, *args: object, **more: object) -> object:
        if not met:
            met.append({})
            with monkeypatch.context() as patch:
                patch.setenv("GEOEMBED_CACHE", str(tmp_path / "other machine"))
                build(b, "memory://s")
            met.append(at("memory://s"))
        return put(self, source, target, *args, **more)

    monkeypatch.setattr(MemoryFileSystem, "put_file", put_file)
    with pytest.raises(StoreError, match=r"memory://s/manifest.json: found what another writer has put there since.*Run the same command again"):
        build(a, "memory://s")
    assert {name: content for name, content in at("memory://s").items() if name in met[1]} == met[1]
    assert [chunk.sources for chunk in open_store("memory://s").chunks] == [[str(b)]]
    build(a, "memory://s")
    assert [chunk.sources for chunk in open_store("memory://s").chunks] == [[str(b)], [str(a)]]
    assert verify("memory://s") == []


def test_the_encoder_of_another_writer_is_not_overwritten(tmp_path, monkeypatch):
    a, b = fasta(tmp_path / "a.fasta", 1), fasta(tmp_path / "b.fasta", 2)
    put_all = remote._put_all
    met: list[dict[str, bytes]] = []

    def after_the_other(*rest: object) -> None:
        if not met:
            met.append({})
            with monkeypatch.context() as patch:
                patch.setenv("GEOEMBED_CACHE", str(tmp_path / "other machine"))
                embed(b, Tiny(seed=2), out="memory://t")  # of the same name, with other weights
            met.append(at("memory://t"))
        put_all(*rest)  # type: ignore[arg-type]

    monkeypatch.setattr(remote, "_put_all", after_the_other)
    with pytest.raises(StoreError, match=r"memory://t/table.json: found what another writer has put there since"):
        embed(a, Tiny(seed=1), out="memory://t")
    assert {name: content for name, content in at("memory://t").items() if name in met[1]} == met[1]
    with pytest.raises(ConfigError, match="weights"):  # begins with what is there now, and cannot be compared with it
        embed(a, Tiny(seed=1), out="memory://t")


def test_two_commands_of_one_machine_do_not_write_to_a_url_at_once(tmp_path):
    from geoembed.store.atomic import locked

    fasta(tmp_path / "a.fasta", 1)
    with locked(place_of("memory://s")), pytest.raises(StoreError, match="one writer at a time"):
        build(tmp_path / "a.fasta", "memory://s")


def test_stores_at_urls_are_merged_into_one_at_a_url(tmp_path):
    build(fasta(tmp_path / "a.fasta", 1), "memory://a")
    build(fasta(tmp_path / "b.fasta", 2), tmp_path / "b")
    merged = merge(["memory://a", tmp_path / "b"], "memory://both")
    assert [graph.record for graph in ShardDataset(merged)] == ["s1.0", "s2.0"]
    merge([tmp_path / "b", "memory://a"], tmp_path / "both")
    assert set(at("memory://both")) == set(local_files(tmp_path / "both"))
    assert verify("memory://both") == []


# — inputs —


def test_a_url_with_a_slash_at_its_end_is_a_folder(tmp_path):
    system = fsspec.filesystem("memory")
    build(fasta(tmp_path / "a.fasta", 1), "memory://in/graphs")
    for name in ("b.fasta", "a/x.fasta", ".hidden/c", "z.zarr/zarr.json", "z.zarr/c/0"):
        system.pipe_file(f"/in/{name}", (tmp_path / "a.fasta").read_bytes())
    inputs = expand("memory://in/")
    assert inputs.sources == ["memory://in/a/x.fasta", "memory://in/b.fasta", "memory://in/z.zarr"]
    assert dict(inputs.ignored) == {"hidden": 1, "file of a store or table of geoembed": 3}
    with pytest.raises(EmptyGraphError, match="no file"):
        expand("memory://empty/")
    report = embed(["memory://in/a/", "memory://in/b.fasta"], Tiny(), out=tmp_path / "table")
    assert report.records_in == report.embedded + len(report.quarantined) == 2


# — what cannot be —


def test_a_missing_library_is_named_with_its_remedy(monkeypatch, tmp_path):
    fasta(tmp_path / "a.fasta", 1)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(vars(sys.modules["fsspec.registry"])["_registry"], "s3", raising=False)
    for act in (open_store, open_table, verify, lambda url: build(tmp_path / "a.fasta", url), lambda url: embed(tmp_path / "a.fasta", out=url)):
        with pytest.raises(MissingExtraError, match=r"s3://bucket/x.*no library for s3://.*pip install s3fs"):
            act("s3://bucket/x")


def test_a_server_that_does_not_answer_is_a_typed_error_and_what_was_made_is_kept(bucket, tmp_path, monkeypatch):
    import s3fs

    fasta(tmp_path / "a.fasta", 1)

    put = RemoteFolder.put

    def gone(self: RemoteFolder, path: Path, name: str) -> None:
        s3fs.S3FileSystem.clear_instance_cache()
        put(RemoteFolder(self.url), path, name)

    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "put", gone)
        patch.setattr(s3fs.S3FileSystem, "retries", 1)
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        patch.setattr("geoembed.store.remote._put_all", lambda *rest, put_all=remote._put_all: (
            patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9"), put_all(*rest)))
        with pytest.raises(StoreError, match=rf"{bucket}/graphs/.*found EndpointConnectionError.*your credentials.*goes on where it stopped"):
            build(tmp_path / "a.fasta", f"{bucket}/graphs")
    assert len(list((place_of(f"{bucket}/graphs") / "work").glob("*.safetensors"))) == 1


def test_no_credentials_are_a_typed_error(bucket, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(StoreError, match=r"found NoCredentialsError.*your credentials"):
        open_store(f"{bucket}/graphs")
    assert fingerprint(f"{bucket}/a.cif") == "unusable:NoCredentialsError"


@pytest.mark.parametrize("url", [
    "ftp://somebody:hunter2@host/x", "https://host/x?X-Amz-Signature=hunter2", "https://host/x?a=1&access_token=hunter2", "https://host/x?sig=hunter2",
])
def test_a_password_or_token_in_a_url_is_refused_and_not_repeated(url, tmp_path):
    fasta(tmp_path / "a.fasta", 1)
    for act in (open_store, open_table, expand, lambda url: build(tmp_path / "a.fasta", url), lambda url: build(url, tmp_path / "out"),
                lambda url: embed(url, Tiny(), out=tmp_path / "out")):
        with pytest.raises(ConfigError, match=r"a password or token in a URL; expected an address only. Give credentials") as caught:
            act(url)
        assert "hunter2" not in str(caught.value)


def test_other_urls_are_not_taken_for_secrets():
    for url in ("s3://bucket/a:b@c/x", "sftp://somebody@host/x", "https://host/get?id=7&format=cif", "memory://x"):
        refuse_secrets(url)
    assert local("C:\\files") == "C:\\files"
    assert local("memory://x") == "memory://x"


def test_a_chain_of_urls_is_no_place_for_a_store():
    with pytest.raises(ConfigError, match="found a chain of URLs"):
        open_store("simplecache::memory://x")


def test_an_encoder_cannot_leave_the_folder_of_the_table(tmp_path, monkeypatch):
    from geoembed.store.atomic import sealed

    embed(fasta(tmp_path / "a.fasta", 1), Tiny(), out="memory://t")
    document = json.loads(fsspec.filesystem("memory").cat_file("/t/table.json"))
    document["parts"][0]["encoder"] = "../../../x"
    document.pop("sha256")
    fsspec.filesystem("memory").pipe_file("/t/table.json", sealed(document))
    with pytest.raises(StoreError, match=r"an encoder called '../../../x'; expected a plain name"):
        open_table("memory://t")


@pytest.mark.parametrize(("platform", "names", "expected"), [
    ("linux", {"XDG_CACHE_HOME": "/c"}, Path("/c/geoembed")), ("linux", {}, Path.home() / ".cache" / "geoembed"),
    ("darwin", {}, Path.home() / "Library" / "Caches" / "geoembed"), ("win32", {"LOCALAPPDATA": "/l"}, Path("/l/geoembed/cache")),
    ("linux", {"GEOEMBED_CACHE": "/mine", "XDG_CACHE_HOME": "/c"}, Path("/mine")),
])
def test_the_cache_is_where_the_platform_has_it_or_where_one_wants_it(monkeypatch, platform, names, expected):
    for name in ("GEOEMBED_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder() == expected
