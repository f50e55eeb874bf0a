"""A run that lives elsewhere: a store behind any URI that fsspec or pyarrow knows, and its twin here.

The driver works in a folder of its own, the twin, and carries it to the URI: while the sweep runs, and at
its end. Trials never touch the URI, so only the driver's machine needs its credentials.
"""

import contextlib
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mpnas.errors import ConfigError, RunFolderError
from mpnas.sweep.folder import PROPOSED
from mpnas.sweep.store import SEAL, Carrier, Folder, passing

EVERY_SECONDS = 30.0
# Where an object appears at once or not at all. Elsewhere a file is written beside and moved.
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "memory"}
VERSION_KEYS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created", "uid")


class Remote:
    """A store behind a URI.

    Args:
      uri: Such as `s3://bucket/run`, `gs://bucket/run` or `file:///mnt/run`.

    Raises:
      ConfigError: no such kind of place, or its package is missing.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._fs, self._root = _opened(self.uri)
        self._objects = urlsplit(uri).scheme in OBJECT_STORES

    def stamps(self, below: str) -> dict[str, str]:
        """Version or time, and size, of every file."""
        self._fs.invalidate_cache()
        try:
            found = self._fs.find(self._path(below), detail=True)
        except FileNotFoundError:
            return {}
        names = {path[len(self._root):].lstrip("/"): info for path, info in found.items()}
        return {
            name: " ".join(str(info.get(key)) for key in ("size", *VERSION_KEYS) if key in info)
            for name, info in names.items() if not _hidden(name)
        }

    def read(self, name: str) -> bytes:
        """The content of a file."""
        return bytes(self._fs.cat_file(self._path(name)))

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a file."""
        path = self._path(name)
        folder, _, file = path.rpartition("/")
        self._fs.makedirs(folder, exist_ok=True)
        if self._objects:
            self._fs.pipe_file(path, content)
            return
        temporary = f"{folder}/.{file}.tmp"
        self._fs.pipe_file(temporary, content)
        self._fs.mv(temporary, path)

    def write_step(self, name: str, files: Mapping[str, bytes]) -> None:
        """Write the files; the last one makes the step count."""
        self.remove(name)  # what a driver left half sent
        for part in sorted(files, key=lambda part: part == SEAL):
            self.write(f"{name}/{part}", files[part])

    def remove(self, name: str) -> None:
        """Delete a file, or a step: first what makes it count."""
        for path in (f"{self._path(name)}/{SEAL}", self._path(name)):
            with contextlib.suppress(FileNotFoundError):
                if self._fs.exists(path):
                    self._fs.rm(path, recursive=True)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")


def _opened(uri: str) -> tuple[Any, str]:
    """A file system, and the path of the URI in it; fsspec's own, else that of pyarrow."""
    from fsspec.core import url_to_fs

    try:
        fs, root = url_to_fs(uri)
    except ImportError as missing:
        try:
            return _arrow(uri)
        except Exception as error:  # noqa: BLE001 - pyarrow raises many kinds
            raise ConfigError(
                f"'{uri}' cannot be opened. A package is missing: {missing}; without it: {error}. "
                "Install it, or give another --out."
            ) from error
    except ValueError as error:
        raise ConfigError(f"'{uri}' is no place that fsspec knows: {error}. Give another --out.") from error
    return fs, str(root).rstrip("/")


def _arrow(uri: str) -> tuple[Any, str]:
    """pyarrow brings S3, Google Cloud Storage and HDFS along."""
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow.fs import FileSystem, S3FileSystem

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    endpoint = os.environ.get("AWS_ENDPOINT_URL")  # of MinIO and the like
    if urlsplit(uri).scheme == "s3" and (region or endpoint):
        # Asked by URI, it would look for the bucket's region in the network.
        fs, root = S3FileSystem(region=region, endpoint_override=endpoint), uri.removeprefix("s3://")
    else:
        fs, root = FileSystem.from_uri(uri)
    return ArrowFSWrapper(fs), str(root).rstrip("/")


def _hidden(name: str) -> bool:
    """Whether a file is none of the run, as `Folder` sees it: hidden, or in a folder that is."""
    *folders, file = name.split("/")
    return file.startswith(".") or any(map(passing, folders))


def _proposals(text: bytes) -> int:
    """How many trials a `proposed.json` lists; none if it is damaged."""
    try:
        return len(json.loads(text)["trials"])
    except (ValueError, TypeError, KeyError):
        return 0


class Twin:
    """The folder here of a run at a URI.

    Args:
      uri: Where the run lives.
      runs: Folder in which the twin lies.
    """

    def __init__(self, uri: str, runs: Path) -> None:
        self.remote = Remote(uri)
        name = self.remote.uri.rsplit("/", 1)[-1] or "run"
        # Two URIs may end in the same word.
        self.folder = runs / f"{name}-{hashlib.sha256(self.remote.uri.encode()).hexdigest()[:8]}"
        self._out = Carrier(Folder(self.folder), self.remote)
        self._one_at_a_time = threading.Lock()

    def fetch(self) -> int:
        """Bring the run at the URI here; the number of files.

        A trial that is further here than there, because a driver died before it could send, is kept, and so
        are proposals that are only here.

        Raises:
          RunFolderError: the URI cannot be read, or holds something else than a run.
        """
        with self._told("read"):
            there = self.remote.stamps("")
            if there and "plan.json" not in there:
                raise RunFolderError(
                    f"{self.remote.uri} holds {len(there)} files and no plan.json, so it is no run of mpnas. "
                    "Check the URI, or name a place that is empty."
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            homes = {"/".join(name.split("/")[:2]) + "/" for name in there if name.startswith("trials/")}
            ahead = tuple(sorted(home for home in homes if self._ahead(home, there)))
            if PROPOSED in there and self._proposed() > _proposals(self.remote.read(PROPOSED)):
                ahead += (PROPOSED,)
            back = Carrier(self.remote, Folder(self.folder), without=ahead)
            # Steps that are here and no longer there go; what is only here stays.
            old = tuple(homes.difference(ahead))
            back.suppose([name for name in Folder(self.folder).stamps("") if name.startswith(old)], old)
            count = back.carry()
            self._out.suppose(there, old=ahead)
        return count

    def _proposed(self) -> int:
        """How many budgets have been proposed here."""
        try:
            return _proposals((self.folder / PROPOSED).read_bytes())
        except FileNotFoundError:
            return 0

    def _ahead(self, home: str, there: Collection[str]) -> bool:
        """Whether a trial has been tried more often here, or as often and is not behind."""
        attempts = (self.folder / home / "attempts").glob("*")
        here = max((int(path.name) for path in attempts if path.name.isdecimal()), default=0)
        numbers = (name.removeprefix(f"{home}attempts/") for name in there)
        newest = max((int(number) for number in numbers if number.isdecimal()), default=0)
        if here != newest:
            return here > newest
        result = f"{home}result.json"
        return here > 0 and (result not in there or (self.folder / result).exists())

    def send(self) -> int:
        """Carry what has changed here to the URI; the number of files.

        Raises:
          RunFolderError: the URI cannot be written.
        """
        with self._one_at_a_time, self._told("written"):
            return self._out.carry()

    @contextlib.contextmanager
    def sending(self, every: float = EVERY_SECONDS) -> Iterator[None]:
        """Send now, every so many seconds, and at the end; in between a failure is only told."""
        self.send()
        over = threading.Event()
        thread = threading.Thread(
            target=self._again, args=(over, every, self.send), name="mpnas-twin", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.send()

    @staticmethod
    def _again(over: threading.Event, every: float, send: Callable[[], int]) -> None:
        while not over.wait(every):
            try:
                send()
            except RunFolderError as error:
                logging.getLogger(__name__).warning("%s Trying again in %.0f s.", error, every)

    @contextlib.contextmanager
    def _told(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            words = " ".join(str(error).split()) or type(error).__name__
            raise RunFolderError(
                f"{self.remote.uri} cannot be {done}: {words}. "
                f"Everything is whole in {self.folder}; check the URI and its credentials, then go on "
                f"with: mpnas resume {self.remote.uri}"
            ) from error
