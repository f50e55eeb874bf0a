"""Tests of mpnas/data/split.py."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.data.split import stratified_order

LABELS = st.lists(st.integers(-3, 5), max_size=60)


@settings(deadline=None, max_examples=50)
@given(labels=LABELS, seed=st.integers(0, 9))
def test_order_is_a_permutation(labels, seed):
    order = stratified_order(np.array(labels, np.int32), seed)
    assert sorted(order.tolist()) == list(range(len(labels)))


@settings(deadline=None, max_examples=50)
@given(classes=st.integers(1, 6), each=st.integers(1, 20), data=st.data())
def test_any_front_of_equal_classes_is_balanced_within_one_row(classes, each, data):
    labels = np.repeat(np.arange(classes), each)
    cut = data.draw(st.integers(0, len(labels)))
    counts = np.bincount(labels[stratified_order(labels)][:cut], minlength=classes)
    assert counts.max() - counts.min() <= 1


def test_unequal_classes_keep_their_proportion():
    labels = np.repeat([0, 1], [900, 100])
    for part in np.split(labels[stratified_order(labels)], 10):
        assert 9 <= part.sum() <= 11


def test_a_single_row_is_left_to_the_middle():
    labels = np.array([7] + [0] * 99)
    place = stratified_order(labels).tolist().index(0)
    assert 40 <= place < 60


def test_rows_of_a_class_are_shuffled_by_the_seed():
    labels = np.zeros(50, np.int32)
    first, again, other = (stratified_order(labels, seed).tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first != sorted(first)
