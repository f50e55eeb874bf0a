"""A watchdog: a trial that makes no progress for too long loses its worker, and is tried again.

A thread that hangs in a call of native code, say a dead network file system, can be ended in no other way
than with its process; Ray then starts another worker, which goes on from the last checkpoint.
"""

import os
import threading
import time
from collections.abc import Callable
from types import TracebackType

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: trying again may help


class Watchdog:
    """Ends this process when nothing has beaten for some seconds, from entering to leaving the context.

    Args:
      seconds: Without a beat; > 0.
      last_words: Called with a sentence before the end.
      end: Ends the process.
    """

    def __init__(
        self, seconds: float, last_words: Callable[[str], None], end: Callable[[int], None] = os._exit
    ) -> None:
        self._seconds, self._last_words, self._end = seconds, last_words, end
        self._beaten = time.monotonic()
        self._place = "its start"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="mpnas-watchdog", daemon=True)

    def beat(self, place: str) -> None:
        """Note progress, and where it was made."""
        self._beaten, self._place = time.monotonic(), place

    def __enter__(self) -> "Watchdog":
        self._beaten = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(min(1.0, self._seconds / 4)):
            if time.monotonic() - self._beaten > self._seconds:
                self._last_words(
                    f"no progress for {self._seconds:g} s after {self._place}; its worker was ended. Give "
                    "slow steps more time with --hang-after."
                )
                self._end(EXIT_CODE)
                return
