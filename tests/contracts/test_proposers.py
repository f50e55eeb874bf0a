"""Tests of mpnas/control: what every proposer and every scorer promises."""

import functools

import numpy as np
import pytest
from controllers import PROPOSERS, SCORERS, choices, space

from mpnas.control import Importance, Measuring
from mpnas.cost import COSTS, achievable, measure

REFERENCES = {"uniform", "uniform_2", "random", "random_flat"}
EVERY_PROPOSER = pytest.mark.parametrize("proposer", PROPOSERS.values(), ids=PROPOSERS.keys())
PRICED = [cost for cost in COSTS if cost.name in {"weight_bytes", "bops"}]


def started(proposer):
    """The memory of a proposer that has been told what it wants to be measured."""
    scores = None
    if isinstance(proposer, Measuring):
        draw = np.random.default_rng(5)
        kernels = {s: space().choices[s].decisions for s in space().weight_site.values()}
        scores = {site: draw.uniform(0, 3, (decisions, 1)) for site, decisions in kernels.items()}
    return proposer.init(space(), scores)


def limits_at(share):
    reach = achievable(PRICED, space())
    return {name: low + share * (high - low) for name, (low, high) in reach.items()}


price = functools.lru_cache(None)(lambda: functools.partial(measure, PRICED, space()))


def ask(proposer, seed=0, count=3, share=0.5):
    limits, rng = limits_at(share), np.random.default_rng(seed)
    return proposer.ask(started(proposer), space(), rng, count, price(), limits), limits


def answers(proposer, seed=0, share=0.5):
    """Every assignment of a whole search, whose loss is the share of low bits, with the last memory."""
    rng, memory, heard = np.random.default_rng(seed), started(proposer), []
    for _ in range(min(proposer.evaluations, 40)):
        asked = proposer.ask(memory, space(), rng, 1, price(), limits_at(share))
        if not asked:
            break
        low = np.mean([b < 8 for bits in asked[0].bits.values() for b in bits])
        memory = proposer.tell(memory, [(asked[0], {"loss": low, "accuracy": 1 - low})])
        heard += asked
    return heard, memory


@EVERY_PROPOSER
@pytest.mark.parametrize("count", [0, 1, 4])
def test_no_more_networks_are_proposed_than_were_asked_for(proposer, count):
    proposed, _ = ask(proposer, count=count)
    # Who goes step by step has only one at a time.
    assert len(proposed) == (min(count, 1) if isinstance(proposer, Importance) else count)
    for assignment in proposed:
        space().check(assignment)


@EVERY_PROPOSER
def test_same_random_state_gives_the_same_proposals(proposer):
    assert ask(proposer)[0] == ask(proposer)[0]
    assert answers(proposer)[0] == answers(proposer)[0]


@EVERY_PROPOSER
def test_hearing_leaves_the_old_memory_as_it_was(proposer):
    """A memory is a value: asking it again, after more was heard, gives the same again."""
    memory, limits = started(proposer), limits_at(0.5)
    before = proposer.ask(memory, space(), np.random.default_rng(1), 1, price(), limits)
    proposer.tell(memory, [(before[0], {"accuracy": 0.5, "loss": 0.7})])
    assert proposer.ask(memory, space(), np.random.default_rng(1), 1, price(), limits) == before


@EVERY_PROPOSER
def test_answers_are_heard(proposer):
    proposed, _ = ask(proposer)
    memory = proposer.tell(started(proposer), [(proposed[0], {"accuracy": 0.5, "loss": 0.7})])
    again = proposer.ask(memory, space(), np.random.default_rng(1), 1, price(), limits_at(0.5))
    assert len(again) == 1


@pytest.mark.parametrize("name", sorted(set(PROPOSERS) - REFERENCES))
def test_who_searches_never_asks_about_the_same_network_twice(name):
    heard, _ = answers(PROPOSERS[name])
    assert len(heard) > 1
    assert len({str(assignment) for assignment in heard}) == len(heard)


@pytest.mark.parametrize("name", sorted(set(PROPOSERS) - REFERENCES))
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_search_ends_within_every_limit(name, share):
    heard, _ = answers(PROPOSERS[name], share=share)
    limits = limits_at(share)
    fitting = [all(v <= limits[c] for c, v in price()(assignment).items()) for assignment in heard]
    # One comes down from above and ends when it is within; the others are always within.
    assert fitting[-1] and (all(fitting) or name == "importance" and not any(fitting[:-1]))
    for assignment in heard:
        space().check(assignment)


@pytest.mark.parametrize("name", sorted(set(PROPOSERS) - {"uniform", "uniform_2", "importance"}))
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_first_proposals_are_within_every_limit(name, share):
    proposed, limits = ask(PROPOSERS[name], share=share)
    for assignment in proposed:
        assert all(value <= limits[cost] for cost, value in price()(assignment).items())


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_preference_falls_as_the_score_rises_and_sums_of_its_logarithms_keep_their_order(name):
    draw = np.random.default_rng(0)
    scores = {s: draw.gamma(0.3, 1.0, (c.decisions, len(c.bits))) for s, c in choices().items()}
    wanted = SCORERS[name].preference(scores)
    flat = np.concatenate([v.ravel() for v in scores.values()])
    logs = np.log(np.concatenate([wanted[s].ravel() for s in scores]))
    assert np.all(np.isfinite(logs)) and np.all(logs > -30)
    np.testing.assert_allclose(logs / logs.min(), flat / flat.max(), atol=1e-12)


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_network_that_nothing_changes_is_preferred_evenly(name):
    zeros = {s: np.zeros((c.decisions, len(c.bits))) for s, c in choices().items()}
    for wanted in SCORERS[name].preference(zeros).values():
        np.testing.assert_array_equal(wanted, 1)
