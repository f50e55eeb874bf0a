"""Tests of mpnas/data/digits.py."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mpnas.data import digits
from mpnas.data.dataset import PART_NAMES


@pytest.fixture(scope="module")
def data():
    return digits.load()


def test_parts_have_the_documented_sizes(data):
    assert [data.rows(part) for part in PART_NAMES] == [1077, 360, 360]
    assert data.input_shape == (8, 8, 1)
    assert data.input_low == 0.0


def test_parts_together_are_scikit_learns_rows_each_once(data):
    def rows(images, labels):
        return sorted(map(tuple, np.column_stack([images.reshape(len(labels), -1), labels])))

    ours = [rows(*getattr(data, part)) for part in PART_NAMES]
    bunch = load_digits()
    assert sorted(sum(ours, [])) == rows(bunch.images, bunch.target)


def test_pixels_are_between_0_and_1(data):
    pixels = np.concatenate([x for x, _, _ in data.batches_of("train", 359)])
    assert (pixels.min(), pixels.max()) == (0.0, 1.0)
    assert data.batch("train", 0, 0, 1077)[0].max() == 1.0


@pytest.mark.parametrize("part", PART_NAMES)
def test_each_part_holds_the_classes_in_proportion(data, part):
    whole = np.bincount(load_digits().target)
    counts = np.bincount(getattr(data, part)[1])
    np.testing.assert_allclose(counts, whole * data.rows(part) / 1797, atol=2)


def test_two_loads_are_equal(data):
    assert digits.load().digest == data.digest
