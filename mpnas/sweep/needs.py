"""Files of data that the trials of a plan read: those of a data set by name, and published weights.

A worker looks for them in the folder of the plan, then in its own `MPNAS_DATA`; what it does not find is
sent to it once per machine, into the user's cache, and trusted only by checksum.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from mpnas.data import DATA_FILES
from mpnas.data.cache import cache_folder
from mpnas.errors import DataError
from mpnas.pareto.artifacts import digest, inside
from mpnas.sweep.plan import Plan

PIECE = 16 * 2**20  # bytes sent at once


@dataclasses.dataclass(frozen=True)
class File:
    """A file of data: its name in the data folder, its length in bytes, its SHA-256."""

    name: str
    length: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Needs:
    """What the trials of a plan read.

    Attributes:
      named: Data folder as the plan names it; None: `MPNAS_DATA` of whoever runs.
      folder: Data folder of the driver; None: there is none.
      files: In it, what the trials read.
    """

    named: str | None
    folder: str | None
    files: tuple[File, ...]


def needs_of(plan: Plan) -> Needs:
    """What the trials of a plan read from this machine's data folder."""
    folder = plan.data_dir or os.environ.get("MPNAS_DATA")
    names: list[str] = []
    if folder and Path(folder).is_dir():
        if plan.experiment.data in DATA_FILES:
            names += DATA_FILES[plan.experiment.data](Path(folder))
        weights = plan.experiment.weights
        if weights is not None and not Path(weights).is_file() and (Path(folder) / weights).is_file():
            names.append(weights)
    root = Path(folder or ".")
    files = tuple(File(name, (root / name).stat().st_size, digest(root / name)) for name in names)
    return Needs(plan.data_dir, folder, files)


def data_folder(needs: Needs, send: Callable[[str, int, int], bytes]) -> Path | None:
    """The folder of this machine that holds what is needed; None if nothing is.

    Args:
      needs: What the driver has found.
      send: Called with name, offset and number of bytes: those bytes of a file of the driver.

    Raises:
      DataError: a file does not arrive whole.
    """
    if not needs.files:
        return None
    for place in filter(None, (needs.named, os.environ.get("MPNAS_DATA"))):
        if all(_there(Path(place), file) for file in needs.files):
            return Path(place)
    key = hashlib.sha256("\n".join(f"{file.sha256} {file.name}" for file in needs.files).encode())
    target = cache_folder() / "sent" / key.hexdigest()[:16]
    target.mkdir(parents=True, exist_ok=True)
    with _alone(target):
        for file in needs.files:
            if not _there(target, file):
                _receive(inside(target, file.name), file, send)
    return target


def _there(folder: Path, file: File) -> bool:
    """Whether the very file is there: another one of its name and length would give other results."""
    path = folder / file.name
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size != file.length:
            return False
        return _digest(path, found.st_size, found.st_mtime_ns) == file.sha256
    except OSError:
        return False


@functools.lru_cache(maxsize=64)
def _digest(path: Path, length: int, changed: int) -> str:
    """SHA-256 of a file, read once in a process that runs many trials, as long as it does not change."""
    return digest(path)


def _receive(path: Path, file: File, send: Callable[[str, int, int], bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as out:
            for offset in range(0, file.length, PIECE):
                out.write(send(file.name, offset, min(PIECE, file.length - offset)))
        if (found := digest(temporary)) != file.sha256:
            raise DataError(
                f"'{file.name}' has arrived with SHA-256 {found}, expected {file.sha256}: it has changed "
                "since the sweep began. Start it again."
            )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process of this machine at a time: the others find what it has received."""
    with open(folder / ".lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
