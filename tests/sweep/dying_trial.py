"""Runs a trial and kills its own process, as kill -9 would, when a step of a stage is reported."""

import os
import signal
import sys
from pathlib import Path

from mpnas.sweep.trial import run_trial
from mpnas.sweep.worker import prepare

folder, trial, stage, step = sys.argv[1:]


def die(row):
    if row["stage"] == stage and row["stage_step"] >= int(step):
        os.kill(os.getpid(), signal.SIGKILL)


prepare()
run_trial(Path(folder), trial, report=die)
