"""Tests of mpnas/control/evolution.py."""

import numpy as np
import pytest
from control_choices import bit_sum, chain

from mpnas.control import Evolution, RandomSearch
from mpnas.control.ladder import Ladder, key_of
from mpnas.errors import ConfigError
from mpnas.space import Rule

LAYERS = chain((3, 4, 4, 4, 4, 4, 2), Rule(match="*", weights=(1, 2, 3, 4, 6, 8), activations=(4, 8)))
CHANNELS = chain()


def weighted(space, seed=0):
    """A loss that is a sum over decisions, of which the best within a budget is known by brute force."""
    draw = np.random.default_rng(seed)
    worth = {s: draw.gamma(0.5, 1.0, c.decisions) for s, c in space.choices.items()}

    def loss(assignment):
        return float(sum(
            (worth[s] * 2.0 ** -np.asarray(bits, float)).sum() for s, bits in assignment.bits.items()
        ))

    return loss


def run(proposer, space, loss, limit, seed=0):
    """Every assignment that is asked about, with its loss, and the last memory."""
    rng, memory, heard = np.random.default_rng(seed), proposer.init(space), []
    for _ in range(proposer.evaluations):
        asked = proposer.ask(memory, space, rng, 1, bit_sum, {"bits": limit})
        if not asked:
            break
        heard.append((asked[0], loss(asked[0])))
        memory = proposer.tell(memory, [(asked[0], {"loss": heard[-1][1]})])
    return heard, memory


def best_of(space, loss, limit):
    """The smallest loss of all assignments within a limit; adding up decisions is a small knapsack."""
    table = {0.0: 0.0}
    for site, choice in space.choices.items():
        for decision in range(choice.decisions):
            grown = {}
            for bits in choice.bits:
                only = {s: (0,) * c.decisions for s, c in space.choices.items()}
                base = space.uniform(None)
                alone = list(only[site])
                alone[decision] = bits
                lone = type(base)(bits=only | {site: tuple(alone)}, granularity=base.granularity)
                none = type(base)(bits=only, granularity=base.granularity)
                # A decision at 0 bits counts as 1 in the sum above: only the difference counts.
                change = loss(lone) - loss(none)
                for spent, so_far in table.items():
                    total = spent + bits
                    if total <= limit and so_far + change < grown.get(total, np.inf):
                        grown[total] = so_far + change
            table = grown
    return loss(none) + min(table.values())


def test_it_comes_closer_to_the_known_best_than_random_search_does():
    limit = 45.0
    gaps = {"evolution": [], "random": []}
    for seed in range(3):
        loss = weighted(LAYERS, seed)
        best = best_of(LAYERS, loss, limit)
        for name, proposer in (
            ("evolution", Evolution(evaluations=100, population=16, parents=4)),
            ("random", RandomSearch(evaluations=100)),
        ):
            heard, _ = run(proposer, LAYERS, loss, limit, seed)
            gaps[name].append(min(value for _, value in heard) - best)
    assert min(*gaps["evolution"], *gaps["random"]) >= -1e-9, "brute force is the best there is"
    assert np.mean(gaps["evolution"]) < 0.5 * np.mean(gaps["random"])


@pytest.mark.parametrize("limit", [24.0, 40.0, 80.0])
def test_every_child_is_feasible_unseen_and_a_network(limit):
    heard, _ = run(Evolution(evaluations=60, population=8, parents=3), CHANNELS, weighted(CHANNELS), limit)
    assert len(heard) == 60
    assert len({key_of(assignment) for assignment, _ in heard}) == 60
    for assignment, _ in heard:
        CHANNELS.check(assignment)
        assert bit_sum(assignment)["bits"] <= limit


def test_same_seed_has_the_same_children_and_another_seed_others():
    settings = Evolution(evaluations=40, population=8, parents=3)
    one, same, other = (run(settings, LAYERS, weighted(LAYERS), 45.0, seed)[0] for seed in (1, 1, 2))
    assert one == same != other


def test_oldest_die_first_also_the_best():
    settings = Evolution(evaluations=9, population=4, parents=2)
    heard, memory = run(settings, LAYERS, lambda a: 0.0, 45.0)
    ladder = Ladder(LAYERS)
    alive = [tuple(vector) for vector, _, _ in memory.alive]
    assert alive == [tuple(ladder.vector(assignment)) for assignment, _ in heard[-4:]]
    assert [number for _, _, number in memory.alive] == [5, 6, 7, 8]


def test_age_limit_lets_die_where_there_is_room():
    settings = Evolution(evaluations=9, population=20, parents=2, age_limit=3)
    _, memory = run(settings, LAYERS, weighted(LAYERS), 45.0)
    assert [number for _, _, number in memory.alive] == [6, 7, 8]


def test_loss_that_is_not_a_number_is_the_worst():
    settings = Evolution(population=3, parents=3, crossover=0.0)
    space, ladder = LAYERS, Ladder(LAYERS)
    first, second = space.uniform(2), space.uniform(4)
    memory = settings.tell(settings.init(space), [(first, {"loss": float("nan")}), (second, {"loss": 9.0})])
    for seed in range(5):
        parent = settings._parent(memory, np.random.default_rng(seed))
        np.testing.assert_array_equal(parent, ladder.vector(second))


def test_small_space_is_walked_through_and_then_left():
    tiny = chain((2, 2), Rule(match="*", weights=(2, 4), activations=(4, 8)))
    heard, _ = run(Evolution(evaluations=100, population=2, parents=1), tiny, weighted(tiny), 12.0)
    assert len(heard) == 4, "two sites of two candidates, all within the limit"


@pytest.mark.parametrize("changes", [
    {"evaluations": 0}, {"population": 1}, {"parents": 0}, {"parents": 25}, {"mutate": 0.0},
    {"mutate": float("nan")}, {"crossover": 1.5}, {"crossover": float("nan")}, {"age_limit": 0},
])
def test_numbers_out_of_range_are_refused(changes):
    with pytest.raises(ConfigError, match="Evolution needs"):
        Evolution(**changes)
