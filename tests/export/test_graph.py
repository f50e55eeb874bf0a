"""Tests of mpnas/export/graph.py."""

import contextlib
import dataclasses

import numpy as np
import pytest

from mpnas.errors import GraphError
from mpnas.export import (
    Add,
    Concat,
    Contraction,
    Dequantise,
    IntegerGraph,
    Multiply,
    Pool,
    Quantise,
    Requantise,
    Reshape,
    Table,
    Tensor,
)


def ints(*values):
    return np.array(values, np.int64)


def dense(**changes):
    """Two inputs, three outputs of 2, 4 and 8 bits."""
    given = dict(
        name="a", input="x_q", output="a_sum", site="a",
        codes=np.array([[1, -8, 100], [-2, 7, -128]], np.int32),
        bits=ints(2, 4, 8), zero_point=ints(0, 0, 0), midrise=np.zeros(3, bool), bias=ints(0, 5, -5),
    )
    return Contraction(**(given | changes))


def requantise(**changes):
    given = dict(
        name="r", input="a_sum", output="y_q", multiplier=ints(1 << 30), shift=ints(31), offset=ints(0),
        low=ints(-8), high=ints(7),
    )
    return Requantise(**(given | changes))


def tensors():
    made = (
        Tensor("x", (2,), "real"), Tensor("x_q", (2,), "code", 8), Tensor("a_sum", (3,), "sum"),
        Tensor("y_q", (3,), "code", 4), Tensor("y", (3,), "real"),
    )
    return {t.name: t for t in made}


def graph(*ops, **changes):
    ops = ops or (Quantise("q", "x", "x_q"), dense(), requantise(), Dequantise("d", "y_q", "y"))
    return IntegerGraph(**(dict(input="x", output="y", tensors=tensors(), ops=ops) | changes))


def test_a_graph_lists_its_contractions_in_order():
    made = graph()
    assert [op.name for op in made.contractions] == ["a"]
    assert made.contractions[0].kind == "dense" and made.float_ops == ()


def test_levels_are_codes_less_the_zero_point_or_odd():
    op = dense(codes=np.array([[0, 3, 0], [-1, 7, -128]], np.int32), zero_point=ints(0, 3, 0),
               bits=ints(1, 4, 8), midrise=np.array([True, False, False]))
    np.testing.assert_array_equal(op.levels, [[1, 0, 0], [-1, 4, -128]])


def test_ranges_of_tensors_follow_bits_and_sign():
    assert Tensor("t", (1,), "code", 3).range == (-4, 3)
    assert Tensor("t", (1,), "code", 3, signed=False).range == (0, 7)
    assert Tensor("t", (1,), "code", 1, midrise=True).range == (-1, 1)
    assert Tensor("t", (1,), "sum").range == (-(2**31), 2**31 - 1)


@pytest.mark.parametrize("changes, words", [
    ({"bits": 9}, "a code of 9 bits"),
    ({"scale": np.zeros(1)}, "finite and > 0"),
    ({"scale": np.ones(2)}, r"has shape \(2,\); it is \(1,\) or \(3,\)"),
    ({"midrise": True, "zero_point": 1}, "zero point 0"),
    ({"zero_point": 2**32 - 5}, "has zero point 4294967291, beyond 2.29"),
])
def test_a_tensor_that_no_integers_can_be_is_refused(changes, words):
    with pytest.raises(GraphError, match=words):
        dataclasses.replace(Tensor("t", (3,), "code", 8), **changes)


@pytest.mark.parametrize("make, words", [
    (lambda: dense(bits=ints(2, 4)), r"its bits have shape \(2,\)"),
    (lambda: dense(bits=ints(1, 4, 8)), "codes in channel 0 that 1 bits"),
    (lambda: dense(bias=ints(0, 2**31, 0)), "bias beyond int32"),
    (lambda: dense(strides=(1,)), "needs 0 strides"),
    (lambda: requantise(rounding="floor"), "rounds by 'floor'"),
    (lambda: requantise(shift=ints(63)), "right shifts 0 to 62"),
    (lambda: requantise(rounding="double_round", offset=ints(1)), "no place for an offset"),
    (lambda: requantise(rounding="shift"), "its multiplier is 1"),
    (lambda: requantise(low=ints(8)), "leave no code"),
    (lambda: requantise(rounding="shift", multiplier=ints(1)), "right shifts of shift are 0 to 30"),
    (lambda: requantise(rounding="double_round"), "right shifts of double_round are 0 to 30"),
    (lambda: requantise(zero_out=-(2**30)), "a zero point beyond 2.29"),
    (lambda: requantise(multiplier=ints(2**31)), "multiplier beyond int32"),
    (lambda: Multiply("m", ("a",), "b"), "'m' has 1 factors"),
    (lambda: Multiply("m", ("a", "b"), "c", 63), "shifts by 63; it takes two factors"),
    (lambda: Table("t", "a", "b", ints(1), 0, 0), r"entries of shape \(1,\)"),
    (lambda: Table("t", "a", "b", ints(1, 2), 0, 31), r"segments of 2\^31 steps"),
    (lambda: Table("t", "a", "b", ints(0, 2**31), 0, 0), "'t' has entries, or two neighbours apart"),
    (lambda: Table("t", "a", "b", ints(-(2**30), 2**30), 0, 0), "'t' has entries, or two neighbours apart"),
    (lambda: Table("t", "a", "b", ints(1, 2), 2**31, 0), "of inputs from 2147483648 to"),
    (lambda: Table("t", "a", "b", ints(*range(5)), -(2**31), 30), "it takes at most 2.31 of them"),
    (lambda: Pool("p", "a", "b", "max", (2, 2), (1, 1), ((2, 0), (0, 0))), "could lie on padding alone"),
])
def test_an_operation_that_contradicts_itself_is_refused(make, words):
    with pytest.raises(GraphError, match=words):
        make()


@pytest.mark.parametrize("ops, words", [
    ((dense(),), "reads 'x_q' before any operation wrote it"),
    ((Quantise("q", "x", "z"),), "'z', which is no tensor"),
    ((Quantise("q", "x", "x_q"), Quantise("q2", "x", "x_q")), "written already"),
    ((Quantise("q", "x", "x_q"), dense(name="q")), "two operations are called 'q'"),
    ((Quantise("q", "x", "x_q"),), "no operation writes the output 'y'"),
    ((Quantise("q", "x", "a_sum"),), "cannot have 'a_sum', a sum"),
    ((Quantise("q", "x", "x_q"), dense(codes=np.zeros((3, 3), np.int32))), "in 1 groups, but reads 2"),
    ((Quantise("q", "x", "x_q"), dense(), requantise(high=ints(8))), "beyond the range of 'y_q'"),
    ((Quantise("q", "x", "x_q"), Reshape("s", "x_q", "y_q")), r"gives shape \(2,\), but 'y_q' has \(3,\)"),
])
def test_a_graph_that_contradicts_itself_is_refused(ops, words):
    with pytest.raises(GraphError, match=words):
        graph(*ops)


@pytest.mark.parametrize("window, other, out, words", [
    ((1, 1), (4, 5, 3), (4, 5, 3), None), ((4, 5), (1, 1, 3), (4, 5, 3), None),
    ((1, 5), (4, 1, 3), (4, 5, 3), None),
    ((1, 2), (4, 2, 3), (4, 5, 3), r"factors of shapes \(4, 2, 3\) and \(4, 5, 3\); along each axis"),
    (None, (20, 3), (4, 5, 3), r"factors of shapes \(20, 3\) and \(4, 5, 3\); along each axis"),
    ((4, 5), (1, 1, 3), (1, 1, 3), r"gives shape \(4, 5, 3\), but 'y' has \(1, 1, 3\)"),
])
def test_factors_are_equally_long_or_of_length_1(window, other, out, words):
    shape = (4, 5, 3)
    made = (
        Tensor("x", shape, "real"), Tensor("q", shape, "code", 8), Tensor("a", shape, "sum"),
        Tensor("b", other, "sum"), Tensor("y", out, "sum"),
    )
    smaller = Reshape("s", "a", "b")
    if window:
        smaller = Pool("s", "a", "b", "sum", window, window, ((0, 0), (0, 0)))
    lift = requantise(input="q", output="a")
    ops = (Quantise("i", "x", "q"), lift, smaller, Multiply("m", ("b", "a"), "y"))
    with pytest.raises(GraphError, match=words) if words else contextlib.nullcontext():
        IntegerGraph("x", "y", {t.name: t for t in made}, ops)


def test_a_factor_has_its_zero_at_0():
    made = {
        "x": Tensor("x", (3,), "real"), "q": Tensor("q", (3,), "code", 8),
        "a": Tensor("a", (3,), "sum", zero_point=2), "y": Tensor("y", (3,), "sum"),
    }
    ops = (Quantise("i", "x", "q"), requantise(input="q", output="a"), Multiply("m", ("a", "a"), "y"))
    with pytest.raises(GraphError, match="product 'm' has a factor whose zero point is not 0"):
        IntegerGraph("x", "y", made, ops)


@pytest.mark.parametrize("kind, one, other, out", [
    (Add, (4, 3), (2, 3), (4, 3)), (Add, (4, 1), (4, 3), (4, 3)), (Concat, (4, 4, 1), (2, 8, 1), (4, 4, 2)),
    (Concat, (), (), (2,)), (Concat, (3,), (4, 3), (6,)),
])
def test_what_is_joined_has_equal_axes(kind, one, other, out):
    made = {
        "x": Tensor("x", one, "real"), "q": Tensor("q", one, "code", 8), "a": Tensor("a", one, "sum"),
        "b": Tensor("b", other, "sum"), "y": Tensor("y", out, "sum"),
    }
    ops = (Quantise("i", "x", "q"), requantise(input="q", output="a"), Reshape("s", "a", "b"),
           kind("j", ("a", "b"), "y"))
    with pytest.raises(GraphError, match=f"{kind.__name__} 'j' joins tensors of shapes|gives shape"):
        IntegerGraph("x", "y", made, ops)


def test_the_input_is_real():
    made = {"q": Tensor("q", (3,), "code", 8), "y": Tensor("y", (3,), "real")}
    with pytest.raises(GraphError, match="the input 'q' is a code; it must be real"):
        IntegerGraph("q", "y", made, (Dequantise("d", "q", "y"),))


def test_tensors_of_different_scales_are_not_added():
    made = tensors()
    made["b"] = Tensor("b", (3,), "sum", scale=np.full(1, 0.5))
    made["s"] = Tensor("s", (3,), "sum")
    made["x2"] = Tensor("x2", (3,), "code", 8)
    ops = (Quantise("q", "x", "x_q"), dense(), requantise(output="b", low=ints(0), high=ints(0)),
           Add("add", ("a_sum", "b"), "s"))
    with pytest.raises(GraphError, match="differ in scale"):
        graph(*ops, tensors=made)


def test_shapes_of_windows_are_counted():
    """6 places padded by 1 and 1, windows of 3 in steps of 2: floor((8 - 3) / 2) + 1 = 3."""
    made = {
        "x": Tensor("x", (6, 6, 1), "real"), "q": Tensor("q", (6, 6, 1), "code", 8),
        "p": Tensor("p", (3, 3, 1), "code", 8), "y": Tensor("y", (3, 3, 1), "real"),
    }
    pool = Pool("pool", "q", "p", "max", (3, 3), (2, 2), ((1, 1), (1, 1)))
    ops = (Quantise("in", "x", "q"), pool, Dequantise("out", "p", "y"))
    IntegerGraph("x", "y", made, ops)
    wrong = dataclasses.replace(pool, strides=(1, 1))
    with pytest.raises(GraphError, match=r"gives shape \(6, 6, 1\), but 'p' has \(3, 3, 1\)"):
        IntegerGraph("x", "y", made, (ops[0], wrong, ops[2]))
