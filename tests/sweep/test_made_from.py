"""Tests of mpnas/sweep/made_from.py."""

import json

import pytest
import tiny_plan

from mpnas.errors import RunFolderError
from mpnas.sweep.made_from import made_from, refuse_changed
from mpnas.sweep.plan import save_plan
from mpnas.sweep.trial import bench_of

NET = '''
import jax, numpy as np
from flax import nnx

class Net(nnx.Module):
    def __init__(self, rngs):
        self.one, self.two = nnx.Linear(4, {width}, rngs=rngs), nnx.Linear({width}, 3, rngs=rngs)
    def __call__(self, x):
        return self.two(jax.nn.{act}(self.one(x)))

def build(*, rngs):
    return Net(nnx.Rngs({seed})) if {seed} else Net(rngs)

def batches():
    rng = np.random.default_rng({data})
    return rng.normal(size=(40, 4)).astype(np.float32), rng.integers(0, 3, 40)
'''
SAME = {"width": 5, "act": "relu", "seed": 0, "data": 1}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """What a plan of one's own network is made from; the network is a new module each time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    count = iter(range(100))

    def make(**changes):
        name = f"net_{tmp_path.name}_{next(count)}"
        (tmp_path / f"{name}.py").write_text(NET.format(**SAME | changes))
        plan = tiny_plan.plan(model=f"{name}:build", data=f"{name}:batches")
        return plan, made_from(plan, bench_of(plan))

    return make


def test_the_same_network_and_data_have_the_same_digests(made):
    assert made()[1] == made()[1]


@pytest.mark.parametrize(("change", "keys", "words"), [
    ({"data": 2}, {"data"}, r"the data \(.*\) hold other examples"),
    ({"seed": 9}, {"weights"}, r"the model \(.*\) starts from other weights"),
    ({"act": "gelu"}, {"program"}, r"the model \(.*\) computes something else"),
    ({"width": 6}, {"layers", "program", "weights"}, r"the model \(.*\) has other layers; .* something else"),
])
def test_what_has_changed_is_named(made, tmp_path, change, keys, words):
    plan, then = made()
    _, now = made(**change)
    # Activations stand between the layers: what a tensor can hold is part of what a layer reads.
    assert keys <= {key for key in then if then[key] != now[key]} <= keys | {"layers", "program"}
    save_plan(plan, tmp_path / "run", then)
    refuse_changed(tmp_path / "run", plan, then)
    with pytest.raises(RunFolderError, match=words):
        refuse_changed(tmp_path / "run", plan, now)


def test_the_program_is_not_compared_between_versions_of_jax(made, tmp_path):
    plan, then = made()
    save_plan(plan, tmp_path / "run", then)
    refuse_changed(tmp_path / "run", plan, then | {"program": "other", "jax": "0.99"})
    with pytest.raises(RunFolderError, match="computes something else"):
        refuse_changed(tmp_path / "run", plan, then | {"program": "other"})


def test_a_plan_that_says_nothing_is_believed(made, tmp_path):
    plan, now = made()
    save_plan(plan, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "plan.json").read_text())["made_from"] is None
    refuse_changed(tmp_path / "run", plan, now)
