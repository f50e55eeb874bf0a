"""A tiny experiment on the digits, and its finished run, made once for all tests of a session."""

import functools
import tempfile
from pathlib import Path

from mpnas.pareto import save
from mpnas.sweep.collect import front_of
from mpnas.sweep.config import experiment_of
from mpnas.sweep.made_from import made_from
from mpnas.sweep.plan import plan_of, save_plan
from mpnas.sweep.trial import bench_of, run_trial

TOML = """
name = "tiny"
model = "mlp"
data = "digits"
controllers = ["gumbel"]
budgets = [{ weight_bytes = 0.5 }]
checkpoint_every = 2

[references]
uniform = [8]
random = false

[space]
rules = [{ match = "*", weights = [2, 4, 8], activations = [8], granularity = "layer" }]

[recipe.float]
steps = 12

[recipe.search]
steps = 6
arch = { lr = 0.04 }

[recipe.retrain]
steps = 6
distill = 1.0
"""


def written(folder):
    """Path of `tiny.toml` in a folder."""
    path = folder / "tiny.toml"
    path.write_text(TOML)
    return path


def planned(folder, *overrides):
    """The plan of the tiny experiment, with overrides."""
    experiment, table = experiment_of(str(written(folder)), overrides)
    return plan_of(table, experiment)


def made(config, run, kinds=frozenset({"float", "uniform", "search", "random"})):
    """The run of an experiment in the folder `run`, its trials of some kinds finished."""
    experiment, table = experiment_of(str(config), ())
    plan = plan_of(table, experiment)
    save_plan(plan, run, made_from(plan, bench_of(plan)))
    for trial in plan.trials:
        if trial.kind in kinds:
            assert run_trial(run, trial.id).status == "done"
    save(front_of(run), run / "front.json")
    return run


@functools.cache
def finished():
    """The folder of the finished run; read-only: tests that change it copy it first."""
    folder = Path(tempfile.mkdtemp(prefix="mpnas-tiny-"))
    return made(written(folder), folder / "run")
