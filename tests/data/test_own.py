"""Tests of mpnas/data/own.py."""

import numpy as np
import pytest

from mpnas.data.dataset import PART_NAMES
from mpnas.data.own import load_own
from mpnas.errors import DataError


def pair(rows, start=0, dtype=np.float64, classes=4):
    x = np.arange(start, start + rows, dtype=dtype).reshape(rows, 1)
    return x, np.arange(rows) % classes


def numbers(data, part):
    return set(getattr(data, part)[0][:, 0].tolist())


def test_pair_is_split_into_three_disjoint_parts():
    data = load_own(pair(100), "mine")
    assert [data.rows(part) for part in PART_NAMES] == [60, 20, 20]
    parts = [numbers(data, part) for part in PART_NAMES]
    assert set.union(*parts) == set(range(100))
    assert np.bincount(data.test[1]).tolist() == [5, 5, 5, 5]
    assert data.classes == 4
    assert data.name == "mine"


def test_split_is_the_same_every_time():
    assert load_own(pair(50), "a").digest == load_own(pair(50), "b").digest


@pytest.mark.parametrize(
    "given, sizes",
    [
        ({"test"}, [40, 10, 7]),
        ({"select"}, [40, 7, 10]),
        ({"select", "test"}, [50, 7, 7]),
    ],
)
def test_only_missing_parts_are_split_off(given, sizes):
    parts = {"train": pair(50)} | {part: pair(7, start=100) for part in given}
    data = load_own(parts, "mine")
    assert [data.rows(part) for part in PART_NAMES] == sizes
    assert all(numbers(data, part) == set(range(100, 107)) for part in given)
    rest = [numbers(data, part) for part in PART_NAMES if part not in given]
    assert set.union(*rest) == set(range(50))


def test_data_set_is_taken_as_it_is():
    data = load_own(pair(10), "mine")
    assert load_own(data, "other") is data


@pytest.mark.parametrize("dtype, stored, low", [
    (np.uint8, np.uint8, 0.0), (np.float16, np.float32, None), (np.float64, np.float32, None),
])
def test_bytes_stay_bytes_and_floats_become_float32(dtype, stored, low):
    data = load_own(pair(20, dtype=dtype), "mine")
    assert data.train[0].dtype == stored
    assert data.train[1].dtype == np.int32
    assert data.input_low == low


def test_classes_count_the_largest_label_of_any_part():
    test = (np.ones((1, 1)), np.array([9]))
    assert load_own({"train": pair(10), "test": test}, "mine").classes == 10


def test_small_sets_keep_a_row_for_every_part():
    data = load_own(pair(3), "mine")
    assert [data.rows(part) for part in PART_NAMES] == [1, 1, 1]


x, y = pair(10)


@pytest.mark.parametrize(
    "value, message",
    [
        (None, "needs a Dataset, a mapping with 'train' or a tuple .*, got NoneType"),
        ((x, y, x), "got tuple of length 3"),
        ({"test": (x, y)}, "no part 'train'"),
        ({"train": (x, y), "tset": (x, y)}, "unknown part 'tset'; nearest: 'test'"),
        ({"train": x}, "needs to be a pair .*, got ndarray"),
        ((x.astype(int), y), "inputs of type int64. Convert them"),
        ((x, y.astype(float)), "needs integer labels .* got float64"),
        ((x, y[:, None]), r"got int64 of shape \(10, 1\).*y.ravel"),
        ((x, y - 1), "labels from -1 to 2. Number the classes from 0"),
        ((x, y + 2**40), "Number the classes from 0"),
        ((x, y[:4]), r"got shapes \(10, 1\) and \(4,\)"),
        ((x[:, 0], y), r"needs inputs \(rows, ...\)"),
        ((x[:2], y[:2]), "has 2 training rows, too few to split off select and test"),
        ((x[:0], y[:0]), "is empty"),
        ((np.full((10, 1), np.inf), y), "not finite"),
    ],
)
def test_anything_else_is_refused_with_a_sentence(value, message):
    with pytest.raises(DataError, match=message):
        load_own(value, "mine")


def test_ragged_rows_are_a_sentence():
    with pytest.raises(DataError, match="part 'train' of data set 'mine' is no pair of arrays: "):
        load_own(([[1.0, 2.0], [3.0]], [0, 1]), "mine")


@pytest.mark.filterwarnings("error")
def test_inputs_beyond_float32_are_a_sentence_and_no_warning():
    x, y = pair(10)
    with pytest.raises(DataError, match="not finite"):
        load_own((x + 1e300, y), "mine")
