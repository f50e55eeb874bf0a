"""Tests of mpnas/pareto/dominance.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mpnas.pareto.dominance import nondominated


def by_definition(values, directions):
    """The same by the definition, two loops over Python numbers."""
    signs = [1 if word == "max" else -1 for word in directions]
    rows = [[sign * value for sign, value in zip(signs, row, strict=True)] for row in values]
    return [
        not any(
            all(a >= b for a, b in zip(other, row, strict=True))
            and any(a > b for a, b in zip(other, row, strict=True))
            for other in rows
        )
        for row in rows
    ]


@pytest.mark.parametrize(
    "values, expected",
    [
        ([], []),
        ([[0.5, 1]], [True]),
        ([[0.5, 1], [0.5, 1]], [True, True]),
        ([[0.5, 1], [0.5, 2]], [True, False]),
        ([[0.5, 1], [0.6, 1]], [False, True]),
        ([[0.9, 9], [0.8, 5], [0.7, 5], [0.6, 1]], [True, True, False, True]),
    ],
    ids=["none", "one", "tie_keeps_both", "equal_metric", "equal_cost", "four"],
)
def test_hand_made_fronts(values, expected):
    assert nondominated(values, ["max", "min"]).tolist() == expected


# Few distinct values, so that exact ties and weak dominance are common.
small = st.integers(1, 4).flatmap(
    lambda m: st.tuples(
        arrays(np.int64, st.tuples(st.integers(0, 25), st.just(m)), elements=st.integers(0, 3)),
        st.lists(st.sampled_from(["max", "min"]), min_size=m, max_size=m),
    )
)


@settings(deadline=None, max_examples=50)
@given(small)
def test_it_is_the_definition(case):
    values, directions = case
    assert nondominated(values, directions).tolist() == by_definition(values.tolist(), directions)


def test_blocks_do_not_change_the_answer():
    values = np.random.default_rng(0).integers(0, 40, (600, 2))
    assert nondominated(values, ["max", "min"]).tolist() == by_definition(
        values.tolist(), ["max", "min"]
    )


@pytest.mark.parametrize(
    "values, directions, says",
    [
        ([[1.0, float("nan")]], ["max", "min"], "finite"),
        ([[1.0, 2.0]], ["max"], r"\(1, 2\)"),
        ([1.0, 2.0], ["max", "min"], r"\(2,\)"),
        ([[1.0]], ["largest"], "'max' or 'min'"),
    ],
    ids=["nan", "columns", "rank", "word"],
)
def test_values_that_cannot_be_compared_are_refused(values, directions, says):
    with pytest.raises(ValueError, match=says):
        nondominated(values, directions)
