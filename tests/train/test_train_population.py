"""Tests of mpnas/train/population.py."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_train import SEARCH, attached, blobs, differing, float_start, leaves, search_start

import mpnas.train.population as population_module
from mpnas.control import DBP, Gumbel, Softmax
from mpnas.cost import COSTS, Budget, measure, refuse_impossible, satisfied
from mpnas.errors import ConfigError, MpnasError, NonFiniteLossError
from mpnas.space import Rule
from mpnas.train import (
    Hooks,
    Member,
    Optimizer,
    Phase,
    Teacher,
    mode_of,
    one_hot_gates,
    run_members,
    run_phase,
    start_search,
)
from mpnas.train.population import compiled_members, lane, stacked

# Adam divides a gradient by its own size: where that is 0 but for rounding, as of a bias before a batch
# normalisation, it makes steps of rounding errors, and the two programs part after a few steps.
STEADY = dataclasses.replace(
    SEARCH, weights=Optimizer(name="sgd", lr=1e-2), ranges=Optimizer(name="sgd", lr=1e-3)
)
APART = dataclasses.replace(
    SEARCH,
    weights=Optimizer(name="sgd", lr=1e-2, share=(0.0, 0.8)), ranges=Optimizer(name="sgd", share=(0.0, 0.8)),
    arch=Optimizer(lr=0.1, share=(0.8, 1.0)),
)
# No quantizer of activations: a rounding error that moves one across a step of its codes is no small change.
STEADY_RULES = (
    Rule(match="*", weights=(2, 4, 8)), Rule(match="first", weights=(0, 4, 8), granularity="channel"),
)
# (seed, share of the bytes): two seeds, so that batches are stacked, and two budgets each.
WHO = [(3, 0.7), (3, 0.5), (4, 0.7), (4, 0.6)]


@pytest.fixture(scope="module")
def steady():
    return attached(STEADY_RULES)


class Told:
    """What the hooks of some members were told, by member."""

    def __init__(self, count, every=1, saves=None):
        self.rows = [[] for _ in range(count)]
        self.saved = [[] for _ in range(count)]
        self.every, self.saves = every, saves

    def hooks(self, number):
        def report(progress):
            self.rows[number].append((progress.step, progress.loss, progress.accuracy))

        def save(state):
            self.saved[number].append(jax.tree.map(jnp.copy, state))

        if self.saves is None:
            return Hooks(report, self.every)
        return Hooks(report, self.every, save, self.saves)

    @property
    def losses(self):
        return np.array([[loss for _, loss, _ in rows] for rows in self.rows])


def searching(net, phase, controller, who=WHO, told=None):
    """Members of a search."""
    members = []
    for number, (seed, share) in enumerate(who):
        limits = refuse_impossible(Budget({"weight_bytes": share}), COSTS, net.space)
        state = start_search(net, net.parts, controller, phase, seed, limits)
        hooks = told.hooks(number) if told else Hooks()
        members.append(Member(state, seed, limits=limits, hooks=hooks))
    return members


def both(net, phase, controller, who=WHO, data=None):
    """Losses of every step `(members, steps)`, and ends, of the two modes."""
    found = []
    for mode in ("together", "apart"):
        told = Told(len(who))
        members = searching(net, phase, controller, who, told)
        ends = run_members(
            "search", net, members, data or blobs(), phase, mode=mode, controller=controller
        )
        found.append((told, ends))
    return found


@pytest.mark.parametrize("controller", [Gumbel(), DBP(), Softmax()], ids=["gumbel", "dbp", "softmax"])
@pytest.mark.parametrize("phase", [STEADY, APART], ids=["one_update", "two_updates"])
def test_twenty_steps_of_a_search_are_the_same_together_and_apart(steady, controller, phase):
    (together, ends), (apart, others) = both(steady, phase, controller)
    assert together.losses.shape == (4, 20)
    np.testing.assert_allclose(together.losses, apart.losses, rtol=1e-5)
    assert [[row[0] for row in rows] for rows in together.rows] == [list(range(1, 21))] * 4
    np.testing.assert_array_equal(
        [[row[2] for row in rows] for rows in together.rows],
        [[row[2] for row in rows] for rows in apart.rows],
    )
    assert [int(end.step) for end in ends] == [20] * 4
    for one, other in zip(ends, others, strict=True):
        assert jax.tree.structure(one) == jax.tree.structure(other)
        for site, logits in one.arch.logits.items():
            np.testing.assert_allclose(logits, other.arch.logits[site], atol=1e-4)
    # Four members that are not the same: seeds and budgets both tell.
    assert len({tuple(losses) for losses in together.losses}) == 4


def test_adam_agrees_as_long_as_it_does_not_step_by_rounding_errors(steady):
    (together, _), (apart, _) = both(steady, dataclasses.replace(SEARCH, steps=3), Gumbel())
    np.testing.assert_allclose(together.losses, apart.losses, rtol=1e-5)


def test_members_of_one_seed_draw_each_batch_once_and_end_as_apart(steady):
    drawn = []

    def augment(x, rng):
        drawn.append(1)
        return x

    phase = dataclasses.replace(STEADY, steps=5)
    who = [(3, 0.7), (3, 0.5), (3, 0.6)]
    (together, _), (apart, _) = both(steady, phase, Gumbel(), who, blobs(augment))
    assert len(drawn) == 5 + 3 * 5
    np.testing.assert_allclose(together.losses, apart.losses, rtol=1e-5)


def test_logits_that_look_ahead_are_the_same_together_and_apart(steady):
    phase = dataclasses.replace(APART, unroll=0.01)
    (together, _), (apart, _) = both(steady, phase, Gumbel())
    np.testing.assert_allclose(together.losses, apart.losses, rtol=1e-5)


def retraining(net, plain, phase, told):
    """Members with assignments, seeds and teachers of their own."""
    bits = [(2, 0), (8, 1), (4, 1), (8, 0)]
    members = []
    for number, (width, seed) in enumerate(bits):
        assignment = net.space.nearest({
            site: np.tile(-np.abs(np.array(choice.bits) - width), (choice.decisions, 1))
            for site, choice in net.space.choices.items()
        })
        parts = dataclasses.replace(
            plain.parts, params=jax.tree.map(lambda leaf: leaf * (1 + seed), plain.parts.params)
        )
        members.append(Member(
            float_start(net, phase, seed), seed, one_hot_gates(net, assignment),
            teacher=Teacher(plain, parts), hooks=told.hooks(number),
        ))
    return members


def test_retraining_of_several_assignments_is_the_same_together_and_apart(steady, plain, data):
    phase = Phase(
        steps=20, batch=16, weights=Optimizer(name="sgd", lr=1e-2), ranges=Optimizer(name="sgd"), distill=0.5,
        bins=1e-3,
    )
    losses = []
    for mode in ("together", "apart"):
        told = Told(4)
        run_members("retrain", steady, retraining(steady, plain, phase, told), data, phase, mode=mode)
        losses.append(told.losses)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert len({tuple(row) for row in losses[0]}) == 4


def test_one_after_another_is_run_phase_bit_for_bit(net, data):
    members = searching(net, SEARCH, Gumbel())
    ends = run_members("search", net, members, data, SEARCH, mode="apart", controller=Gumbel())
    for end, member, (seed, _) in zip(ends, searching(net, SEARCH, Gumbel()), WHO, strict=True):
        alone = run_phase("search", net, member.state, data, SEARCH, seed=seed, controller=Gumbel(),
                          limits=member.limits)
        assert differing(end, alone) == []


def test_states_of_a_stack_come_back_in_every_bit(net):
    states = [member.state for member in searching(net, SEARCH, Gumbel())]
    stack = stacked(states)
    assert all(differing(lane(stack, k), state) == [] for k, state in enumerate(states))
    assert all(leaf.shape[0] == 4 for leaf in jax.tree.leaves(stack))


def test_checkpoints_of_members_lead_to_the_same_bits(net, data):
    told = Told(4, every=5, saves=10)
    members = searching(net, SEARCH, Gumbel(), told=told)
    ends = run_members("search", net, members, data, SEARCH, mode="together", controller=Gumbel())
    assert [[int(state.step) for state in saved] for saved in told.saved] == [[10, 20]] * 4
    again = Told(4, every=5)
    middle = [
        dataclasses.replace(member, state=told.saved[k][0], hooks=again.hooks(k))
        for k, member in enumerate(members)
    ]
    others = run_members("search", net, middle, data, SEARCH, mode="together", controller=Gumbel())
    assert [differing(end, other) for end, other in zip(ends, others, strict=True)] == [[]] * 4
    assert again.rows == [rows[2:] for rows in told.rows]


class Broken:
    """Data whose seed 4 has inputs that are not numbers from the seventh step on."""

    def __init__(self, data):
        self._data, self.augment = data, data.augment

    def batch(self, part, seed, step, size, share=(0.0, 1.0)):
        x, y = self._data.batch(part, seed, step, size, share)
        return (np.full_like(x, np.nan) if seed == 4 and step >= 6 else x), y


@pytest.mark.parametrize("mode", ["together", "apart"])
@pytest.mark.parametrize("every", [1, 5, 100])
def test_member_whose_loss_is_not_finite_ends_alone(net, data, mode, every):
    who, told, heard = [(3, 0.7), (4, 0.7), (5, 0.7)], Told(3, every, saves=4), []
    members = searching(net, SEARCH, Gumbel(), who, told)
    ends = run_members("search", net, members, Broken(data), SEARCH, mode=mode, controller=Gumbel(),
                       ended=lambda number, error: heard.append((number, str(error))))
    assert isinstance(ends[1], NonFiniteLossError)
    assert (ends[1].stage, ends[1].step) == ("search", 7)
    assert heard == [(1, str(ends[1]))]
    assert [int(state.step) for state in told.saved[1]] == [4]
    assert all(row[0] < 7 for row in told.rows[1])
    for k in (0, 2):
        assert int(ends[k].step) == 20 and len(told.saved[k]) == 5
        assert all(np.isfinite(leaf).all() for leaf in leaves(ends[k].parts.params).values())


def test_member_that_ends_leaves_the_bits_of_the_others_alone(net, data):
    def ends(data):
        members = searching(net, SEARCH, Gumbel(), [(3, 0.7), (4, 0.7), (5, 0.7)])
        return run_members("search", net, members, data, SEARCH, mode="together", controller=Gumbel())

    whole, broken = ends(data), ends(Broken(data))
    assert isinstance(broken[1], NonFiniteLossError)
    assert [differing(whole[k], broken[k]) for k in (0, 2)] == [[], []]


class Refused(MpnasError):
    pass


@pytest.mark.parametrize("mode", ["together", "apart"])
def test_error_of_a_hook_ends_its_member_alone_and_any_other_exception_ends_all(net, data, mode):
    def at_ten(error):
        def report(progress):
            if progress.step == 10:
                raise error

        return Hooks(report, 5)

    members = searching(net, SEARCH, Gumbel())
    members[2] = dataclasses.replace(members[2], hooks=at_ten(Refused("not yours any more")))
    ends = run_members("search", net, members, data, SEARCH, mode=mode, controller=Gumbel())
    assert [isinstance(end, Refused) for end in ends] == [False, False, True, False]
    members = searching(net, SEARCH, Gumbel())
    members[2] = dataclasses.replace(members[2], hooks=at_ten(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        run_members("search", net, members, data, SEARCH, mode=mode, controller=Gumbel())


def test_nothing_is_computed_once_all_members_have_ended(net, data, monkeypatch):
    calls = []
    real = population_module.compiled_members
    monkeypatch.setattr(population_module, "compiled_members", lambda *a: calls.append(1) or real(*a))
    members = searching(net, SEARCH, Gumbel(), told=Told(4, every=10))
    members = [dataclasses.replace(member, seed=4) for member in members]
    ends = run_members("search", net, members, Broken(data), SEARCH, mode="together", controller=Gumbel())
    assert all(isinstance(end, NonFiniteLossError) for end in ends)
    assert len(calls) == 10


def test_best_state_within_its_own_limits_is_kept_for_each_member(steady, data):
    net, phase = steady, dataclasses.replace(STEADY, keep="best_feasible")
    (together, ends), (_, others) = both(net, phase, Gumbel())
    for end, other in zip(ends, others, strict=True):
        np.testing.assert_allclose(end.best.loss, other.best.loss, rtol=1e-5)
        for site, logits in end.arch.logits.items():
            np.testing.assert_allclose(logits, other.arch.logits[site], atol=1e-4)
    # A limit that no member but one can be within: only that one keeps anything.
    members = searching(net, phase, Gumbel())
    tight = [member.limits if k == 1 else {"weight_bytes": 1.0} for k, member in enumerate(members)]
    start = [
        dataclasses.replace(member, limits=limits) for member, limits in zip(members, tight, strict=True)
    ]
    pressed = dataclasses.replace(phase, penalty=50.0)
    kept = run_members("search", net, start, data, pressed, mode="together", controller=Gumbel())
    assert [bool(np.isfinite(end.best.loss)) for end in kept] == [False, True, False, False]
    assert int(kept[0].step) == 20
    probabilities = Gumbel().probabilities(kept[1].arch, net.space.choices)
    assert satisfied(measure([c for c in COSTS if c.name == "weight_bytes"], net.space,
                             net.space.nearest(probabilities)), tight[1])


def test_phase_that_is_over_hands_the_states_on(net, data):
    told = Told(2)
    members = searching(net, dataclasses.replace(SEARCH, steps=0), Gumbel(), WHO[:2], told)
    over = dataclasses.replace(SEARCH, steps=0)
    ends = run_members("search", net, members, data, over, mode="together", controller=Gumbel())
    assert [end is member.state for end, member in zip(ends, members, strict=True)] == [True, True]
    assert told.rows == [[], []]


def test_one_program_serves_every_budget_and_seed(net, data, monkeypatch):
    traces, real = [], population_module.step_of

    def traced(spec):
        step = real(spec)
        return lambda *arguments: traces.append(1) or step(*arguments)

    monkeypatch.setattr(population_module, "step_of", traced)
    compiled_members.cache_clear()
    phase = dataclasses.replace(SEARCH, steps=3)
    for who in ([(3, 0.7), (4, 0.5)], [(8, 0.6), (9, 0.8)]):
        run_members("search", net, searching(net, phase, Gumbel(), who), data, phase, mode="together",
                    controller=Gumbel())
    compiled_members.cache_clear()
    assert len(traces) == 1


@pytest.mark.parametrize("changed, words", [
    (lambda m, net: {"limits": {}}, r"limited costs \(\['weight_bytes'\] and \[\]\)"),
    (lambda m, net: {"state": dataclasses.replace(m.state, step=jnp.int32(2))}, r"step \(0 and 2\)"),
    (lambda m, net: {"gates": one_hot_gates(net, net.space.uniform(8))}, "gates"),
    (lambda m, net: {"state": search_start(net, SEARCH, controller=DBP())[0]}, "shapes"),
    (lambda m, net: {"teacher": Teacher(net, net.parts)}, "teacher"),
], ids=["limits", "step", "gates", "shapes", "teacher"])
def test_members_that_do_not_fit_into_one_program_are_refused(net, data, changed, words):
    members = searching(net, SEARCH, Gumbel(), WHO[:2])
    members[1] = dataclasses.replace(members[1], **changed(members[1], net))
    with pytest.raises(ConfigError, match=f"members 0 and 1 of stage 'search' differ in {words}"):
        run_members("search", net, members, data, SEARCH, mode="together", controller=Gumbel())


@pytest.mark.parametrize("population, backend, mode", [
    ("auto", "cpu", "apart"), ("auto", "gpu", "together"), ("auto", "tpu", "together"),
    ("together", "cpu", "together"), ("apart", "gpu", "apart"),
])
def test_members_run_together_where_that_is_asked_or_an_accelerator_is_there(population, backend, mode):
    assert mode_of(population, backend) == mode


def test_quantized_activations_stay_near_together_and_apart(net):
    (together, _), (apart, _) = both(net, STEADY, Gumbel())
    np.testing.assert_allclose(together.losses, apart.losses, rtol=1e-3)
