"""Tests of mpnas/train/loop.py."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_train import SEARCH, blobs, differing, float_start, leaves, search_start

from mpnas.control import DBP
from mpnas.errors import ConfigError, NonFiniteLossError
from mpnas.train import Checkpoints, Hooks, Optimizer, Phase, Teacher, one_hot_gates, run_phase
from mpnas.train.checkpoint import filled
from mpnas.train.loop import ARCH_SEED

APART = dataclasses.replace(
    SEARCH,
    weights=Optimizer(lr=1e-2, share=(0.0, 0.8)), ranges=Optimizer(share=(0.0, 0.8)),
    arch=Optimizer(lr=0.1, share=(0.8, 1.0)),
)
SELDOM = dataclasses.replace(
    SEARCH, weights=Optimizer(lr=1e-2, every=3), ranges=Optimizer(lr=1e-3, every=3),
)
LOGITS_ONLY = dataclasses.replace(SEARCH, weights=None, ranges=None)
AHEAD = dataclasses.replace(APART, unroll=0.01)
STEERED = dataclasses.replace(APART, budget={"name": "pid", "kp": 2.0, "kd": 1.0}, penalty=1.0)
PHASES = {
    "ahead": AHEAD, "together": SEARCH, "apart": APART, "weights_seldom": SELDOM, "logits_only": LOGITS_ONLY,
    "steered": STEERED,
}


def rows_and_state(net, data, phase, state, rest, folder=None):
    """Reports and end of a search; checkpoints every 10 steps if there is a folder."""
    rows = []

    def report(progress):
        rows.append((progress.step, progress.loss, progress.accuracy))

    if folder is None:
        return rows, run_phase("search", net, state, data, phase, hooks=Hooks(report, 5), **rest)
    with Checkpoints(folder) as checkpoints:
        hooks = Hooks(report, 5, lambda s: checkpoints.save(int(s.step), s, {}), 10)
        return rows, run_phase("search", net, state, data, phase, hooks=hooks, **rest)


@pytest.mark.parametrize("name", PHASES)
def test_twenty_steps_are_ten_and_a_restore_and_ten(name, net, data, tmp_path):
    phase = PHASES[name]
    state, rest = search_start(net, phase)
    rows, end = rows_and_state(net, data, phase, state, rest, tmp_path)
    assert int(end.step) == 20
    with Checkpoints(tmp_path) as checkpoints:
        arrays, _ = checkpoints._read(10)
    state, _ = search_start(net, phase)
    middle = filled(state, arrays, tmp_path)
    assert int(middle.step) == 10
    again, other = rows_and_state(net, data, phase, middle, rest)
    assert differing(end, other) == []
    assert again == rows[2:]


def test_random_streams_of_the_network_are_in_the_state(net, data, tmp_path):
    state, rest = search_start(net)
    names = [name for name, leaf in leaves(state).items() if leaf.dtype == np.uint32 and "drop" in name]
    assert names, "dropout keeps a stream of random keys in the network's own state"
    before = leaves(state)
    end = leaves(run_phase("search", net, state, data, dataclasses.replace(SEARCH, steps=1), **rest))
    assert any(before[name].tobytes() != end[name].tobytes() for name in names)


IN_A_FRESH_PROCESS = """
import hashlib, json, sys
from pathlib import Path
from tiny_train import SEARCH, attached, blobs, leaves, search_start
from mpnas.train import run_phase
from mpnas.train.checkpoint import filled, load
net = attached()
state, rest = search_start(net)
step, arrays, _ = load(Path(sys.argv[1]))
assert step == 10, step
end = run_phase("search", net, filled(state, arrays, Path(".")), blobs(), SEARCH, **rest)
print(json.dumps({n: hashlib.sha256(a.tobytes()).hexdigest() for n, a in leaves(end).items()}))
"""


def test_a_fresh_process_goes_on_bit_for_bit(net, data, tmp_path):
    state, rest = search_start(net)
    with Checkpoints(tmp_path) as checkpoints:
        def keep_ten(state):
            if int(state.step) == 10:
                checkpoints.save(10, state, {})

        end = run_phase(
            "search", net, state, data, SEARCH, hooks=Hooks(checkpoint=keep_ten, checkpoint_every=10), **rest
        )
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parent), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, str(tmp_path)],
        capture_output=True, text=True, env=environment, check=False,
    )
    assert done.returncode == 0, done.stderr
    mine = {name: hashlib.sha256(a.tobytes()).hexdigest() for name, a in leaves(end).items()}
    assert json.loads(done.stdout) == mine


def test_same_seed_gives_the_same_bits_and_another_seed_does_not(net, data):
    def end(seed):
        state, rest = search_start(net, seed=seed)
        return run_phase("search", net, state, data, dataclasses.replace(SEARCH, steps=4), **rest)

    assert differing(end(1), end(1)) == []
    assert differing(end(1).parts.params, end(2).parts.params)


def nan_at(call):
    """An augmentation that breaks the inputs of the n-th batch that is drawn."""
    calls = []

    def augment(x, rng):
        calls.append(1)
        return np.full_like(x, np.nan) if len(calls) == call else x

    return augment


@pytest.mark.parametrize("every", [1, 5, 100])
def test_loss_that_is_not_finite_names_stage_and_exact_step(plain, every):
    phase = Phase(steps=12, batch=8)
    with pytest.raises(NonFiniteLossError, match="stage 'float' is not finite at step 7") as caught:
        run_phase("float", plain, float_start(plain, phase), blobs(nan_at(7)), phase, seed=0,
                  hooks=Hooks(every=every))
    assert (caught.value.stage, caught.value.step) == ("float", 7)


def test_loss_of_the_logits_is_watched_too(net):
    # Two batches a step, the second one for the logits: the 14th is that of step 7.
    state, rest = search_start(net, APART)
    with pytest.raises(NonFiniteLossError, match="stage 'search' is not finite at step 7"):
        run_phase("search", net, state, blobs(nan_at(14)), APART, **rest)


def test_no_state_is_kept_after_a_loss_that_is_not_finite(plain):
    phase, kept = Phase(steps=12, batch=8), []
    hooks = Hooks(every=100, checkpoint=lambda state: kept.append(int(state.step)), checkpoint_every=4)
    with pytest.raises(NonFiniteLossError, match="at step 6"):
        run_phase("float", plain, float_start(plain, phase), blobs(nan_at(6)), phase, seed=0, hooks=hooks)
    assert kept == [4]


def test_rate_that_is_far_too_high_ends_at_the_second_step(plain, data):
    phase = Phase(steps=5, batch=8, weights=Optimizer(lr=1e38, decay="constant"))
    with pytest.raises(NonFiniteLossError, match="at step 2. Lower the learning rate"):
        run_phase("float", plain, float_start(plain, phase), data, phase, seed=0)


def test_last_update_that_breaks_the_weights_is_not_handed_on(plain, data):
    optimizer = Optimizer(name="sgd", lr=3e38, decay="constant", weight_decay=100.0)
    phase, kept = Phase(steps=1, batch=8, weights=optimizer), []
    with pytest.raises(NonFiniteLossError, match="at step 1"):
        run_phase("float", plain, float_start(plain, phase), data, phase, seed=0,
                  hooks=Hooks(checkpoint=kept.append))
    assert kept == []


def test_distilling_without_a_teacher_is_refused(plain, data):
    phase = Phase(steps=2, distill=0.5)
    with pytest.raises(ConfigError, match=r"stage 'retrain' distils \(distill = 0.5\) but has no teacher"):
        run_phase("retrain", plain, float_start(plain, phase), data, phase, seed=0)


def test_training_logits_without_a_controller_is_refused(net, data):
    state, _ = search_start(net)
    with pytest.raises(ConfigError, match="'arch' optimizer but no controller"):
        run_phase("search", net, state, data, SEARCH, seed=0)


@pytest.mark.parametrize("wrong", [{"every": 0}, {"checkpoint_every": 0}])
def test_hooks_without_an_interval_are_refused(wrong):
    with pytest.raises(ConfigError, match="every >= 1 and checkpoint_every >= 1"):
        Hooks(**wrong)


def test_reports_come_at_their_interval_and_at_the_end(plain, data):
    phase, seen, saved = Phase(steps=7, batch=8), [], []
    hooks = Hooks(
        lambda p: seen.append((p.stage, p.step, p.steps)), 3, lambda s: saved.append(int(s.step)), 4
    )
    run_phase("float", plain, float_start(plain, phase), data, phase, seed=0, hooks=hooks)
    assert seen == [("float", 3, 7), ("float", 6, 7), ("float", 7, 7)]
    assert saved == [4, 7]


def test_reported_loss_is_the_mean_since_the_last_report(plain, data):
    phase = Phase(steps=6, batch=8)

    def reports(every, **more):
        seen = []
        hooks = Hooks(lambda p: seen.append((p.loss, p.accuracy)), every, **more)
        run_phase("float", plain, float_start(plain, phase), data, phase, seed=0, hooks=hooks)
        return np.array(seen)

    single = reports(1)
    np.testing.assert_allclose(reports(3), [single[:3].mean(axis=0), single[3:].mean(axis=0)], rtol=1e-6)
    # A checkpoint in between reads the losses, and must not take them from the report.
    with_saves = reports(3, checkpoint=lambda state: None, checkpoint_every=2)
    np.testing.assert_allclose(with_saves, reports(3), rtol=1e-6)
    assert np.all((single[:, 1] >= 0) & (single[:, 1] <= 1))


def test_phase_that_is_over_returns_the_state_untouched(plain, data):
    state = float_start(plain, Phase(steps=0))
    assert run_phase("float", plain, state, data, Phase(steps=0), seed=0) is state


def test_distilled_student_follows_the_teacher(net, plain, data):
    gates = one_hot_gates(net, net.space.uniform(8))
    phase = Phase(steps=60, batch=32, weights=Optimizer(lr=2e-2), distill=1.0)
    losses = []
    hooks = Hooks(lambda p: losses.append(p.loss), 20)
    teacher = Teacher(plain, plain.parts)
    run_phase("retrain", net, float_start(net, phase), data, phase, seed=0, gates=gates, teacher=teacher,
              hooks=hooks)
    # Its own soft labels are what a cross entropy cannot go below: their mean entropy.
    logits = np.asarray(plain.apply(plain.parts, {}, jnp.asarray(data.train[0]), train=False)[0])
    log_p = np.asarray(jax.nn.log_softmax(logits))
    entropy = -np.mean(np.sum(np.exp(log_p) * log_p, axis=1))
    assert losses[-1] < losses[0]
    assert entropy - 0.05 < losses[-1] < entropy + 0.15


def test_augmentation_is_left_out_where_the_phase_says_so(plain):
    phase, broken = Phase(steps=3, batch=8, augment=False), blobs(nan_at(1))
    state = run_phase("float", plain, float_start(plain, phase), broken, phase, seed=0)
    same = run_phase("float", plain, float_start(plain, phase), blobs(), phase, seed=0)
    jax.tree.map(np.testing.assert_array_equal, state.parts.params, same.parts.params)


def test_logits_that_look_ahead_are_updated_apart_on_the_next_batch_of_the_weights(net):
    drawn = []
    data = blobs()

    class Watched(type(data)):
        def batch(self, part, seed, step, size, share=(0.0, 1.0)):
            drawn.append((seed, step, share))
            return super().batch(part, seed, step, size, share)

    watched = Watched(**{field.name: getattr(data, field.name) for field in dataclasses.fields(data)})
    phase = dataclasses.replace(SEARCH, steps=1, unroll=0.1)
    state, rest = search_start(net, phase)
    run_phase("search", net, state, watched, phase, **rest)
    assert drawn == [(3, 0, (0.0, 1.0)), (3 + ARCH_SEED, 0, (0.0, 1.0)), (3, 1, (0.0, 1.0))]


def test_drop_events_only_come_in_steps_that_train_logits(net, data):
    arch = Optimizer(lr=1.0, every=4, share=(0.8, 1.0))
    phase = dataclasses.replace(APART, steps=4, arch=arch, penalty=100.0)
    controller = DBP(threshold=0.9, distortion_weight=0.0)
    state, rest = search_start(net, phase, controller=controller)
    rest["limits"] = {"weight_bytes": 1.0}
    before = leaves(state.arch.memory)
    end = leaves(run_phase("search", net, state, data, phase, **rest).arch.memory)
    assert all(np.all(before[name] - end[name] <= 1) for name in before)
    assert any(np.any(before[name] - end[name] == 1) for name in before)
