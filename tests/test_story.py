"""The story of mpnas in one process: a network, a budget, a search, and a front that can be trusted."""

import json

import numpy as np
import pytest
from flax import nnx

import mpnas
from mpnas.cost import COSTS
from mpnas.pareto import load, violations
from mpnas.train import module_accuracy, with_float_parts

SHARES = (0.35, 0.7)


class Blocks(nnx.Module):
    """Two convolutions and a linear layer: a network of somebody else."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(1, 6, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(6, momentum=0.9, rngs=rngs)
        self.body = nnx.Conv(6, 8, (3, 3), strides=2, rngs=rngs)
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.stem(x)))
        return self.head(nnx.relu(self.body(x)).mean(axis=(1, 2)))


def stripes():
    """Grey images with horizontal, vertical or diagonal stripes, and some noise."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    row, column = np.mgrid[:8, :8]
    phase = rng.integers(0, 4, 300)[:, None, None]
    waves = np.stack([row, column, row + column])[y] + phase
    x = (waves % 4 < 2) + 0.1 * rng.random((300, 8, 8))
    return mpnas.load_own((x[..., None].astype(np.float32), y), "stripes")


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """Everything that a person would do, once."""
    data, model = stripes(), Blocks(nnx.Rngs(0))
    teacher = mpnas.fit(
        model, data, phase=mpnas.Phase(steps=80, batch=32, weights=mpnas.Optimizer(lr=2e-2))
    )
    net = mpnas.attach(
        model, data.example(),
        [mpnas.Rule(match="*", weights=(2, 8), activations=(8,)),
         mpnas.Rule(match="stem", weights=(0, 2, 8), granularity="channel")],
    )
    records = [mpnas.reference(net, teacher, data)]
    small = {}
    start = with_float_parts(net, teacher)
    for share in SHARES:
        budget = {"weight_bytes": share}
        found = mpnas.search(
            net, data, controller=mpnas.Gumbel(), budget=mpnas.Budget(budget), parts=start,
            phase=mpnas.Phase(
                steps=20, batch=32, weights=mpnas.Optimizer(lr=1e-3), ranges=mpnas.Optimizer(lr=1e-3),
                arch=mpnas.Optimizer(lr=0.1),
            ),
        )
        parts = mpnas.retrain(
            net, found.assignment, data, parts=found.parts, teacher=teacher,
            phase=mpnas.Phase(
                steps=60, batch=32, weights=mpnas.Optimizer(lr=5e-3), ranges=mpnas.Optimizer(lr=1e-3),
                distill=1.0, bins=1e-3,
            ),
        )
        name = f"gumbel-{share}"
        records.append(
            mpnas.record(net, found, parts, data, trial=name, controller="gumbel", budget=budget)
        )
        small[name] = (found.assignment, mpnas.discretize(net, parts, found.assignment))
    path = tmp_path_factory.mktemp("story") / "front.json"
    mpnas.save(mpnas.front(net, data, records, name="stripes"), path)
    return net, data, model, small, path


def test_front_on_disk_breaks_no_invariant(story):
    net, _, _, _, path = story
    front = load(path)

    def recompute(assignment):
        return mpnas.measure(COSTS, net.space, mpnas.Assignment.from_json(assignment))

    assert violations(front, recompute=recompute) == []
    assert len(front["points"]) == len(SHARES)
    assert [row["kind"] for row in front["references"]] == ["float"]
    assert json.loads(path.read_text()) == front


def test_every_point_is_within_its_budget_and_smaller_than_the_float_network(story):
    front = load(story[-1])
    (float_row,) = front["references"]
    for point in front["points"]:
        assert point["costs"]["weight_bytes"] <= point["limits"]["weight_bytes"]
        assert point["feasible"]
        assert point["costs"]["weight_bytes"] < float_row["costs"]["weight_bytes"] / 2


def test_small_networks_are_what_the_front_says(story):
    _, data, _, small, path = story
    points = {point["trial"]: point for point in load(path)["points"]}
    for name, (assignment, network) in small.items():
        assert points[name]["assignment"] == assignment.to_json()
        assert module_accuracy(network, data, "test") == points[name]["metrics"]["test_accuracy"]["mean"]
        kept = sum(bits > 0 for bits in assignment.bits["stem/kernel"])
        assert network.stem.kernel[...].shape == (3, 3, 1, kept)


def test_both_networks_have_learned_something(story):
    _, data, model, _, path = story
    # A guess is right in one of three.
    assert module_accuracy(model, data, "test") > 0.7
    assert max(point["metrics"]["test_accuracy"]["mean"] for point in load(path)["points"]) > 0.6
