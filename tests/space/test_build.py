"""Tests of mpnas/space/build.py."""

import dataclasses

import pytest
from work_maker import chain, changed, residual

from mpnas.errors import SearchSpaceError
from mpnas.quant import FloatFormat, IntFormat, PerTensor, Subgroup
from mpnas.space import Lanes, Rule, build_space


def test_an_empty_tuple_takes_a_layer_out_again_and_a_note_says_so():
    space = build_space(chain(), [Rule(match="*", weights=(2, 4)), Rule(match="b", weights=())])
    assert set(space.choices) == {"a/kernel", "c/kernel"}
    assert "kept in float32, no rule gives them weights: b." in space.notes


def test_no_rules_open_no_choice():
    space = build_space(chain(), [])
    assert space.choices == {} and space.decisions == 0
    assert space.notes == ("kept in float32, no rule gives them weights: a, b, c.",)


def test_words_become_granularities_on_the_output_axis():
    rules = [Rule(match="*", weights=(4,)), Rule(match="a", granularity=3, scale=2)]
    space = build_space(chain(), rules)
    a = space.choices["a/kernel"]
    assert a.granularity == Subgroup(3, 3) and a.candidates[0].granularity == Subgroup(2, 3)
    assert a.decisions == 2, "4 channels in threes"
    assert space.choices["b/kernel"].granularity == PerTensor()


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


def test_a_reader_without_activations_leaves_the_tensor_to_the_other():
    rules = [Rule(match="*", activations=(8,)), Rule(match="skip", activations=())]
    choice = build_space(residual(), rules).choices["conv/input"]
    assert choice.layers == ("conv",)


def test_a_shared_tensor_is_signed_if_any_reader_sees_negative_values():
    work = changed(residual(), "skip", signed=True)
    choice = build_space(work, [Rule(match="*", activations=(8,))]).choices["conv/input"]
    assert choice.candidates[0].format.signed


def test_ties_name_members_and_reasons():
    rule = Rule(match="*", weights=(0, 4), activations=(8,), granularity="channel")
    space = build_space(residual(), [rule])
    channels, tensor = space.ties
    assert (channels.name, channels.kind, channels.members) == ("stem/channels", "channels", ("stem", "conv"))
    assert channels.why == "added in f (net.py:1)" and channels.searched
    assert (tensor.name, tensor.kind, tensor.members) == ("conv/input", "tensor", ("conv", "skip"))
    unsearched = build_space(residual(), []).ties
    assert [tie.searched for tie in unsearched] == [False]


def test_the_last_subgroup_is_shorter_where_the_size_does_not_divide():
    space = build_space(residual(), [Rule(match="*", weights=(0, 4), granularity=4)])
    skip, mask = space.choices["skip/kernel"], space.choices["stem/channels"]
    assert (skip.decisions, space.channel_decision["skip/kernel"].tolist()) == (2, [0, 0, 0, 0, 1, 1])
    assert mask.granularity == Subgroup(4, 0) and mask.decisions == 1


def test_one_width_is_chosen_for_all_layers_that_write_a_group():
    space = build_space(residual(), [Rule(match="*", weights=(0, 4), granularity="channel", widths=(0.5, 1))])
    width = space.choices["stem/width"]
    assert (width.kind, width.layers, width.bits, width.decisions) == ("width", ("stem", "conv"), (2, 4), 1)
    assert width.granularity_name == "group" and not width.removes
    assert space.choices["skip/width"].bits == (3, 6)
    assert space.width_site == {"stem/channels": "stem/width", "skip/channels": "skip/width"}
    assert list(space.choices)[-3:] == ["stem/channels", "stem/width", "skip/width"], "widths come last"
    assert any(note.startswith("widths are not offered at head") for note in space.notes)


def test_widths_of_a_widened_network_are_shares_of_the_given_one():
    # 4 and 6 channels were given; the work has 1.5 times as many.
    given = {"stem/channels": 4, "skip/channels": 6}
    wide = residual()
    layers = tuple(
        dataclasses.replace(
            one, writes=Lanes.of("stem/channels", 6), kernel_shape=(*one.kernel_shape[:-1], 6)
        ) if one.path in ("stem", "conv") else one
        for one in wide.layers
    )
    groups = {**wide.groups, "stem/channels": dataclasses.replace(wide.groups["stem/channels"], size=6)}
    space = build_space(dataclasses.replace(wide, layers=layers, groups=groups),
                        [Rule(match="*", widths=(0.5, 1, 1.5)), Rule(match="skip", widths=(1,))], given=given)
    assert space.choices["stem/width"].bits == (2, 4, 6) and space.choices["skip/width"].bits == (6,)
    assert [candidate.share for candidate in space.choices["stem/width"].candidates] == [0.5, 1, 1.5]


def test_a_layer_that_writes_two_groups_has_a_mask_for_each():
    # `b` writes 5 channels: 3 of its own and 2 that `c` has, too.
    work = chain()
    group = work.groups["b/channels"]
    own = dataclasses.replace(group, size=3)
    shared = dataclasses.replace(group, name="b/channels@2", size=2)
    lanes = Lanes((("b/channels", (0, 1, 2)), ("b/channels@2", (0, 1))))
    work = changed(changed(work, "b", writes=lanes), "c", reads=lanes)
    work = dataclasses.replace(work, groups={**work.groups, "b/channels": own, "b/channels@2": shared})
    rule = Rule(match="*", weights=(0, 4), granularity="channel", widths=(0.5, 1))
    space = build_space(work, [rule])
    assert {s: c.decisions for s, c in space.choices.items() if c.kind == "mask"} == {
        "b/channels": 3, "b/channels@2": 2
    }
    assert space.choices["b/kernel"].bits == (4,) and space.choices["a/kernel"].bits == (0, 4)
    assert space.width_site["b/channels@2"] == "b/channels@2/width"
    assert space.choices["b/channels@2/width"].bits == (1, 2)
