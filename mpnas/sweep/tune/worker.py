"""What a worker runs: one trial, its rows reported to Tune, its words left where the driver finds them."""

import contextlib
import traceback
from pathlib import Path
from typing import Any

from mpnas.errors import MpnasError
from mpnas.sweep.attempt import Fenced


def on_worker(config: dict[str, Any]) -> None:
    """Run the trial `config["trial"]` of the run folder `config["folder"]`."""
    from ray import tune

    from mpnas.sweep.trial import run_trial
    from mpnas.sweep.worker import prepare

    prepare()
    folder = Path(config["folder"])
    home = folder / "trials" / config["trial"]
    try:
        run_trial(folder, config["trial"], report=lambda row: tune.report({"step": row["step"]}))
    except Fenced:
        pass  # the folder belongs to the newer attempt
    except MpnasError as error:
        # Deterministic: another attempt would end the same way. The words are for the driver to show.
        leave_words(home, str(error))
    except Exception as error:
        # A defect, or a full disk: tried again by Tune, and told if that does not help either.
        leave_words(home, f"{type(error).__name__}: {error}", traceback.format_exc())
        raise
    tune.report({"step": -1})


def leave_words(home: Path, words: str, trace: str | None = None) -> None:
    """Write why a trial ended into its folder; a defect's traceback beside it."""
    with contextlib.suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
        (home / "error.txt").write_text(f"{words}\n", encoding="utf-8")
        if trace is not None:
            (home / "traceback.txt").write_text(trace, encoding="utf-8")
