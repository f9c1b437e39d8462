"""Folders on this machine that stand for a URL: what its server has, where the copy lies, and files fetched when they are asked for."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import fsspec
from fsspec.registry import known_implementations

from geoembed.errors import ConfigError, MissingExtraError, StoreError
from geoembed.store.atomic import WRITING, begins_sealed, is_sealed, publish, replace_with, sha256_of

ORIGIN = ".origin.json"
"""In a folder that stands for a URL: which one, and whether it is a copy or work that will go there."""
THERE = ".there.json"
"""Beside it where it is work: which files are at the URL already, with their sha256."""
KEPT = ("shard-", "topology-", "part-", "quarantine-")
"""How files begin that the list of a store or table has."""
_WITH_PASSWORD = re.compile(r"//[^/?#@\s]*:[^/?#\s]*@")
_WITH_TOKEN = re.compile(r"[?&](x-amz-[\w-]+|x-goog-[\w-]+|sig|signature|(access_?|auth_?)?token|(api|access)_?key|password|secret)=", re.I)
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_AGAIN = "Check the address, the network and your credentials for it; the same command goes on where it stopped."


def is_url(place: object) -> bool:
    """Whether ``place`` is an fsspec URL and no path."""
    return isinstance(place, str) and "://" in place


def refuse_secrets(url: str) -> None:
    """Raise :class:`ConfigError` where a URL holds a password or a token: names of inputs and outputs are stored, logged and shown."""
    if _WITH_PASSWORD.search(url) or _WITH_TOKEN.search(url):
        shown = _WITH_PASSWORD.sub("//…@", url).partition("?")[0]
        raise ConfigError(where=shown, found="a password or token in a URL", expected="an address only",
                          remedy="Give credentials as the protocol's library takes them: in the environment, its files, or fsspec's.")


def local(place: str | Path) -> str | Path:
    """A ``file://`` URL as the path that it means; anything else as it is."""
    if is_url(place) and str(place).partition("://")[0] in ("file", "local"):
        return str(fsspec.core.url_to_fs(str(place))[1])
    return place


def cache_folder() -> Path:
    """Where copies lie: ``GEOEMBED_CACHE``, or the place that the platform has for such. It can be deleted at any time."""
    home, names = Path.home(), os.environ
    if given := names.get("GEOEMBED_CACHE"):
        return Path(given)
    if sys.platform == "win32":
        return Path(names.get("LOCALAPPDATA") or home / "AppData" / "Local") / "geoembed" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "geoembed"
    return Path(names.get("XDG_CACHE_HOME") or home / ".cache") / "geoembed"


def place_of(url: str) -> Path:
    """The folder of this machine that belongs to a URL: in it the copy that is read, and the work that is not there yet."""
    return cache_folder() / "remote" / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:20]


def faults() -> tuple[type[Exception], ...]:
    """What fsspec's file systems raise when a server cannot be asked, or their library is missing."""
    # some libraries' errors are of none of the usual classes
    own = (("aiohttp", "ClientError"), ("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError"),
           ("azure.core.exceptions", "AzureError"))
    loaded = (getattr(sys.modules.get(module), name, None) for module, name in own)
    return (OSError, ValueError, RuntimeError, EOFError, ImportError, *(error for error in loaded if error is not None))


@contextmanager
def answering(url: str) -> Iterator[None]:
    """What a file system raises, as a typed error."""
    try:
        yield
    except ImportError as error:
        protocol = url.partition("://")[0]
        known = known_implementations.get(protocol, {})
        package = str(known.get("class", "")).partition(".")[0]
        remedy = f"pip install {package}" if package not in ("", "fsspec") else f"{known.get('err', 'Install its library')}."
        raise MissingExtraError(where=url, found=f"no library for {protocol}:// ({error})", expected="an installed library",
                                remedy=remedy) from error
    except faults() as error:
        reason = _WITH_PASSWORD.sub("//…@", (str(error).strip().splitlines() or [""])[0][:300])
        raise StoreError(where=url, found=f"{type(error).__name__}: {reason}", expected="a server that answers", remedy=_AGAIN) from error


class RemoteFolder:
    """A folder at a URL; what goes wrong there is a :class:`StoreError`, and a missing library a :class:`MissingExtraError`."""

    def __init__(self, url: str) -> None:
        refuse_secrets(url)
        if "::" in url:
            raise ConfigError(where=url, found="a chain of URLs", expected="one, such as s3://bucket/folder",
                              remedy="Name the folder itself; copies of its files are kept in the cache of geoembed.")
        self.url = url.rstrip("/")
        with answering(self.url):
            self._system, root = fsspec.core.url_to_fs(self.url)
        self._root = str(root).rstrip("/")

    def read(self, name: str, end: int | None = None) -> bytes | None:
        """The first ``end`` bytes of a file, or all; None where there is none."""
        with answering(f"{self.url}/{name}"):
            try:
                return bytes(self._system.cat_file(f"{self._root}/{name}", start=None, end=end))
            except _ABSENT:
                return None

    def sizes(self) -> dict[str, int]:
        """Every file in the folder, as a path within it, with its size [bytes]."""
        with answering(self.url):
            self._system.invalidate_cache()
            try:
                found = self._system.find(self._root, detail=True)
            except _ABSENT:
                return {}
            start = len(self._root) + 1
            return {path[start:]: int(about["size"] or 0) for path, about in found.items() if about["type"] == "file"}

    def size(self, name: str) -> int:
        """Size of one file [bytes]."""
        with answering(f"{self.url}/{name}"):
            return int(self._system.size(f"{self._root}/{name}") or 0)

    def get(self, name: str, path: Path) -> bool:
        """Copy a file to ``path``, whole or not at all; False where there is none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        spool = path.with_name(f"{WRITING}{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
        try:
            with answering(f"{self.url}/{name}"):
                try:
                    self._system.get_file(f"{self._root}/{name}", str(spool))
                except _ABSENT:
                    return False
                publish(spool, path)
            return True
        finally:
            spool.unlink(missing_ok=True)

    def put(self, path: Path, name: str) -> None:
        """Copy a file there."""
        with answering(f"{self.url}/{name}"):
            self._system.makedirs(f"{self._root}/{name}".rpartition("/")[0], exist_ok=True)
            self._system.put_file(str(path), f"{self._root}/{name}")

    def remove(self, names: list[str]) -> None:
        """Remove files."""
        with answering(self.url):
            self._system.rm([f"{self._root}/{name}" for name in names])


def mark(folder: Path, url: str, role: str) -> None:
    """Say that ``folder`` stands for ``url``, as its "copy" or as "work" that goes there."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    document = json.dumps({"url": url, "role": role}).encode()
    if not (folder / ORIGIN).is_file() or (folder / ORIGIN).read_bytes() != document:
        replace_with(folder / ORIGIN, document)


def _origin(folder: Path) -> dict[str, str] | None:
    try:
        return dict(json.loads((folder / ORIGIN).read_bytes()))
    except (OSError, ValueError):
        return None


def there(folder: Path) -> dict[str, str]:
    """Files with their sha256 that are at the URL to which the work in ``folder`` goes; none of an ordinary folder."""
    try:
        return dict(json.loads((folder / THERE).read_bytes())["there"])
    except (OSError, ValueError, KeyError):
        return {}


def plain_folder(place: str | Path) -> Path:
    """A folder of this machine; :class:`ConfigError` for a URL."""
    place = local(place)
    if is_url(place):
        refuse_secrets(str(place))
        raise ConfigError(where=str(place), found="a URL", expected="a folder",
                          remedy="Read it with open_table(URL); write to it with embed(…, out=URL).")
    return Path(place)


def called(folder: Path) -> str:
    """How a person knows a folder: by the URL that it stands for, or by its path."""
    origin = _origin(folder)
    return origin["url"] if origin else str(folder)


def refuse_copy(folder: Path) -> None:
    """Raise :class:`StoreError` where ``folder`` is but a copy of what is at a URL: what were written there would never arrive."""
    origin = _origin(folder)
    if origin and origin["role"] == "copy":
        raise StoreError(where=origin["url"], found="a write to the copy of a table", expected="geoembed.embed(…, out=URL)",
                         remedy="Append to a table in a folder, or embed files into the URL.")


def fetch(path: Path, digest: str | None) -> None:
    """See to it that a listed file is in its folder, if that stands for a URL: it is copied from there and checked, now."""
    origin = _origin(path.parent)
    if origin is None or (path.is_file() and sha256_of(path) == digest):
        return
    twin = place_of(origin["url"]) / "copy" / path.name
    if twin != path and twin.is_file() and sha256_of(twin) == digest:
        with suppress(OSError):
            path.unlink(missing_ok=True)
            os.link(twin, path)
            return
        shutil.copyfile(twin, path)
        return
    if not RemoteFolder(origin["url"]).get(path.name, path):
        raise StoreError(where=f"{origin['url']}/{path.name}", found="no such file", expected="a file of the store or table",
                         remedy="Run the command that made it again, or open it again if it was changed in the meantime.")
    if digest is not None and (found := sha256_of(path)) != digest:
        path.unlink()
        raise StoreError(where=f"{origin['url']}/{path.name}", found=f"sha256 {found[:12]}…", expected=f"{digest[:12]}…, as listed",
                         remedy="It is damaged or was changed in the meantime: open it again, or delete it and build it again.")


def size_of(path: Path) -> int:
    """Size of a file that is here or at the URL for which its folder stands [bytes]; 0 where it is nowhere."""
    if path.is_file():
        return path.stat().st_size
    origin = _origin(path.parent)
    return _sizes(origin["url"]).get(path.name, 0) if origin else 0


@lru_cache(maxsize=8)
def _sizes(url: str) -> dict[str, int]:
    return RemoteFolder(url).sizes()


def local_copy(place: str | Path, name: str) -> Path:
    """The folder of a store or table whose list is called ``name``; for a URL, a copy of which the list alone is sure to be here."""
    place = local(place)
    if not is_url(place):
        return Path(place)
    remote = RemoteFolder(str(place))
    content = remote.read(name)
    folder = place_of(remote.url) / "copy"
    mark(folder, remote.url, "copy")
    if content is None:
        (folder / name).unlink(missing_ok=True)
    elif not (folder / name).is_file() or (folder / name).read_bytes() != content:
        replace_with(folder / name, content)
        drop_unlisted(folder, content)
        _sizes.cache_clear()
    return folder


def drop_unlisted(folder: Path, content: bytes) -> None:
    """Remove files of earlier states from a copy: those that its list does not name."""
    for path in folder.iterdir():
        if path.name.startswith(KEPT) and path.name.encode() not in content:
            with suppress(OSError):  # another process may have it mapped
                path.unlink()


def is_listed(place: str | Path, name: str, second: str) -> bool:
    """Whether there is a list called ``name`` in a folder or at a URL whose second entry is ``second``, as in a store or table."""
    place = local(place)
    if not is_url(place):
        return is_sealed(Path(place) / name, second)
    try:
        return begins_sealed(RemoteFolder(str(place)).read(name, 64) or b"", second)
    except (StoreError, ConfigError):  # whoever reads on says so
        return False
