"""What the driver hears of its trials from Tune: that one is given up, or was stopped early."""

from pathlib import Path
from typing import Any

from ray import tune

from mpnas.sweep.folder import has_result, home_of
from mpnas.sweep.tune.worker import leave_words
from mpnas.sweep.watch import words_of


class Listener(tune.Callback):
    """Leaves words in the folders of trials whose workers could not leave any.

    Args:
      folder: The run folder.
      retries: How often a trial whose worker died is started again.
    """

    def __init__(self, folder: Path, retries: int) -> None:
        self._folder, self._retries = folder, retries

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune has given a trial up."""
        for name in trial.config["trials"]:
            home = home_of(self._folder, name)
            if not has_result(self._folder, name) and words_of(home) is None:
                leave_words(home, self._words(raised_in(trial.get_error())))

    def _words(self, raised: str | None) -> str:
        times = f"{self._retries + 1} times"
        if raised is not None:
            return f"it could not begin on its worker, {times}: {raised}"
        return (
            f"its worker died {times} without a word, as happens when the system ends a process for want of "
            "memory. Run fewer trials at the same time (--cpus), or take a smaller batch; then: mpnas resume."
        )


def raised_in(text: str | None) -> str | None:
    """What a worker raised, from the text that Tune keeps of a trial's last failures; None if it died.

    A traceback from a worker begins with `ray::` and the function that was called there; what Ray says of a
    worker that died has none.
    """
    last = (text or "").rpartition("Failure # ")[2]
    lines = [line for line in last.splitlines() if line.strip() and not line[0].isspace()]
    if "ray::" not in last or "actor died" in last:
        return None
    kind, _, words = lines[-1].partition(": ")
    return f"{kind.rpartition('.')[2]}: {words}" if words else lines[-1]
