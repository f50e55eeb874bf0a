"""What a worker runs: a trial or a population, its rows reported to Tune, its words left for the driver."""

import contextlib
import traceback
from pathlib import Path
from typing import Any

from mpnas.errors import MpnasError
from mpnas.sweep.attempt import Fenced
from mpnas.sweep.folder import has_result, home_of
from mpnas.sweep.tune.watchdog import Watchdog

OVER = -1  # the step of the last report, which early stopping must not see as progress


def on_worker(config: dict[str, Any]) -> None:
    """Run the trials `config["trials"]`, one or a population, in the run folder `config["folder"]`.

    Trials that make no progress for `config["hang_after"]` seconds end this process.
    """
    from ray import tune

    from mpnas.sweep.population import run_population
    from mpnas.sweep.worker import prepare

    prepare()
    folder, trials = Path(config["folder"]), tuple(config["trials"])

    def report(trial: str, row: dict[str, Any]) -> None:
        tune.report(dict(row))

    def leave(words: str, trace: str | None = None) -> None:
        for trial in trials:
            if not has_result(folder, trial):
                leave_words(home_of(folder, trial), words, trace)

    with Watchdog(config["hang_after"], leave) as watchdog:
        try:
            ends = run_population(folder, trials, report=report, alive=watchdog.beat)
        except MpnasError as error:
            # Deterministic: another attempt would end the same way. The words are for the driver to show.
            leave(str(error))
        except Exception as error:
            # A defect, or a full disk: tried again by Tune, and told if that does not help either.
            leave(f"{type(error).__name__}: {error}", traceback.format_exc())
            raise
        else:
            for trial, end in ends.items():
                # The folder of one that was fenced belongs to the newer attempt.
                if isinstance(end, MpnasError) and not isinstance(end, Fenced):
                    leave_words(home_of(folder, trial), str(end))
    tune.report({"step": OVER})


def leave_words(home: Path, words: str, trace: str | None = None) -> None:
    """Write why a trial ended into its folder; a defect's traceback beside it."""
    with contextlib.suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
        (home / "error.txt").write_text(f"{words}\n", encoding="utf-8")
        if trace is not None:
            (home / "traceback.txt").write_text(trace, encoding="utf-8")
