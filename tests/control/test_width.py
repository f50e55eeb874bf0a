"""Tests of mpnas/control/width.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from control_choices import choice

from mpnas.control import NCE, Arch, Exponential
from mpnas.errors import ConfigError
from mpnas.quant import PerTensor
from mpnas.space import Choice, Width

COUNTS = {4: 0.5, 6: 0.75, 8: 1.0, 12: 1.5, 16: 2.0}
WIDTHS = Choice("a/width", "width", ("a",), tuple(Width(n, s) for n, s in COUNTS.items()), PerTensor(), (16,))
CHOICES = {"a/width": WIDTHS, "a/kernel": choice("a/kernel", 3, (2, 8))}
GIVEN = 3  # widths up to that of the given network


def drawn(relaxation, arch, seed):
    return np.asarray(relaxation.gates(arch, CHOICES, progress=0.5, key=jax.random.key(seed))["a/width"][0])


def test_two_unlocked_widths_are_in_the_mix():
    relaxation = NCE()
    arch = relaxation.init(CHOICES)
    mixes = [drawn(relaxation, arch, seed) for seed in range(30)]
    assert all(np.count_nonzero(mix) == 2 and not mix[GIVEN:].any() for mix in mixes)
    assert {tuple(np.flatnonzero(mix)) for mix in mixes} == {(0, 1), (0, 2), (1, 2)}


def test_shares_of_the_two_are_the_softmax_of_their_noisy_logits():
    relaxation = NCE(tau=Exponential(2.0, 2.0))
    logits = jnp.array([[0.3, -0.2, 0.9, 0.0, 0.0]])
    arch = Arch({"a/width": logits}, {"a/width": jnp.int32(GIVEN)})
    found = relaxation.gates(arch, {"a/width": WIDTHS}, progress=0.0, key=jax.random.key(7))["a/width"][0]
    noise = jax.random.gumbel(jax.random.fold_in(jax.random.key(7), 0), (1, 5))[0]
    noisy = np.asarray((logits[0] + noise) / 2, np.float64)[:GIVEN]
    two = np.sort(noisy)[1:]
    np.testing.assert_allclose(np.sort(found)[-2:], np.exp(two) / np.exp(two).sum(), rtol=1e-5)


def test_a_group_that_wants_its_widest_unlocks_the_next_with_the_same_logit():
    relaxation = NCE(threshold=0.5, warmup=0.2)
    arch = Arch({"a/width": jnp.array([[0.0, 0.0, 3.0, -7.0, -7.0]])}, {"a/width": jnp.int32(GIVEN)})

    def after(progress):
        return relaxation.event(arch, {"a/width": WIDTHS}, over_budget=False, progress=progress)

    assert int(after(0.1).memory["a/width"]) == GIVEN, "not before the warm-up"
    grown = after(0.2)
    assert int(grown.memory["a/width"]) == GIVEN + 1
    np.testing.assert_array_equal(grown.logits["a/width"][0], [0, 0, 3, 3, -7])
    shares = relaxation.probabilities(grown, {"a/width": WIDTHS})["a/width"][0]
    assert shares[2] == shares[3] < 0.5 and shares[4] == 0
    again = relaxation.event(grown, {"a/width": WIDTHS}, over_budget=False, progress=0.3)
    assert int(again.memory["a/width"]) == GIVEN + 1, "its preference is spread over two now"


def test_nothing_is_unlocked_beyond_the_last_width():
    relaxation = NCE(warmup=0.0)
    arch = Arch({"a/width": jnp.array([[0.0, 0.0, 0.0, 0.0, 9.0]])}, {"a/width": jnp.int32(5)})
    assert int(relaxation.event(arch, {"a/width": WIDTHS}, over_budget=False, progress=1.0).memory[
        "a/width"]) == 5


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"threshold": 1.0}, {"warmup": 1.5}])
def test_values_out_of_range_are_a_sentence(wrong):
    with pytest.raises(ConfigError, match="NCE needs 0 < threshold < 1 and 0 <= warmup <= 1"):
        NCE(**wrong)
