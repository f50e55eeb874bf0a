"""Tests of mpnas/space/words.py: what each word becomes at a site."""

import pytest
from work_maker import chain, residual

from mpnas.errors import SearchSpaceError
from mpnas.quant import (
    EWGS,
    MSE,
    PACT,
    Clipped,
    DoReFa,
    FloatFormat,
    IntFormat,
    InverseTanh,
    LearnedRange,
    LearnedStep,
    MagnitudeAware,
    MinMax,
    MovingAverage,
    Octav,
    Percentile,
    Pruned,
    StraightThrough,
)
from mpnas.space import Rule, build_space


@pytest.mark.parametrize("word, estimator", [
    ("learned", LearnedStep()), ("minmax", MinMax()), ("percentile", Percentile(99.9)), ("mse", MSE()),
    ("octav", Octav()), ("dorefa", DoReFa()), ("pow2", LearnedRange()),
])
def test_words_become_scale_estimators_of_weights(word, estimator):
    rules = [Rule(match="*", weights=(4,)), Rule(match="b", weight_range=word)]
    choices = build_space(chain(), rules).choices
    assert choices["a/kernel"].candidates[0].scale == LearnedStep()
    assert choices["b/kernel"].candidates[0].scale == estimator


@pytest.mark.parametrize("word, estimator", [
    ("learned", LearnedStep(batched=True)), ("moving", MovingAverage()), ("pact", PACT()),
    ("percentile", MovingAverage(of=Percentile(99.9))), ("mse", MovingAverage(of=MSE())),
    ("octav", MovingAverage(of=Octav())), ("pow2", LearnedRange(batched=True)),
])
def test_words_become_scale_estimators_of_activations(word, estimator):
    rules = [Rule(match="*", activations=(8,)), Rule(match="b", activation_range=word)]
    choices = build_space(chain(), rules).choices
    assert choices["a/input"].candidates[0].scale == LearnedStep(batched=True)
    assert choices["b/input"].candidates[0].scale == estimator


@pytest.mark.parametrize("word, gradient", [
    ("clipped", Clipped()), ("ste", StraightThrough()), ("ewgs", EWGS(delta=5e-3)),
    ("atanh", InverseTanh(delta=5e-3, alpha=1.0)), ("mad", MagnitudeAware()),
])
def test_words_become_gradients_of_each_operand(word, gradient):
    rules = [
        Rule(match="*", weights=(4,), activations=(8,)),
        Rule(match="a", weight_gradient=word),
        Rule(match="b", activation_gradient=word),
    ]
    choices = build_space(chain(), rules).choices
    found = {site: choices[site].candidates[0].gradient for site in ("a/kernel", "b/input")}
    assert found == {"a/kernel": gradient, "b/input": gradient}
    rest = {choices[site].candidates[0].gradient for site in ("b/kernel", "a/input")}
    assert rest == {Clipped()}


def test_the_grid_of_dorefa_has_no_zero():
    rules = [Rule(match="*", weights=(0, 1, 2, 32), granularity="channel", weight_range="dorefa")]
    formats = [c.format for c in build_space(chain(), rules).choices["a/kernel"].candidates]
    assert formats == [Pruned(), IntFormat(1, midrise=True), IntFormat(2, midrise=True), FloatFormat()]


def test_contradictory_gradients_of_one_tensor_are_refused():
    rules = [Rule(match="*", activations=(4, 8)), Rule(match="skip", activation_gradient="ewgs")]
    message = "'conv' and 'skip' read the same tensor.*activation_gradient 'clipped' and 'ewgs'"
    with pytest.raises(SearchSpaceError, match=message):
        build_space(residual(), rules)
