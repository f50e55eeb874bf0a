"""What a worker runs: one trial, its rows reported to Tune, its words left where the driver finds them."""

import contextlib
import traceback
from pathlib import Path
from typing import Any

from mpnas.errors import MpnasError
from mpnas.sweep.attempt import Fenced
from mpnas.sweep.folder import home_of
from mpnas.sweep.tune.watchdog import Watchdog

OVER = -1  # the step of the last report, which early stopping must not see as progress


def on_worker(config: dict[str, Any]) -> None:
    """Run the trial `config["trial"]` of the run folder `config["folder"]`.

    A trial that makes no progress for `config["hang_after"]` seconds ends this process.
    """
    from ray import tune

    from mpnas.sweep.trial import run_trial
    from mpnas.sweep.worker import prepare

    prepare()
    folder = Path(config["folder"])
    home = home_of(folder, config["trial"])

    def report(row: dict[str, Any]) -> None:
        watchdog.beat(f"step {row['step']} ({row['stage']})")
        tune.report(dict(row))

    with Watchdog(config["hang_after"], lambda words: leave_words(home, words)) as watchdog:
        try:
            run_trial(folder, config["trial"], report=report)
        except Fenced:
            pass  # the folder belongs to the newer attempt
        except MpnasError as error:
            # Deterministic: another attempt would end the same way. The words are for the driver to show.
            leave_words(home, str(error))
        except Exception as error:
            # A defect, or a full disk: tried again by Tune, and told if that does not help either.
            leave_words(home, f"{type(error).__name__}: {error}", traceback.format_exc())
            raise
    tune.report({"step": OVER})


def leave_words(home: Path, words: str, trace: str | None = None) -> None:
    """Write why a trial ended into its folder; a defect's traceback beside it."""
    with contextlib.suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
        (home / "error.txt").write_text(f"{words}\n", encoding="utf-8")
        if trace is not None:
            (home / "traceback.txt").write_text(trace, encoding="utf-8")
