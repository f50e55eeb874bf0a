"""Tests of mpnas/space/resolve.py."""

import pytest
from work_maker import chain, changed, residual

from mpnas.errors import SearchSpaceError
from mpnas.quant import PerChannel, PerTensor
from mpnas.space import Rule, build_space, resolve
from mpnas.space.resolve import DEFAULTS, matches


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


def test_a_rule_that_matches_nothing_names_the_nearest_layers():
    with pytest.raises(SearchSpaceError, match=r"'skp\*' matches none of the 4 layers.*nearest: 'skip'"):
        build_space(residual(), [Rule(match="skp*", weights=(2,))])


def test_patterns_tell_upper_from_lower_case():
    with pytest.raises(SearchSpaceError, match="matches none"):
        build_space(chain(), [Rule(match="A", weights=(2,))])


def test_a_layer_without_a_hook_can_be_named_only_to_exclude_it():
    work = changed(chain(), "b", obstacle="an Einsum has no hook for its product")
    with pytest.raises(SearchSpaceError, match="attached to 'b': an Einsum has no hook.*weights = \\[\\]"):
        build_space(work, [Rule(match="*", weights=(4,))])
    rules = [Rule(match="*", weights=(4,), activations=(8,)), Rule(match="b", weights=(), activations=())]
    assert "b/kernel" not in build_space(work, rules).choices


def test_without_rules_every_layer_has_the_defaults():
    resolved = resolve(chain(), [])
    assert resolved == {path: DEFAULTS for path in "abc"}
    assert not (DEFAULTS["weights"] or DEFAULTS["activations"] or DEFAULTS["widths"]), "nothing is searched"


def test_only_what_a_rule_says_is_changed():
    resolved = resolve(chain(), [Rule(match="b", weights=(4,), widths=(0.5, 1)), Rule(match="*", scale=2)])
    assert resolved["b"] == DEFAULTS | {"weights": (4,), "widths": (0.5, 1), "scale": 2}
    assert resolved["a"] == resolved["c"] == DEFAULTS | {"scale": 2}


@pytest.mark.parametrize("pattern, paths", [
    ("@first", ["stem"]), ("@last", ["head"]), ("@ends", ["stem", "head"]),
    ("*", ["stem", "conv", "skip", "head"]), ("s*", ["stem", "skip"]), ("?????", []),
    ("[!s]*", ["conv", "head"]), ("skip", ["skip"]),
])
def test_patterns_and_ends_name_layers_in_program_order(pattern, paths):
    if paths:
        assert matches(residual(), Rule(match=pattern)) == paths
    else:
        with pytest.raises(SearchSpaceError, match="matches none of the 4 layers"):
            matches(residual(), Rule(match=pattern))


def test_the_last_rule_can_spare_the_ends():
    rules = [Rule(match="*", weights=(2, 4), activations=(4,)), Rule(match="@ends", weights=(8,))]
    resolved = resolve(residual(), rules)
    assert [resolved[path]["weights"] for path in ("stem", "conv", "skip", "head")] == [
        (8,), (2, 4), (2, 4), (8,)
    ]
    assert resolved["head"]["activations"] == (4,)


def test_a_layer_without_a_hook_may_have_another_width():
    work = changed(chain(), "b", obstacle="an Einsum has no hook for its product")
    assert resolve(work, [Rule(match="b", widths=(0.5, 1))])["b"]["widths"] == (0.5, 1)
