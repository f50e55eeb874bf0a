"""Tests of mpnas/space/rules.py."""

import pytest
from work_maker import chain, changed, residual

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
    PerChannel,
    PerTensor,
    Pruned,
    StraightThrough,
    Subgroup,
)
from mpnas.space import Rule, build_space


def test_later_rules_win_key_by_key():
    rules = [
        Rule(match="*", weights=(2, 4), activations=(8,), granularity="channel"),
        Rule(match="b", weights=(8,)),
        Rule(match="b", scale="layer"),
    ]
    space = build_space(chain(), rules)
    a, b = space.choices["a/kernel"], space.choices["b/kernel"]
    assert a.bits == (2, 4) and b.bits == (8,)
    assert b.granularity == PerChannel(1), "the granularity of the first rule stays"
    assert a.candidates[0].granularity == PerChannel(3) and b.candidates[0].granularity == PerTensor()
    assert space.choices["b/input"].bits == (8,), "the activations of the first rule stay"


def test_a_rule_that_comes_first_loses():
    space = build_space(chain(), [Rule(match="b", weights=(8,)), Rule(match="*", weights=(2,))])
    assert space.choices["b/kernel"].bits == (2,)


def test_an_empty_tuple_takes_a_layer_out_again_and_a_note_says_so():
    space = build_space(chain(), [Rule(match="*", weights=(2, 4)), Rule(match="b", weights=())])
    assert set(space.choices) == {"a/kernel", "c/kernel"}
    assert "kept in float32, no rule gives them weights: b." in space.notes


def test_no_rules_open_no_choice():
    space = build_space(chain(), [])
    assert space.choices == {} and space.decisions == 0
    assert space.notes == ("kept in float32, no rule gives them weights: a, b, c.",)


def test_a_rule_that_matches_nothing_names_the_nearest_layers():
    with pytest.raises(SearchSpaceError, match=r"'skp\*' matches none of the 4 layers.*nearest: 'skip'"):
        build_space(residual(), [Rule(match="skp*", weights=(2,))])


def test_patterns_tell_upper_from_lower_case():
    with pytest.raises(SearchSpaceError, match="matches none"):
        build_space(chain(), [Rule(match="A", weights=(2,))])


@pytest.mark.parametrize("bits", [-1, 9, 12, 33])
@pytest.mark.parametrize("key", ["weights", "activations"])
def test_bits_out_of_range_are_refused_with_the_allowed_ones(key, bits):
    message = f"rule 'stem' offers {bits} bits in '{key}'; allowed are 0, 1"
    with pytest.raises(SearchSpaceError, match=message):
        Rule(match="stem", **{key: (bits,)})


def test_zero_bits_for_activations_are_refused():
    with pytest.raises(SearchSpaceError, match="offers 0 bits for activations.*'weights'"):
        Rule(match="*", activations=(0, 8))


def test_bits_are_sorted_and_distinct_whatever_the_order():
    assert Rule(match="*", weights=[8, 2, 8, 4]).weights == (2, 4, 8)


@pytest.mark.parametrize("key", ["granularity", "scale"])
def test_a_subgroup_without_channels_is_refused(key):
    with pytest.raises(SearchSpaceError, match=f"rule 'b' has {key} = 0; a subgroup needs at least 1"):
        Rule(match="b", **{key: 0})


@pytest.mark.parametrize("key, allowed", [
    ("granularity", "'layer', 'channel' or a number of channels"),
    ("scale", "'layer', 'channel' or a number of channels"),
    ("weight_range", "'learned', 'minmax', 'percentile', 'mse', 'octav', 'dorefa', 'pow2'"),
    ("activation_range", "'learned', 'moving', 'percentile', 'mse', 'octav', 'pact', 'pow2'"),
    ("weight_gradient", "'clipped', 'ste', 'ewgs', 'atanh', 'mad'"),
    ("activation_gradient", "'clipped', 'ste', 'ewgs', 'atanh', 'mad'"),
])
def test_an_unknown_word_is_refused_with_the_known_ones(key, allowed):
    with pytest.raises(SearchSpaceError, match=f"rule 'b' has {key} = 'chanel'; allowed are {allowed}"):
        Rule(match="b", **{key: "chanel"})


@pytest.mark.parametrize("key, word, why", [
    ("weight_range", "moving", "averages over batches, and weights have none"),
    ("weight_range", "pact", "learns the clip of what a layer reads"),
    ("activation_range", "minmax", "would depend on the batch at hand"),
    ("activation_range", "dorefa", "squashes weights"),
])
def test_a_word_of_the_other_operand_is_refused_with_the_reason(key, word, why):
    with pytest.raises(SearchSpaceError, match=f"rule 'b' has {key} = '{word}', which {why}.*; allowed are"):
        Rule(match="b", **{key: word})


def test_words_become_granularities_on_the_output_axis():
    rules = [Rule(match="*", weights=(4,)), Rule(match="a", granularity=3, scale=2)]
    space = build_space(chain(), rules)
    a = space.choices["a/kernel"]
    assert a.granularity == Subgroup(3, 3) and a.candidates[0].granularity == Subgroup(2, 3)
    assert a.decisions == 2, "4 channels in threes"
    assert space.choices["b/kernel"].granularity == PerTensor()


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


def test_weights_are_signed_and_activations_follow_what_they_can_be():
    choices = build_space(chain(), [Rule(match="*", weights=(4, 32), activations=(8,))]).choices
    assert [c.format for c in choices["a/kernel"].candidates] == [IntFormat(4), FloatFormat()]
    assert choices["a/input"].candidates[0].format == IntFormat(8, signed=True)
    assert choices["b/input"].candidates[0].format == IntFormat(8, signed=False)


def test_choices_know_their_work():
    choices = build_space(residual(), [Rule(match="*", weights=(4,), activations=(8,))]).choices
    assert (choices["skip/kernel"].parameters, choices["skip/kernel"].macs) == (24, 24)
    shared = choices["conv/input"]
    assert shared.layers == ("conv", "skip") and (shared.parameters, shared.macs) == (0, 40)


def test_removal_layer_by_layer_is_refused():
    with pytest.raises(SearchSpaceError, match="'a' offers 0 bits with granularity 'layer'.*'channel'"):
        build_space(chain(), [Rule(match="a", weights=(0, 4))])


def test_zero_is_not_offered_where_channels_must_stay_and_a_note_says_why():
    space = build_space(chain(), [Rule(match="*", weights=(0, 4), granularity="channel")])
    assert space.choices["a/kernel"].bits == (0, 4) and space.choices["c/kernel"].bits == (4,)
    assert (
        "0 bits is not offered at c, whose channels must stay: they are the model's output." in space.notes
    )


@pytest.mark.parametrize("path", ["a", "c"], ids=["removable", "frozen"])
def test_nothing_but_zero_bits_is_refused(path):
    with pytest.raises(SearchSpaceError, match=f"'{path}' offers only 0 bits"):
        build_space(chain(), [Rule(match=path, weights=(0,), granularity="channel")])


def test_added_layers_share_one_mask_and_keep_their_own_bits():
    space = build_space(residual(), [Rule(match="*", weights=(0, 2, 4), granularity="channel")])
    assert space.choices["stem/kernel"].bits == space.choices["conv/kernel"].bits == (2, 4)
    mask = space.choices["stem/channels"]
    assert (mask.kind, mask.bits, mask.layers, mask.decisions) == ("mask", (0, 1), ("stem", "conv"), 4)
    assert space.choices["skip/kernel"].bits == (0, 2, 4), "alone on its channels, it needs no mask"
    assert list(space.choices)[-1] == "stem/channels"


def test_zero_is_not_offered_if_a_tied_layer_cannot_follow():
    rules = [Rule(match="*", weights=(2, 4), granularity="channel"), Rule(match="stem", weights=(0, 2))]
    space = build_space(residual(), rules)
    assert "stem/channels" not in space.choices and space.choices["stem/kernel"].bits == (2,)
    assert any("0 bits is not offered at stem: conv must keep the same channels" in n for n in space.notes)


def test_tied_layers_with_different_granularities_are_refused():
    rules = [Rule(match="*", weights=(0, 4), granularity="channel"), Rule(match="conv", granularity=2)]
    with pytest.raises(SearchSpaceError, match="stem, conv must keep the same channels.*granularities"):
        build_space(residual(), rules)


def test_contradictory_activations_of_one_tensor_are_refused():
    rules = [Rule(match="*", activations=(4, 8)), Rule(match="skip", activations=(8,))]
    with pytest.raises(SearchSpaceError, match=r"'conv' and 'skip' read the same tensor.*\[4, 8\] and \[8\]"):
        build_space(residual(), rules)


def test_contradictory_ranges_of_one_tensor_are_refused():
    rules = [Rule(match="*", activations=(4, 8)), Rule(match="skip", activation_range="moving")]
    with pytest.raises(SearchSpaceError, match="'conv' and 'skip' read the same.*'learned' and 'moving'"):
        build_space(residual(), rules)


def test_contradictory_gradients_of_one_tensor_are_refused():
    rules = [Rule(match="*", activations=(4, 8)), Rule(match="skip", activation_gradient="ewgs")]
    message = "'conv' and 'skip' read the same tensor.*activation_gradient 'clipped' and 'ewgs'"
    with pytest.raises(SearchSpaceError, match=message):
        build_space(residual(), rules)


def test_a_reader_without_activations_leaves_the_tensor_to_the_other():
    rules = [Rule(match="*", activations=(8,)), Rule(match="skip", activations=())]
    choice = build_space(residual(), rules).choices["conv/input"]
    assert choice.layers == ("conv",)


def test_a_shared_tensor_is_signed_if_any_reader_sees_negative_values():
    work = changed(residual(), "skip", signed=True)
    choice = build_space(work, [Rule(match="*", activations=(8,))]).choices["conv/input"]
    assert choice.candidates[0].format.signed


def test_a_layer_without_a_hook_can_be_named_only_to_exclude_it():
    work = changed(chain(), "b", obstacle="an Einsum has no hook for its product")
    with pytest.raises(SearchSpaceError, match="attached to 'b': an Einsum has no hook.*weights = \\[\\]"):
        build_space(work, [Rule(match="*", weights=(4,))])
    rules = [Rule(match="*", weights=(4,), activations=(8,)), Rule(match="b", weights=(), activations=())]
    assert "b/kernel" not in build_space(work, rules).choices


def test_ties_name_members_and_reasons():
    rule = Rule(match="*", weights=(0, 4), activations=(8,), granularity="channel")
    space = build_space(residual(), [rule])
    channels, tensor = space.ties
    assert (channels.name, channels.kind, channels.members) == ("stem/channels", "channels", ("stem", "conv"))
    assert channels.why == "added in f (net.py:1)" and channels.searched
    assert (tensor.name, tensor.kind, tensor.members) == ("conv/input", "tensor", ("conv", "skip"))
    unsearched = build_space(residual(), []).ties
    assert [tie.searched for tie in unsearched] == [False]
