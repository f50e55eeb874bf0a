"""Holding a run folder: two drivers in one folder would take each other's trials away.

The holder says in `.lock` who it is and since when, and listens for a `.stop` file: whoever can write to
the folder, on this machine or another that shares it, can ask the driver to end in peace.
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from mpnas.errors import RunFolderError
from mpnas.sweep.folder import number_in, read_json

LOCK, STOP = ".lock", ".stop"
LISTEN_EVERY = 0.5  # seconds
PEEK_SECONDS = 1.0  # far longer than `holder_of` has the lock while it looks
BUSY = {errno.EAGAIN, errno.EACCES}


@dataclasses.dataclass(frozen=True)
class Holder:
    """Who holds a run folder.

    Attributes:
      pid, host: Its process; 0 and "" if it did not say.
      since: Seconds since the epoch.
    """

    pid: int
    host: str
    since: float


@contextlib.contextmanager
def held(folder: Path, taken: str | None = None) -> Iterator[None]:
    """Keep other drivers out of a run folder, and end as Ctrl-C would when `ask_to_stop` is called on it.

    The hold ends with the process, however it ends.

    Args:
      folder: What is held; it exists.
      taken: The sentence for whoever comes second.

    Raises:
      RunFolderError: a living run holds the folder.
    """
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(handle, folder, taken)
        said = {"pid": os.getpid(), "host": platform.node(), "since": time.time()}
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps(said).encode())
        (folder / STOP).unlink(missing_ok=True)  # meant for an earlier run
        ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        if ignored and threading.current_thread() is threading.main_thread():
            # Started in the background of a script, which ignores it: a request to stop must be heard.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with _listening(folder / STOP):
            yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path, taken: str | None) -> None:
    """Take the lock; whoever only looks at the run has it for a moment, which is waited for."""
    end = time.monotonic() + PEEK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in BUSY:
                return  # some network file systems know no locks: better no protection than no run
            if time.monotonic() > end:
                raise (RunFolderError(taken) if taken else _held(folder)) from error
        time.sleep(0.05)


def refuse_held(folder: Path) -> None:
    """Refuse a folder that a living run holds, before any work is done for another one.

    Raises:
      RunFolderError: it is held.
    """
    if holder_of(folder) is not None:
        raise _held(folder)


def _held(folder: Path) -> RunFolderError:
    return RunFolderError(f"{folder} is held by a living run. Wait until it ends, or choose another --out.")


@contextlib.contextmanager
def _listening(stop: Path) -> Iterator[None]:
    """Interrupt this process once for every word in the stop file."""
    end = threading.Event()

    def listen() -> None:
        while not end.wait(LISTEN_EVERY):
            with contextlib.suppress(OSError):
                words = stop.read_text(encoding="utf-8").split()
                stop.unlink()
                for _ in words[:2]:
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(0.05)  # two signals at once would arrive as one

    thread = threading.Thread(target=listen, name="mpnas-stop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def holder_of(folder: Path) -> Holder | None:
    """Who holds a run folder; None if nobody does, or its file system knows no locks."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in BUSY:
            return None
        said = read_json(folder / LOCK) or {}
        host = said.get("host")
        return Holder(
            int(number_in(said, "pid") or 0), host if isinstance(host, str) else "",
            number_in(said, "since") or 0.0,
        )
    finally:
        os.close(handle)
    return None


def ask_to_stop(folder: Path, *, at_once: bool = False) -> None:
    """Ask the holder of a run folder to end: in peace, or at once as a second Ctrl-C does."""
    temporary = folder / f"{STOP}.{os.getpid()}"
    temporary.write_text("stop now" if at_once else "stop", encoding="utf-8")
    os.replace(temporary, folder / STOP)


def wait_until_free(folder: Path, seconds: float) -> bool:
    """Whether nobody holds the folder any more, within some seconds."""
    end = time.monotonic() + seconds
    while holder_of(folder) is not None:
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
