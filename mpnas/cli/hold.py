"""Holding a run folder: two drivers in one folder would take each other's trials away."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from mpnas.errors import RunFolderError


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other drivers out of a run folder; the hold ends with the process, however it ends.

    Raises:
      RunFolderError: a living run holds the folder.
    """
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in {errno.EAGAIN, errno.EACCES}:
                raise RunFolderError(
                    f"{folder} is held by a living run. Wait until it ends, or choose another --out."
                ) from error
            # Some network file systems know no locks: better no protection than no run.
        yield
    finally:
        os.close(handle)
