"""Tests of mpnas/cost/program.py."""

import itertools

import numpy as np
import pytest

from mpnas.cost.program import Program


@pytest.mark.parametrize("seed", range(5))
def test_knapsack_is_solved_as_by_trying_all(seed):
    rng = np.random.default_rng(seed)
    worth, weight = rng.random(8), rng.random(8)
    program = Program(8)
    program.add(weight[None], -np.inf, weight.sum() / 2)
    picked = program.solve(worth)
    every = np.array(list(itertools.product((0, 1), repeat=8)))
    best = (every @ worth)[every @ weight <= weight.sum() / 2].max()
    assert picked.sum() == pytest.approx(np.round(picked).sum())
    assert picked @ worth == pytest.approx(best)


def test_real_variable_that_comes_late_widens_the_lines_before():
    program = Program(2)
    program.add(np.array([[1.0, 1.0]]), 1, 1)
    above = program.variable()
    for gates in ([3.0, 0.0], [0.0, 2.0]):  # above >= 3 x0, above >= 2 x1
        program.add_line(np.array(gates), {above: -1.0}, -np.inf, 0)
    program.add_line(np.zeros(2), {above: 1.0}, -np.inf, 2.5)
    np.testing.assert_allclose(program.solve(np.array([9.0, 1.0])), [0, 1], atol=1e-9)


def test_what_cannot_be_met_has_no_solution_and_nothing_is_printed(capfd):
    program = Program(1)
    program.add(np.ones((1, 1)), 2, 3)
    assert program.solve(np.ones(1)) is None
    assert capfd.readouterr().out == ""
