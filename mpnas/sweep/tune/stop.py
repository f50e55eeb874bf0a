"""Ctrl-C and SIGTERM of a driver: the first ends the sweep in peace, the second at once."""

import signal
from typing import Any


class Stop:
    """Turns the first Ctrl-C or SIGTERM into a graceful end of the Tune run; the second acts at once.

    Attributes:
      heard: Whether a signal has come.
    """

    def __init__(self) -> None:
        self.heard = False
        self._old: dict[int, Any] = {}

    def listen(self) -> None:
        """Take the signals over; comes after Ray's start, which installs handlers of its own."""
        # Until Tune listens to it, SIGUSR1 would end the process.
        self._old[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, self._hear)

    def ignore(self) -> None:
        """Nothing may cut the shutdown of Ray short: it takes seconds, and would leave its daemons."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old.setdefault(number, signal.signal(number, signal.SIG_IGN))

    def restore(self) -> None:
        """Give the handlers back."""
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: Any) -> None:
        if self.heard:
            raise KeyboardInterrupt
        self.heard = True
        signal.raise_signal(signal.SIGUSR1)  # Tune stops its trials and returns from fit()
