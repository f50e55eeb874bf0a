"""Tests of mpnas/export/interval.py."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import random_graph

from mpnas.errors import GraphError
from mpnas.export import (
    Add,
    Contraction,
    IntegerGraph,
    Multiply,
    Quantise,
    Requantise,
    Table,
    Tensor,
    integer,
)
from mpnas.export.interval import intervals, magnitude


def rows(*values):
    return np.array(values, np.int64)


def layer(codes, bits, bias=None):
    codes = np.array(codes, np.int32)
    out = codes.shape[-1]
    return Contraction(
        "a", "q", "s", "a", codes, rows(*bits), np.zeros(out, np.int64), np.zeros(out, bool),
        np.zeros(out, np.int64) if bias is None else rows(*bias),
    )


def graph(op, source, *more, tensors=(), output="s"):
    made = [Tensor("x", source.shape, "real"), source, Tensor("s", (op.out_channels,), "sum"), *tensors]
    return IntegerGraph("x", output, {t.name: t for t in made}, (Quantise("i", "x", "q"), op, *more))


def test_the_ends_of_a_sum_by_hand():
    """Unsigned 2 bits, 0 to 3: weights 1, -2 give -6 to 3, and 3 more with the bias; 2, 2 give 0 to 12."""
    op = layer([[1, 2], [-2, 2]], (3, 3), (3, 0))
    found = intervals(graph(op, Tensor("q", (2,), "code", 2, False)))
    assert [end.tolist() for end in found["s"]] == [[-3, 0], [6, 12]]
    assert magnitude(op, Tensor("q", (2,), "code", 2, False), found["q"]) == 12


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_no_input_leaves_the_intervals(seed):
    made = random_graph(seed)
    found = intervals(made)
    x = np.random.default_rng(seed).normal(size=(20, *made.tensors["x"].shape)) * 5
    for name, values in integer.every_tensor(made, x).items():
        if made.tensors[name].kind != "real":
            low, high = found[name]
            assert np.all(values >= low) and np.all(values <= high), name


@pytest.mark.parametrize("terms, fits", [(131071, True), (131073, False)])
def test_a_sum_beyond_int32_is_refused(terms, fits):
    """-128 * -128 = 2^14: 2^17 of them are 2^31."""
    made = graph(layer(np.full((terms, 1), -128), (8,)), Tensor("q", (terms,), "code", 8))
    if fits:
        assert int(intervals(made)["s"][1][0]) == terms * 2**14
    else:
        with pytest.raises(GraphError, match=rf"'a' can reach {terms * 2**14} .* in channel 0, beyond int32"):
            intervals(made)
        with pytest.raises(GraphError, match="beyond int32"):
            integer.execute(made, np.zeros((1, terms)))


def test_sums_beyond_64_bits_are_refused_and_do_not_wrap():
    """70,000 levels of -(2^31 - 1) times codes of 16 bits: 2^63.1."""
    wide = dataclasses.replace(layer(np.zeros((70_000, 1), int), (1,)), zero_point=np.array([2**31 - 1]))
    with pytest.raises(GraphError, match="the sums of 'a' can leave 64 bits"):
        intervals(graph(wide, Tensor("q", (70_000,), "code", 16, signed=False)))


def rescaling(multiplier, shift, left=0):
    one = (rows(multiplier), rows(shift), rows(0), rows(-(2**31)), rows(2**31 - 1))
    op = Requantise("r", "s", "t", *one, left_shift=left)
    source, out = Tensor("q", (1,), "code", 8), Tensor("t", (1,), "sum")
    return graph(layer([[127]], (8,)), source, op, tensors=[out], output="t")


def test_a_requantisation_beyond_its_words_is_refused():
    """-128 * 127 = -16256: times 2^30 / 2^12 that is -16256 * 2^18, beyond 2^31."""
    assert int(intervals(rescaling(2**30, 14))["t"][0][0]) == -16256 * 2**16
    with pytest.raises(GraphError, match="'r' can reach .* beyond int32"):
        intervals(rescaling(2**30, 12))
    with pytest.raises(GraphError, match="'r' can leave the 64 bits"):
        intervals(rescaling(2**30, 40, left=20))


def test_sums_of_sums_are_counted():
    tensors = [Tensor("t", (1,), "sum")]
    made = graph(layer([[127]], (8,)), Tensor("q", (1,), "code", 8), Add("+", ("s", "s", "s"), "t"),
                 tensors=tensors, output="t")
    assert [int(end[0]) for end in intervals(made)["t"]] == [3 * -128 * 127, 3 * 127 * 127]


def test_the_ends_of_a_product_are_products_of_ends():
    """-3 to 6 and 0 to 12: the corners are 9, -18, 36 and 0, 144, of which halves are taken."""
    source, out = Tensor("q", (2,), "code", 2, False), Tensor("t", (2,), "sum")
    made = graph(layer([[1, 2], [-2, 2]], (3, 3), (3, 0)), source, Multiply("m", ("s", "s"), "t", 1),
                 tensors=[out], output="t")
    assert [end.tolist() for end in intervals(made)["t"]] == [[-9, 0], [18, 72]]


@pytest.mark.parametrize("shift, fits", [(13, True), (12, False)])
def test_a_product_beyond_int32_is_refused(shift, fits):
    """-128 * 127 * 16 is -2^18 (1 - 2^-7). Its cube over 2^10 and 2^13 is -2^31 (1 - 2^-7)^3."""
    ends = [Tensor(name, (1,), "sum") for name in "tu"]
    square = Multiply("m", ("s", "s"), "t", 10)
    made = graph(layer([[127]] * 16, (8,)), Tensor("q", (16,), "code", 8), square,
                 Multiply("n", ("t", "s"), "u", shift), tensors=ends, output="u")
    if fits:
        assert 2**30 < np.abs(intervals(made)["u"]).max() < 2**31
    else:
        with pytest.raises(GraphError, match="'n' can reach .* beyond int32"):
            intervals(made)


def test_the_ends_of_a_table_may_lie_between_those_of_its_input():
    """0 to 12 in segments of 4: entries 0, 9, -7, 5, of which 9 and -7 are inside; -3 to 6 sees 9 and 1."""
    source, out = Tensor("q", (2,), "code", 2, False), Tensor("t", (2,), "sum")
    table = Table("t", "s", "t", rows(0, 9, -7, 5), 0, 2)
    made = graph(layer([[1, 2], [-2, 2]], (3, 3), (3, 0)), source, table, tensors=[out], output="t")
    assert [end.tolist() for end in intervals(made)["t"]] == [[0, -7], [9, 9]]
    found = [int(n) for n in integer.every_tensor(made, np.array([[3.0, 0.0], [0.0, 3.0]]))["t"][:, 0]]
    assert found == [1, 0]
