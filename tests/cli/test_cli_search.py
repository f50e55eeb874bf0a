"""Tests of mpnas/cli/search.py."""

import json

import pytest
import tiny_run

from mpnas.cli import search
from mpnas.cli.search import restricted
from mpnas.errors import ConfigError
from mpnas.pareto import load, violations
from mpnas.sweep.config import experiment_of

TINY = ("--controller", "gumbel", "--budget", "weight_bytes=50%")


def test_a_search_runs_a_float_network_and_one_search(mpnas, tiny_toml, tmp_path):
    result = mpnas("search", tiny_toml, *TINY, "--threads", "1")
    run = tmp_path / "runs" / "tiny-search"
    assert result.exit_code == 0, result.output
    trials = sorted(path.name for path in (run / "trials").iterdir())
    assert trials == ["float-s0", "gumbel-weight_bytes=0.5-s0"]
    front = load(run / "front.json")
    assert violations(front, root=run) == []
    [point] = front["points"]
    assert point["costs"]["weight_bytes"] <= point["limits"]["weight_bytes"]
    assert "search 6/6: loss" in result.stderr and "expected" in result.stderr and "exact" in result.stderr
    assert "Bits of p000" in result.stdout and "runs/tiny-search/front.json" in result.stdout
    again = mpnas("search", tiny_toml, *TINY)  # nothing is left to do, also where --threads is not said
    assert again.exit_code == 0 and again.stderr == ""
    other = mpnas("search", tiny_toml, "--controller", "gumbel", "--budget", "weight_bytes=60%")
    assert other.exit_code == 2 and "another plan" in other.stderr and "0.5 there, 0.6 now" in other.stderr


def test_a_search_without_gradients_runs_too(mpnas, tiny_toml, tmp_path):
    settings = "controllers=[{ name = 'evolution', evaluations = 6, population = 3, parents = 1 }]"
    result = mpnas("search", tiny_toml, "--controller", "evolution", "--budget", "weight_bytes=50%",
                   "--threads", "1", "--set", settings)
    assert result.exit_code == 0, result.output
    [point] = load(tmp_path / "runs" / "tiny-search" / "front.json")["points"]
    assert (point["controller"], point["method"]) == ("evolution", "proposer")
    assert point["steps"]["evaluations"] == 6
    assert "search 6/6: loss" in result.stderr and "select accuracy" in result.stderr


def test_an_experiment_is_cut_down_to_one_search(tmp_path):
    controllers = 'controllers=["dbp", { name = "gumbel", lean = 0.5 }]'
    _, table = experiment_of(str(tiny_run.written(tmp_path)), [controllers, "seeds=[0,1]"])
    cut = restricted(table, "gumbel", {"bops": 0.5}, 7)
    assert cut["controllers"] == [{"name": "gumbel", "lean": 0.5}]  # its options are kept
    assert (cut["budgets"], cut["seeds"], cut["float_seeds"]) == ([{"bops": 0.5}], [7], [])
    assert cut["references"] == {"uniform": [], "random": False}
    assert cut["recipe"] == table["recipe"]
    sweeping = {"explore": {"budgets": {"bops": [0.1, 0.2]}, "trials": 2}, "early_stopping": {}}
    assert restricted(table | sweeping, "gumbel", {"bops": 0.5}, 7) == cut


def test_a_controller_that_the_experiment_does_not_name_can_be_searched_with(tmp_path):
    _, table = experiment_of(str(tiny_run.written(tmp_path)))
    assert restricted(table, "dbp", {"bops": 0.5}, 0)["controllers"] == ["dbp"]


def test_an_unknown_controller_names_the_nearest(tmp_path):
    _, table = experiment_of(str(tiny_run.written(tmp_path)))
    with pytest.raises(ConfigError, match="unknown controller 'gumble'; nearest: 'gumbel'"):
        restricted(table, "gumble", {"bops": 0.5}, 0)


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(mpnas, tiny_toml, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "run_trial", interrupted)
    result = mpnas("search", tiny_toml, *TINY)
    assert result.exit_code == 130 and "mpnas resume runs/tiny-search" in result.stderr


def test_a_loss_that_is_not_finite_ends_with_code_3(mpnas, tiny_toml, tmp_path):
    rate = "recipe.float.weights={ name = 'sgd', lr = 1e30 }"
    result = mpnas("search", tiny_toml, *TINY, "--set", rate)
    assert result.exit_code == 3, result.output
    assert "trial 'float-s0' failed: the loss of stage 'float' is not finite at step" in result.stderr
    written = json.loads((tmp_path / "runs/tiny-search/trials/float-s0/result.json").read_text())
    assert written["status"] == "failed"


OWN_NET = '''
import jax
import numpy as np
from flax import nnx


class Net(nnx.Module):
    def __init__(self, *, rngs):
        self.body = nnx.Linear(12, 16, rngs=rngs)
        self.head = nnx.Linear(16, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(jax.nn.relu(self.body(x)))


def blobs():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    return rng.normal(y[:, None], 0.5, (300, 12)), y
'''
OWN_TOML = '''
name = "mine"
model = "my_net:Net"
data = "my_net:blobs"
controllers = ["gumbel"]
budgets = [{ weight_bytes = 0.5 }]

[[space.rules]]
match = "*"
weights = [2, 4, 8]
granularity = "channel"

[recipe.float]
steps = 20

[recipe.search]
steps = 10
arch = { lr = 0.04 }

[recipe.retrain]
steps = 10
'''


def test_a_network_and_data_of_ones_own_are_searched_from_the_current_folder(program, tmp_path):
    (tmp_path / "my_net.py").write_text(OWN_NET)
    (tmp_path / "mine.toml").write_text(OWN_TOML)
    asked = ("--controller", "dbp", "--budget", "weight_bytes=0.6")
    process = program("search", "mine.toml", *asked, cwd=tmp_path)
    printed, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert "Traceback" not in told and "Warning" not in told
    [point] = load(tmp_path / "runs" / "mine-search" / "front.json")["points"]
    assert set(point["assignment"]) == {"body/kernel", "head/kernel"}
    assert "Front of mine" in printed
