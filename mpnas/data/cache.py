"""Arrays that take long to decode, kept in the user's cache folder and trusted only by checksum.

A file is written under another name and moved into place, so a reader finds all of it or nothing.
Whatever is wrong with the cache (damaged, unwritable, full) only means decoding again.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """`$MPNAS_CACHE`, else `$XDG_CACHE_HOME/mpnas`, else `~/.cache/mpnas`; it may not exist yet."""
    if own := os.environ.get("MPNAS_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(shared) / "mpnas"


def sha256_of(array: np.ndarray) -> str:
    """SHA-256 of the bytes of `array` in C order, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def cached(file_name: str, sha256: str, decode: Callable[[], np.ndarray]) -> np.ndarray:
    """The array of that checksum: from the cache if it is there whole, else decoded and kept.

    Args:
      file_name: Name in the cache folder, ending in `.npy`.
      sha256: Checksum of the bytes of the array, in hexadecimal.
      decode: Makes the array; must itself check what it returns.
    """
    path = cache_folder() / file_name
    kept = _read(path, sha256)
    if kept is not None:
        return kept
    array = decode()
    try:
        _write(path, array)
    except OSError as error:
        logger.warning(
            "cannot keep %s in the cache (%s); it will be decoded again next time. Point "
            "MPNAS_CACHE to a folder that can be written.", file_name, error,
        )
    return array


def _read(path: Path, sha256: str) -> np.ndarray | None:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if isinstance(array, np.ndarray) and sha256_of(array) == sha256 else None


def _write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, array, allow_pickle=False)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
