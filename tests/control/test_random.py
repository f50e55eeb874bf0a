"""Tests of mpnas/control/random.py."""

import numpy as np
import pytest
from control_choices import bit_sum, chain
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.control import Random, RandomSearch
from mpnas.control.random import TILTS, _tilted
from mpnas.errors import BudgetError, ConfigError
from mpnas.space import Rule

SPACE = chain()
SUBGROUPS = chain((3, 7, 2), Rule(match="*", weights=(0, 8), granularity=3))
HIGHEST = bit_sum(SPACE.uniform(None))["bits"]
# One channel of l0 and of l1 and both outputs of l2 at 2 bits, three inputs at 4.
LOWEST = 2 + 2 + 2 * 2 + 3 * 4


def ask(limit, seed=0, space=SPACE, count=1, **options):
    rng = np.random.default_rng(seed)
    return Random(**options).ask(None, space, rng, count, bit_sum, {"bits": limit})


@settings(deadline=None, max_examples=40)
@given(st.floats(LOWEST, HIGHEST), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.5, 10.0]))
def test_draw_is_within_the_limit_and_one_decision_away_from_it(limit, seed, spread):
    (found,) = ask(limit, seed, spread=spread)
    SPACE.check(found)
    cost = bit_sum(found)["bits"]
    # A decision steps by 8 bits at most; only one of them changes at a time.
    assert limit - 8 < cost <= limit or cost == HIGHEST


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.lists(st.floats(-50, 50), min_size=2, max_size=6))
def test_no_decision_rises_as_the_tilt_grows(seed, tilts):
    rng = np.random.default_rng(seed)
    draws = {site: rng.random(choice.decisions) for site, choice in SPACE.choices.items()}
    offsets = {site: rng.normal() for site in SPACE.choices}
    keeps = {site: int(rng.integers(SPACE.choices[site].decisions)) for site in SPACE.remover.values()}
    before = None
    for tilt in sorted(tilts):
        found = _tilted(SPACE, draws, {site: tilt + offset for site, offset in offsets.items()}, keeps)
        if before is not None:
            assert all(np.all(np.array(found.bits[s]) <= before.bits[s]) for s in SPACE.choices)
        before = found


def test_tilts_reach_from_the_highest_assignment_to_the_lowest():
    draws = {site: np.linspace(0, 1 - 2**-53, c.decisions) for site, c in SPACE.choices.items()}
    keeps = {site: 0 for site in SPACE.remover.values()}
    ends = [_tilted(SPACE, draws, dict.fromkeys(SPACE.choices, tilt), keeps) for tilt in TILTS]
    assert ends[0] == SPACE.uniform(None)
    assert bit_sum(ends[1])["bits"] == LOWEST


@pytest.mark.parametrize("tilt", [-2.0, 0.0, 3.0])
def test_candidates_are_drawn_with_the_stated_probabilities(tilt):
    wide = chain((2, 20000, 2), Rule(match="l0", weights=(0, 2, 4, 8), granularity="channel"))
    draws = {"l0/kernel": np.random.default_rng(0).random(20000)}
    found = _tilted(wide, draws, {"l0/kernel": tilt}, {})
    weights = np.exp(-tilt * np.array([0, 2, 4, 8]) / 8)
    for bits, expected in zip((0, 2, 4, 8), weights / weights.sum(), strict=True):
        share = np.mean(np.array(found.bits["l0/kernel"]) == bits)
        assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / 20000)


def test_draws_differ_from_each_other_and_between_layers():
    found = ask((LOWEST + HIGHEST) / 2, count=5, spread=3.0)
    assert len({str(assignment.bits) for assignment in found}) == 5
    means = np.array([[np.mean(a.bits["l0/kernel"]), np.mean(a.bits["l1/kernel"])] for a in found])
    assert np.abs(means[:, 0] - means[:, 1]).max() > 1


def test_limit_above_everything_gives_the_highest_assignment():
    assert ask(HIGHEST)[0] == SPACE.uniform(None)
    assert Random().ask(None, SPACE, np.random.default_rng(0), 1, bit_sum, {})[0] == SPACE.uniform(None)


def test_lowest_limit_is_met_also_where_one_subgroup_is_shorter():
    def channels(assignment):
        alive = np.array(assignment.bits["l0/kernel"])[SUBGROUPS.channel_decision["l0/kernel"]] > 0
        return {"channels": float(alive.sum())}

    for seed in range(10):
        rng = np.random.default_rng(seed)
        (found,) = Random().ask(None, SUBGROUPS, rng, 1, channels, {"channels": 1.0})
        assert found.bits["l0/kernel"] == (0, 0, 8)


WIDTHS = chain((3, 6, 5, 2), Rule(match="*", weights=(0, 2, 8), granularity=2, widths=(0.5, 1)))


def weights(assignment):
    """The multiplications of the chain, which grow with every channel."""
    alive = WIDTHS.existing(WIDTHS.indices(assignment))
    first, second = alive["l0/channels"].sum(), alive["l1/channels"].sum()
    return {"macs": float(3 * first + first * second + second * 2)}


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_draws_with_widths_are_networks_within_the_limit(share, seed):
    # Pairs of channels decide together. Of l0 the least width, 3, cuts the second pair: one channel of it
    # is the cheapest to keep. Of l1 (round(2.5) = 2) it is the whole first pair. All there are is 6 by 5.
    lowest, highest = 3 * 1 + 1 * 2 + 2 * 2, 3 * 6 + 6 * 5 + 5 * 2
    limit = lowest + share * (highest - lowest)
    (found,) = Random().ask(None, WIDTHS, np.random.default_rng(seed), 1, weights, {"macs": limit})
    WIDTHS.check(found)
    assert weights(found)["macs"] <= limit


def test_impossible_limit_is_refused_with_the_cheapest_draw():
    with pytest.raises(BudgetError) as refused:
        ask(LOWEST - 1)
    assert str(refused.value) == (
        f"no random assignment meets bits <= {LOWEST - 1}; the cheapest has bits = {LOWEST}. "
        "Raise the budget."
    )


@pytest.mark.parametrize("spread", [-1.0, float("nan")])
def test_spread_is_not_negative(spread):
    with pytest.raises(ConfigError, match="spread >= 0"):
        Random(spread=spread)


def test_random_search_draws_as_random_does_and_nothing_twice():
    search, limits = RandomSearch(evaluations=20, spread=1.0), {"bits": 60.0}
    rng = np.random.default_rng(0)
    found = search.ask(search.init(SPACE), SPACE, rng, 20, bit_sum, limits)
    assert len({str(assignment.bits) for assignment in found}) == 20
    assert found[0] == ask(60.0, spread=1.0)[0]
    memory = search.tell(search.init(SPACE), [(found[0], {"loss": 1.0})])
    again = search.ask(memory, SPACE, np.random.default_rng(0), 19, bit_sum, limits)
    assert again == found[1:]


@pytest.mark.parametrize("changes", [{"evaluations": 0}, {"spread": -1.0}, {"spread": float("nan")}])
def test_random_search_refuses_numbers_out_of_range(changes):
    with pytest.raises(ConfigError, match="RandomSearch needs evaluations >= 1 and spread >= 0"):
        RandomSearch(**changes)
