"""Tests of mpnas/control: what every controller promises, and what every relaxation does."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from controllers import PROPOSERS, RELAXATIONS, SCORERS, choices, net

from mpnas import control
from mpnas.control import (
    DBP,
    NCE,
    Arch,
    Gumbel,
    Proposer,
    Relaxation,
    Scorer,
    mean_entropy,
    undecided_share,
)
from mpnas.supernet import reformed
from mpnas.supernet.operand import Alternatives

EXACT = {"gumbel_hard", "dbp", "dbp_plain"}  # gates are exactly one-hot
NOISY = {name for name, member in RELAXATIONS.items() if isinstance(member, Gumbel | DBP | NCE)}
MIXING = {name for name, member in RELAXATIONS.items() if member.operand == "alternatives"}
EVERY_RELAXATION = pytest.mark.parametrize("name", RELAXATIONS)
PROGRESSES = (0.0, 0.25, 0.5, 1.0)


def undecided(relaxation, seed=0):
    """A state in the middle of a search: every logit, or beta, somewhere in (0.2, 0.8)."""
    draw = np.random.default_rng(seed)
    arch = relaxation.init(choices())
    logits = jax.tree.map(lambda a: jnp.asarray(draw.uniform(0.2, 0.8, a.shape), a.dtype), arch.logits)
    return Arch(logits, arch.memory)


def gates_of(name, *, progress=0.5, key=0, arch=None):
    relaxation = RELAXATIONS[name]
    arch = undecided(relaxation) if arch is None else arch
    return relaxation.gates(arch, choices(), progress=progress, key=jax.random.key(key))


def test_every_controller_of_the_package_is_in_a_table():
    assert {type(member) for member in RELAXATIONS.values()} == set(control.RELAXATIONS.values())
    assert {type(member) for member in PROPOSERS.values()} == set(control.PROPOSERS.values())
    assert {type(member) for member in SCORERS.values()} == set(control.SCORERS.values())
    assert set(control.SEARCHERS) | set(control.REFERENCES) == {
        *control.RELAXATIONS, *control.PROPOSERS, *control.SCORERS
    }


@pytest.mark.parametrize("kind, members", [
    (Relaxation, RELAXATIONS), (Proposer, PROPOSERS), (Scorer, SCORERS)
], ids=["relaxations", "proposers", "scorers"])
def test_every_member_is_of_one_kind_alone(kind, members):
    for member in members.values():
        assert [k for k in (Relaxation, Proposer, Scorer) if isinstance(member, k)] == [kind]


@pytest.mark.parametrize("name", sorted(MIXING))
@pytest.mark.parametrize("progress", PROGRESSES)
def test_rows_of_gates_sum_to_one_and_lie_between_zero_and_one(name, progress):
    for gates in gates_of(name, progress=progress).values():
        np.testing.assert_allclose(gates.sum(axis=1), 1, rtol=1e-5)
        assert np.all(gates >= 0) and np.all(gates <= 1 + 1e-6)


@EVERY_RELAXATION
def test_gates_and_probabilities_have_a_row_per_decision_and_a_column_per_candidate(name):
    relaxation = RELAXATIONS[name]
    shapes = {site: (choice.decisions, len(choice.bits)) for site, choice in choices().items()}
    for arch in (relaxation.init(choices()), undecided(relaxation)):
        mixed = [gates_of(name, arch=arch)] if name in MIXING else []
        for made in (*mixed, relaxation.probabilities(arch, choices())):
            assert {site: values.shape for site, values in made.items()} == shapes
            assert all(values.dtype == jnp.float32 for values in made.values())


@EVERY_RELAXATION
def test_probabilities_are_finite_in_the_unit_interval_and_sum_to_one(name):
    relaxation = RELAXATIONS[name]
    for arch in (relaxation.init(choices()), undecided(relaxation)):
        for values in relaxation.probabilities(arch, choices()).values():
            assert np.all(np.isfinite(values)) and np.all(values >= 0) and np.all(values <= 1)
            np.testing.assert_allclose(values.sum(axis=1), 1, rtol=1e-6)


@EVERY_RELAXATION
def test_probabilities_stay_finite_for_extreme_logits(name):
    relaxation = RELAXATIONS[name]
    for far in (-1e4, 1e4):
        arch = undecided(relaxation)
        pushed = Arch(jax.tree.map(lambda a: a * far, arch.logits), arch.memory)
        settled = relaxation.event(pushed, choices(), over_budget=True, progress=0.5)
        for values in relaxation.probabilities(settled, choices()).values():
            assert np.all(np.isfinite(values)) and np.all(values >= 0) and np.all(values <= 1)


@EVERY_RELAXATION
def test_same_key_gives_the_same_gates_and_another_key_others_where_there_is_noise(name):
    first, again, other = gates_of(name, key=3), gates_of(name, key=3), gates_of(name, key=4)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    changed = jax.tree.map(lambda one, two: bool(np.any(one != two)), first, other)
    assert any(jax.tree.leaves(changed)) == (name in NOISY)


@pytest.mark.parametrize("name", sorted(MIXING))
def test_gates_without_noise_are_the_probabilities(name):
    relaxation = RELAXATIONS[name]
    arch = undecided(relaxation)
    gates = relaxation.gates(arch, choices(), progress=0.5, key=None)
    jax.tree.map(np.testing.assert_array_equal, gates, relaxation.probabilities(arch, choices()))


@pytest.mark.parametrize("name", sorted(NOISY))
def test_sites_of_one_shape_do_not_share_their_noise(name):
    relaxation = RELAXATIONS[name]
    arch = undecided(relaxation)
    even = Arch(jax.tree.map(lambda a: jnp.full_like(a, 0.5), arch.logits), arch.memory)
    gates = gates_of(name, arch=even)
    assert np.any(gates["first/kernel"] != gates["second/kernel"])


@EVERY_RELAXATION
def test_step_is_compiled_once_for_every_progress_key_and_state(name):
    relaxation, traces = RELAXATIONS[name], []

    @jax.jit
    def step(arch, progress, key, over):
        traces.append(1)
        gates = relaxation.gates(arch, choices(), progress=progress, key=key)
        arch = relaxation.event(arch, choices(), over_budget=over, progress=progress)
        return gates, relaxation.probabilities(arch, choices()), arch

    arch = relaxation.init(choices())
    for number, progress in enumerate(PROGRESSES):
        gates, _, after = step(arch, progress, jax.random.key(number), number % 2 == 0)
        assert jax.tree.structure(after) == jax.tree.structure(arch)
        arch = jax.tree.map(lambda old, new: new.astype(old.dtype), arch, after)
    assert len(traces) == 1
    eager = relaxation.gates(arch, choices(), progress=1.0, key=jax.random.key(9))
    compiled = step(arch, 1.0, jax.random.key(9), False)[0]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), eager, compiled)


@EVERY_RELAXATION
def test_event_keeps_shapes_and_types(name):
    relaxation = RELAXATIONS[name]
    arch = undecided(relaxation)
    after = relaxation.event(arch, choices(), over_budget=jnp.asarray(True), progress=0.5)
    same = jax.tree.map(lambda a, b: a.shape == b.shape and a.dtype == b.dtype, arch, after)
    assert all(jax.tree.leaves(same))


@EVERY_RELAXATION
def test_every_undecided_logit_feels_a_loss_of_its_gates(name):
    relaxation = RELAXATIONS[name]
    arch, draw = undecided(relaxation), np.random.default_rng(1)
    weights = jax.tree.map(lambda gate: draw.normal(size=gate.shape), gates_of(name, arch=arch))

    def loss(logits):
        gates = relaxation.gates(Arch(logits, arch.memory), choices(), progress=0.0, key=jax.random.key(2))
        return sum(jax.tree.leaves(jax.tree.map(lambda gate, weight: (gate * weight).sum(), gates, weights)))

    for site, slopes in jax.grad(loss)(arch.logits).items():
        for slope in jax.tree.leaves(slopes):
            assert np.all(np.isfinite(slope))
            # The coldest draws are one-hot in floating point; a single candidate leaves nothing to feel.
            if name != "gumbel_cold" and len(choices()[site].bits) > 1:
                assert np.any(np.asarray(slope) != 0)


@EVERY_RELAXATION
def test_gates_amount_to_the_probabilities_in_the_network_that_takes_them(name):
    relaxation = RELAXATIONS[name]
    searched = reformed(net(), relaxation.operand)
    for arch in (relaxation.init(choices()), undecided(relaxation)):
        gates = relaxation.gates(arch, choices(), progress=0.5, key=None)
        for site, row in relaxation.probabilities(arch, choices()).items():
            operand = searched.operands.get(site, Alternatives())
            np.testing.assert_allclose(operand.shares(choices()[site], gates[site]), row, atol=1e-6)
        output, _ = searched.apply(searched.parts, gates, jnp.ones((2, 4)), train=False)
        assert output.shape == (2, 3) and np.all(np.isfinite(output))


@pytest.mark.parametrize("name", sorted(EXACT))
def test_gates_are_exactly_one_hot(name):
    for key in range(5):
        for gates in gates_of(name, key=key).values():
            assert set(np.unique(gates)) <= {0.0, 1.0}
            np.testing.assert_array_equal(np.sum(np.asarray(gates) == 1, axis=1), 1)


@pytest.mark.parametrize("name", sorted(NOISY))
def test_mean_of_many_hard_draws_is_the_probability(name):
    relaxation = RELAXATIONS[name]
    arch = undecided(relaxation)
    keys = jax.random.split(jax.random.key(7), 4000)
    drawn = jax.vmap(lambda key: relaxation.gates(arch, choices(), progress=0.0, key=key))(keys)
    for site, expected in relaxation.probabilities(arch, choices()).items():
        picked = np.asarray(drawn[site]).argmax(axis=2)[..., None] == np.arange(expected.shape[1])
        # Five standard deviations of the mean of 4000 even coins.
        np.testing.assert_allclose(picked.mean(axis=0), expected, atol=5 * 0.5 / np.sqrt(4000))


@EVERY_RELAXATION
def test_entropy_and_undecided_share_are_shares(name):
    relaxation = RELAXATIONS[name]
    for arch in (relaxation.init(choices()), undecided(relaxation)):
        probabilities = relaxation.probabilities(arch, choices())
        for value in (mean_entropy(probabilities), undecided_share(probabilities)):
            assert -1e-6 <= float(value) <= 1 + 1e-6


@EVERY_RELAXATION
def test_regularizer_is_a_finite_scalar_and_not_below_zero(name):
    relaxation = RELAXATIONS[name]
    errors = {s: jnp.ones((c.decisions, len(c.bits))) for s, c in choices().items() if c.kind == "weight"}
    value = relaxation.regularizer(undecided(relaxation), choices(), lambda: errors)
    assert np.shape(value) == () and np.isfinite(value) and value >= 0


@pytest.mark.parametrize(
    "member", [*RELAXATIONS.values(), *PROPOSERS.values(), *SCORERS.values()], ids=repr
)
def test_controller_is_its_configuration(member):
    assert dataclasses.replace(member) == member and hash(dataclasses.replace(member)) == hash(member)
    with pytest.raises(dataclasses.FrozenInstanceError):
        member.anything = 1
