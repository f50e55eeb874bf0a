"""Tests of mpnas/train/find.py."""

import itertools

import curvature_nets as nets
import numpy as np
import pytest

from mpnas.control import SEARCHERS, Evolution, Gumbel, Importance, RandomSearch, Sensitivity
from mpnas.cost import COSTS, Budget, achievable, measure, satisfied
from mpnas.errors import BudgetError, ConfigError
from mpnas.train import Hooks, Optimizer, Phase, examiner, find, length_of, method_of, scores_of, solve

PHASE = Phase(steps=3, batch=16, weights=None, arch=Optimizer(lr=0.1))


@pytest.fixture(scope="module")
def net():
    return nets.net_of(nets.Two, {"weights": (2, 3, 4, 8), "activations": (3, 4, 8)})


def between(space, share, *names):
    """A budget at a share of the way from the lowest cost to the highest."""
    reach = achievable(COSTS, space)
    return Budget({name: reach[name][0] + share * (reach[name][1] - reach[name][0]) for name in names})


def every(space):
    """All assignments of a space."""
    ranges = [range(len(c.bits)) for c in space.choices.values() for _ in range(c.decisions)]
    cuts = np.cumsum([c.decisions for c in space.choices.values()])[:-1]
    for picks in itertools.product(*ranges):
        yield space.from_indices(dict(zip(space.choices, np.split(np.array(picks), cuts), strict=True)))


@pytest.mark.parametrize("kind", ["fisher", "hessian", "loss", "flips"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_scorer_finds_the_smallest_sum_of_increases_of_all_assignments_within_the_budget(net, kind, share):
    whole, parts = net
    scorer, space = Sensitivity(measure=kind, batches=3, batch=40), whole.space
    budget = between(space, share, "weight_bytes", "bops")
    found = solve(whole, nets.rows(), scorer=scorer, budget=budget, parts=parts)
    scores = scores_of(scorer, whole, parts, nets.rows())

    def total(assignment):
        return sum(scores[s][np.arange(len(i)), i].sum() for s, i in space.indices(assignment).items())

    within = [a for a in every(space) if satisfied(measure(COSTS, space, a), found.limits)]
    assert 0 < len(within) < 4 * 4 * 3 * 3
    best = min(map(total, within))
    assert satisfied(measure(COSTS, space, found.assignment), found.limits)
    # Within the solver's relative gap, and its absolute one of 1e-6 where 29 is the largest increase.
    largest = max(values.max() for values in scores.values())
    assert total(found.assignment) <= best * (1 + 1e-4) + 1e-6 * largest


def test_proposer_finds_the_smallest_loss_of_all_assignments_within_the_budget(net):
    whole, parts = net
    proposer = Evolution(evaluations=140, population=12, parents=4, mutate=0.4)
    budget = between(whole.space, 0.5, "weight_bytes")
    found = find(whole, nets.rows(), controller=proposer, budget=budget, parts=parts)
    examine = examiner(whole, parts, nets.rows(), "select")
    best = min(
        examine(a)["loss"] for a in every(whole.space)
        if satisfied(measure(COSTS, whole.space, a), found.limits)
    )
    assert examine(found.assignment)["loss"] == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("controller", [
    Gumbel(), Sensitivity(batches=2, batch=20), Evolution(evaluations=12, population=4, parents=2),
    RandomSearch(evaluations=7), Importance(step=0.2),
], ids=lambda c: type(c).__name__)
def test_every_kind_of_controller_is_within_the_budget_repeatable_and_reports(net, controller):
    whole, parts = net
    rows = []

    def run(report):
        return find(
            whole, nets.rows(), controller=controller, budget=between(whole.space, 0.5, "weight_bytes"),
            parts=parts, phase=PHASE, seed=4, hooks=Hooks(report=report, every=2),
        )

    found, again = run(rows.append), run(None)
    assert found.assignment == again.assignment and found.gap == again.gap
    costs = measure(COSTS, whole.space, found.assignment)
    assert satisfied(costs, found.limits)
    last = rows[-1]
    assert last.stage == "search" and last.step <= last.steps <= length_of(controller, PHASE)
    # Thresholds end where the budget is met, the others where their steps are done.
    assert (last.step == length_of(controller, PHASE)) != isinstance(controller, Importance)
    assert [row.step for row in rows] == sorted({row.step for row in rows})
    assert {"expected_costs", "discrete_costs", "soft_metric", "hard_metric"} <= found.gap.keys()
    if method_of(controller) == "relaxation":
        assert last.assignment is None and last.state is not None
    else:
        assert last.assignment == found.assignment and last.state is None
        assert found.gap["discrete_costs"] == found.gap["expected_costs"] == costs
        assert found.gap["hard_metric"] == last.accuracy
        metrics = examiner(whole, parts, nets.rows(), "select")(found.assignment)
        assert (last.loss, last.accuracy) == (metrics["loss"], metrics["accuracy"])
        assert found.parts is parts


def test_other_seed_of_a_proposer_asks_others(net):
    asked = []
    for seed in (0, 1):
        rows = []
        find(*net[:1], nets.rows(), controller=RandomSearch(evaluations=3), budget=Budget({"bops": 0.5}),
             parts=net[1], seed=seed, hooks=Hooks(report=rows.append, every=1))
        asked.append([row.loss for row in rows])
    assert asked[0] != asked[1]


@pytest.mark.parametrize("name", sorted(SEARCHERS))
def test_impossible_budget_is_refused_before_anything_is_done(net, name):
    with pytest.raises(BudgetError, match="budget weight_bytes = 3 byte cannot be met"):
        find(net[0], nets.rows(), controller=SEARCHERS[name](), budget=Budget({"weight_bytes": 3}),
             parts=net[1], phase=PHASE)


def test_proposals_that_all_break_the_budget_are_a_sentence(net):
    with pytest.raises(BudgetError) as refused:
        find(net[0], nets.rows(), controller=Importance(evaluations=1), parts=net[1],
             budget=between(net[0].space, 0.5, "weight_bytes"))
    assert "none of the 1 proposals of Importance met the budget weight_bytes <= " in str(refused.value)
    assert str(refused.value).endswith("Give the controller more evaluations, or raise the budget.")


@pytest.mark.parametrize("phase", [None, Phase(steps=3)])
def test_relaxation_without_logits_to_train_is_refused(net, phase):
    with pytest.raises(ConfigError, match="has no 'arch' optimizer. Add arch"):
        find(net[0], nets.rows(), controller=Gumbel(), budget=Budget({}), parts=net[1], phase=phase)


def test_scores_of_one_budget_serve_another(net, tmp_path):
    for share in (0.4, 0.6):
        solve(net[0], nets.rows(), scorer=Sensitivity(batches=1, batch=20), budget=Budget({"bops": share}),
              parts=net[1], folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
