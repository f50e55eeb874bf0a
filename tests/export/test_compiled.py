"""Tests of mpnas/export/compiled.py: its integers are those of the definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_graphs import gated, wide
from random_graphs import random_graph

from mpnas.export import Contraction, IntegerGraph, Quantise, Tensor, compiled, integer


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=6, derandomize=True)
def test_random_graphs_give_the_same_integers_everywhere(seed):
    graph = random_graph(seed)
    x = np.random.default_rng(seed).normal(size=(3, *graph.tensors["x"].shape)).astype(np.float32) * 3
    expected = integer.every_tensor(graph, x)
    found = compiled.every_tensor(graph)(x)
    assert expected.keys() == found.keys() == graph.tensors.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(values, np.asarray(found[name]), err_msg=name)
        if graph.tensors[name].kind != "real":
            low, high = graph.tensors[name].range
            assert values.min() >= low and values.max() <= high
    assert np.asarray(found[graph.output]).dtype == np.float32


def test_tables_and_products_of_30_bits_give_the_same_integers():
    graph, x = gated(), wide(500)
    expected, found = integer.every_tensor(graph, x), compiled.every_tensor(graph)(x)
    for name, values in expected.items():
        np.testing.assert_array_equal(values, np.asarray(found[name]), err_msg=name)
    assert len(np.unique(expected["u"])) > 5000


@pytest.mark.parametrize("terms", [900, 1100])
def test_sums_beyond_float32_are_exact(terms):
    """1040 products of 127 * 127 reach 2^24: one more unit would be lost in float32."""
    codes = np.full((terms, 1), 127, np.int32)
    codes[0] = 1
    op = Contraction(
        "a", "q", "s", "a", codes, np.array([8]), np.zeros(1, np.int64), np.zeros(1, bool),
        np.zeros(1, np.int64),
    )
    tensors = [Tensor("x", (terms,), "real"), Tensor("q", (terms,), "code", 8), Tensor("s", (1,), "sum")]
    graph = IntegerGraph("x", "s", {t.name: t for t in tensors}, (Quantise("i", "x", "q"), op))
    x = np.full((1, terms), 127, np.float32)
    x[0, 0] = 1
    assert int(compiled.compiled(graph)(x)[0, 0]) == (terms - 1) * 127 * 127 + 1
