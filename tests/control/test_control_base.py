"""Tests of mpnas/control/base.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from control_choices import choice, mask

from mpnas.control import Arch, mean_entropy, undecided_share
from mpnas.control.base import even_logits


def test_arch_is_a_pytree_of_logits_and_memory():
    doubled = jax.tree.map(lambda a: 2 * a, Arch({"a": jnp.ones(2)}, {"b": jnp.arange(3)}))
    np.testing.assert_array_equal(doubled.logits["a"], [2, 2])
    np.testing.assert_array_equal(doubled.memory["b"], [0, 2, 4])


def test_logits_rise_in_proportion_to_the_bits():
    logits = even_logits({"a": choice("a", 2, (0, 2, 4, 8)), "m": mask("m", 3)}, lean=2.0)
    np.testing.assert_allclose(logits["a"], [[0, 0.5, 1, 2]] * 2)
    np.testing.assert_allclose(logits["m"], [[0, 2]] * 3)


def test_logits_of_a_site_that_can_only_be_removed_are_finite():
    np.testing.assert_array_equal(even_logits({"a": choice("a", 1, (0,))}, lean=1.0)["a"], [[0]])


def test_entropy_is_zero_when_decided_one_when_even_and_averages_over_decisions():
    sure, even = np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])
    assert float(mean_entropy({"a": sure})) == pytest.approx(0, abs=1e-6)
    assert float(mean_entropy({"a": even, "b": np.full((2, 4), 0.25)})) == pytest.approx(1)
    assert float(mean_entropy({"a": sure, "b": np.full((3, 4), 0.25)})) == pytest.approx(3 / 4)
    third = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75)) / np.log(2)
    assert float(mean_entropy({"a": np.array([[0.25, 0.75]])})) == pytest.approx(third)


def test_site_with_one_candidate_has_no_entropy_to_average():
    assert float(mean_entropy({"a": np.ones((5, 1)), "b": np.array([[0.5, 0.5]])})) == pytest.approx(1)
    assert mean_entropy({"a": np.ones((5, 1))}) == mean_entropy({}) == 0


def test_undecided_share_counts_decisions_below_the_threshold():
    p = {"a": np.array([[0.95, 0.05], [0.6, 0.4]]), "b": np.array([[0.2, 0.8], [0.0, 1.0]])}
    assert float(undecided_share(p)) == 0.5
    assert float(undecided_share(p, threshold=0.7)) == 0.25
    assert undecided_share({}) == 0
