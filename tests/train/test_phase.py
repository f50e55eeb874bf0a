"""Tests of mpnas/train/phase.py."""

import math

import pytest

from mpnas.cost import PID, BandedLog, LogHinge
from mpnas.errors import ConfigError
from mpnas.train import Optimizer, Phase


@pytest.mark.parametrize("progress, expected", [(0.0, 2.0), (1 / 3, 1.5), (0.5, 1.0), (1.0, 0.0)])
def test_cosine_falls_to_zero(progress, expected):
    assert Optimizer(lr=2.0).rate(progress) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("progress, expected", [(0.0, 0.0), (0.05, 0.4), (0.1, 0.8), (0.7, 0.8)])
def test_warmup_rises_linearly_to_a_constant_rate(progress, expected):
    rate = Optimizer(lr=0.8, decay="constant", warmup=0.1).rate(progress)
    assert rate == pytest.approx(expected, abs=1e-12)


def test_warmup_and_cosine_multiply():
    assert Optimizer(lr=1.0, warmup=0.5).rate(0.25) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)) / 2)


def test_constant_rate_without_warmup_starts_at_its_peak():
    assert Optimizer(lr=0.3, decay="constant").rate(0.0) == 0.3


@pytest.mark.parametrize("wrong", [
    {"lr": 0.0}, {"lr": -1.0}, {"lr": math.nan}, {"lr": math.inf}, {"every": 0}, {"warmup": 1.0},
    {"warmup": -0.1}, {"warmup": math.nan}, {"name": "sgd", "weight_decay": -1.0},
    {"name": "adamw", "weight_decay": math.nan},
])
def test_optimizer_numbers_out_of_range_are_refused_with_the_value(wrong):
    key, value = list(wrong.items())[-1]
    with pytest.raises(ConfigError, match=rf"an optimizer needs lr > 0, .*{key}={value}"):
        Optimizer(**wrong)


@pytest.mark.parametrize("share", [(0.5, 0.5), (0.8, 0.2), (-0.1, 1.0), (0.0, 1.1)])
def test_share_is_a_range_within_zero_and_one(share):
    with pytest.raises(ConfigError, match="share must be a range within"):
        Optimizer(share=share)


def test_misspelt_optimizer_names_the_nearest():
    with pytest.raises(ConfigError, match="no name 'adamv'; nearest: .*'adamw'"):
        Optimizer(name="adamv")
    with pytest.raises(ConfigError, match="no decay 'cosin'; nearest: 'cosine'"):
        Optimizer(decay="cosin")


def test_weight_decay_that_adam_would_ignore_is_refused():
    with pytest.raises(ConfigError, match='weight_decay = 0.1. Write name = "adamw"'):
        Optimizer(weight_decay=0.1)


@pytest.mark.parametrize("wrong, words", [
    ({"steps": -1}, "steps >= 0 and batch >= 1, got -1 and 64"),
    ({"batch": 0}, "steps >= 0 and batch >= 1, got 5 and 0"),
    ({"batch": 2**31}, "got 5 and 2147483648; both below 2"),
    ({"distill": 1.5}, r"distill in \[0, 1\].* got 1.5"),
    ({"smoothing": 1.0}, r"smoothing in \[0, 1\).* 1.0"),
    ({"temperature": 0.0}, "temperature > 0"),
    ({"temperature": math.nan}, "temperature > 0"),
    ({"bins": -1.0}, "bins >= 0 and penalty >= 0, got -1.0"),
    ({"penalty": math.nan}, "penalty >= 0, got 0.0, nan"),
    ({"unroll": -0.1}, "unroll >= 0, got -0.1"),
    ({"unroll": math.nan}, "unroll >= 0, got nan"),
    ({"unroll": 0.1}, "unroll = 0.1 looks ahead from weights to logits"),
    ({"keep": "best"}, "cannot keep 'best'; nearest: .*'best_feasible'"),
    ({"keep": "best_feasible"}, "has no 'arch' optimizer"),
    ({"budget": "log_hing"}, "no penalty 'log_hing'; nearest: 'log_hinge'"),
    ({"budget": {"name": "pid", "kq": 1.0}}, "penalty 'pid' has no option 'kq'; nearest: 'kp'"),
    ({"budget": 7}, "a penalty is a name, a table or an object of mpnas.cost.penalty, got 7"),
])
def test_phase_numbers_out_of_range_are_refused_with_the_value(wrong, words):
    with pytest.raises(ConfigError, match=words):
        Phase(**{"steps": 5, **wrong})


def test_weights_and_ranges_are_updated_together():
    with pytest.raises(ConfigError, match="every = 1 and 2"):
        Phase(steps=5, ranges=Optimizer(every=2))
    with pytest.raises(ConfigError, match="share = "):
        Phase(steps=5, ranges=Optimizer(share=(0.0, 0.5)))


def test_phase_in_which_a_step_updates_nothing_is_refused():
    with pytest.raises(ConfigError, match="every = 1. It has none"):
        Phase(steps=5, weights=None)
    with pytest.raises(ConfigError, match=r"It has \{'weights': 2\}"):
        Phase(steps=5, weights=Optimizer(every=2))


def test_frozen_collections_have_no_optimizer():
    phase = Phase(steps=1, weights=None, arch=Optimizer(lr=0.1))
    assert phase.optimizers == {"arch": Optimizer(lr=0.1)}


def test_penalty_of_a_phase_is_named_tabled_or_given():
    assert Phase(steps=1).budget == LogHinge()
    assert Phase(steps=1, budget="banded_log").budget == BandedLog()
    asked = {"name": "pid", "kp": 3.0}
    assert Phase(steps=1, budget=asked).budget == Phase(steps=1, budget=PID(kp=3.0)).budget == PID(kp=3.0)
