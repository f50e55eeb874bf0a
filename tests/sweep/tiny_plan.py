"""An experiment of four trials, each a few steps of a network of two layers."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from mpnas.sweep.config import read_experiment
from mpnas.sweep.plan import plan_of, save_plan
from mpnas.train.checkpoint import load

HERE = Path(__file__).parent
FLOAT, UNIFORM = "float-s0", "uniform8-s0"
SEARCH, RANDOM = "gumbel-weight_bytes=0.5-s0", "random-weight_bytes=0.5-s0"
STEPS = 12

TABLE = {
    "name": "tiny",
    "model": {"name": "mlp", "features": [64, 12, 10]},
    "data": "digits",
    "space": {"rules": [{"match": "*", "weights": [2, 8], "activations": [8], "granularity": "channel"}]},
    "controllers": ["gumbel"],
    "budgets": [{"weight_bytes": 0.5}],
    "seeds": [0],
    "checkpoint_every": 5,
    "references": {"uniform": [8], "random": True},
    "recipe": {
        "float": {"steps": STEPS, "batch": 32, "weights": {"lr": 1e-2}},
        "search": {
            "steps": STEPS, "batch": 32,
            "weights": {"lr": 1e-3, "share": [0.0, 0.8]}, "ranges": {"lr": 1e-3, "share": [0.0, 0.8]},
            "arch": {"lr": 0.1, "share": [0.8, 1.0]},
        },
        "retrain": {
            "steps": STEPS, "batch": 32, "weights": {"lr": 1e-3}, "ranges": {"lr": 1e-3}, "distill": 1.0,
        },
    },
}


def table(**changes):
    """The experiment in its plain form; `recipe__float__steps=3` changes a nested key."""
    changed = copy.deepcopy(TABLE)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = changed
        for part in parents:
            place = place[part]
        place[last] = value
    return changed


def plan(**changes):
    plain = table(**changes)
    return plan_of(plain, read_experiment(plain, "tiny.toml"))


def run_folder(folder, **changes):
    """A run folder with a plan and no trials."""
    save_plan(plan(**changes), folder)
    return folder


def rows(folder, trial):
    """The rows of metrics without the clock."""
    lines = (folder / "trials" / trial / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def final_arrays(folder, trial):
    """Name -> bytes of the arrays that a trial ended with."""
    _, arrays, meta = load(folder / "trials" / trial / "checkpoint")
    assert meta["stage"] == "final"
    return {name: (str(a.dtype), a.shape, np.ascontiguousarray(a).tobytes()) for name, a in arrays.items()}


def told(record):
    """What a record tells, without clocks and hashes of files that hold them."""
    fields = record.to_json()
    return {k: v for k, v in fields.items() if k not in {"seconds", "ended_utc", "artifacts"}}


def environment(cache, **more):
    """Of a process that runs trials as a worker does."""
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return os.environ | {"PYTHONPATH": path, "MPNAS_CACHE": str(cache), **more}


def run_and_die(folder, trial, stage, step, cache):
    """Run a trial in a process of its own that is killed at once when it reports this step."""
    done = subprocess.run(
        [sys.executable, str(HERE / "dying_trial.py"), str(folder), trial, stage, str(step)],
        env=environment(cache), capture_output=True, text=True, check=False,
    )
    assert done.returncode == -9, done.stderr
