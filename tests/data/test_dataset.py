"""Tests of mpnas/data/dataset.py."""

import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.data.augment import PadCropFlip
from mpnas.data.dataset import Dataset
from mpnas.errors import DataError

QUICK = settings(deadline=None, max_examples=50)


def numbered(rows, classes=3, start=0):
    """Rows that can be told apart: the only pixel of row n is n."""
    x = np.arange(start, start + rows, dtype=np.float32).reshape(rows, 1)
    return x, (np.arange(rows) % classes).astype(np.int32)


def dataset(rows=20, **changes):
    parts = {"train": numbered(rows), "select": numbered(5), "test": numbered(7)}
    return Dataset(**({"name": "toy", "classes": 3} | parts | changes))


def images(augment=None):
    x = np.random.default_rng(0).integers(0, 256, (12, 6, 6, 2)).astype(np.uint8)
    part = (x, np.zeros(12, np.int32))
    return Dataset("images", part, part, part, classes=1, scale=0.5, augment=augment)


@QUICK
@given(
    rows=st.integers(1, 25), size=st.integers(1, 30), seed=st.integers(0, 5),
    epochs=st.integers(1, 3),
)
def test_each_epoch_of_the_stream_holds_every_row_once(rows, size, seed, epochs):
    data = dataset(rows)
    steps = -(-rows * epochs // size)
    stream = np.concatenate([data.batch("train", seed, step, size)[0] for step in range(steps)])
    for epoch in range(epochs):
        rows_seen = stream[epoch * rows : (epoch + 1) * rows, 0]
        assert sorted(rows_seen) == list(range(rows))


@QUICK
@given(order=st.permutations(range(6)), seed=st.integers(0, 3))
def test_a_batch_does_not_depend_on_those_drawn_before(order, seed):
    data = dataset()
    expected = [data.batch("train", seed, step, 8) for step in range(6)]
    for step in order:
        x, y = dataset().batch("train", seed, step, 8)
        np.testing.assert_array_equal(x, expected[step][0])
        np.testing.assert_array_equal(y, expected[step][1])


def test_another_process_draws_the_same_augmented_batch():
    program = (
        "import hashlib; from mpnas.data import DATASETS;"
        "x, y = DATASETS['digits'](None).batch('train', 3, 40, 64, (0.2, 0.9));"
        "print(hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest())"
    )
    root = Path(__file__).parents[2]
    there = subprocess.run(
        [sys.executable, "-c", program], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()
    from mpnas.data import DATASETS

    x, y = DATASETS["digits"](None).batch("train", 3, 40, 64, (0.2, 0.9))
    assert hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest() == there


def test_seeds_and_epochs_shuffle_differently():
    data = dataset()
    orders = {
        tuple(data.batch("train", seed, epoch, 20)[0][:, 0])
        for seed, epoch in itertools.product(range(3), range(3))
    }
    assert len(orders) == 9


def test_labels_stay_with_their_inputs():
    x, y = dataset().batch("train", 1, 4, 16)
    np.testing.assert_array_equal(y, x[:, 0].astype(int) % 3)
    assert x.dtype == np.float32 and y.dtype == np.int32


def rows_of_subset(data, subset):
    """All rows that batches from the subset can hold: one long batch covers an epoch of it."""
    return set(data.batch("train", 0, 0, 4 * data.rows("train"), subset)[0][:, 0])


@QUICK
@given(rows=st.integers(2, 60), cut=st.floats(0.01, 0.99))
def test_neighbouring_subsets_share_no_row_and_leave_none_out(rows, cut):
    data = dataset(rows)
    if not 0 < round(cut * rows) < rows:
        with pytest.raises(DataError, match="holds no row"):
            rows_of_subset(data, (0.0, cut)), rows_of_subset(data, (cut, 1.0))
        return
    low, high = rows_of_subset(data, (0.0, cut)), rows_of_subset(data, (cut, 1.0))
    assert not low & high
    assert low | high == set(range(rows))
    assert len(low) == round(cut * rows)


def test_subset_does_not_depend_on_the_seed_and_keeps_the_classes():
    data = dataset(60)
    first, other = (data.batch("train", seed, 0, 15, (0.25, 0.5)) for seed in (0, 1))
    assert set(first[0][:, 0]) == set(other[0][:, 0])
    assert np.bincount(first[1]).tolist() == [5, 5, 5]


def test_only_training_batches_are_augmented():
    plain, shifted = images(), images(PadCropFlip(2, True))
    for part in ("select", "test"):
        np.testing.assert_array_equal(
            plain.batch(part, 0, 0, 12)[0], shifted.batch(part, 0, 0, 12)[0]
        )
    assert (plain.batch("train", 0, 0, 12)[0] != shifted.batch("train", 0, 0, 12)[0]).any()
    evaluated = [x for x, _, _ in shifted.batches_of("train", 12)]
    np.testing.assert_array_equal(evaluated[0], shifted.train[0] * np.float32(0.5))


def test_augmentation_differs_from_step_to_step_and_is_repeated_by_seed_and_step():
    data = images(PadCropFlip(2, True))
    batches = [np.sort(data.batch("train", seed, step, 12)[0], axis=0) for seed, step in
               [(0, 0), (0, 1), (1, 0), (0, 0)]]
    np.testing.assert_array_equal(batches[0], batches[3])
    assert (batches[0] != batches[1]).any()
    assert (batches[0] != batches[2]).any()


def test_augmentation_that_changes_the_shape_is_refused():
    data = images(lambda x, rng: x[:, 1:])
    with pytest.raises(DataError, match=r"shape \(4, 6, 6, 2\) into \(4, 5, 6, 2\)"):
        data.batch("train", 0, 0, 4)


def test_stored_bytes_are_scaled_to_floats():
    data = images()
    assert data.train[0].dtype == np.uint8
    np.testing.assert_array_equal(data.example(3), data.train[0][:3].astype(np.float32) / 2)
    assert data.example(3).dtype == np.float32
    assert data.batch("test", 0, 0, 5)[0].dtype == np.float32


@QUICK
@given(rows=st.integers(1, 30), size=st.integers(1, 12))
def test_evaluation_batches_hold_the_part_in_order_and_end_with_zeros(rows, size):
    data = dataset(test=numbered(rows, start=100))
    batches = list(data.batches_of("test", size))
    assert all(x.shape == (size, 1) and y.shape == (size,) for x, y, _ in batches)
    x = np.concatenate([x[:valid] for x, _, valid in batches])
    y = np.concatenate([y[:valid] for _, y, valid in batches])
    np.testing.assert_array_equal(x, data.test[0])
    np.testing.assert_array_equal(y, data.test[1])
    last_x, last_y, valid = batches[-1]
    assert not last_x[valid:].any() and not last_y[valid:].any()
    assert sum(valid for _, _, valid in batches) == rows


def test_batches_can_be_written_to_but_the_parts_cannot():
    data = dataset()
    data.batch("train", 0, 0, 4)[0][:] = 0
    next(data.batches_of("train", 20))[0][:] = 0
    data.example()[:] = 0
    np.testing.assert_array_equal(data.train[0], numbered(20)[0])
    with pytest.raises(ValueError, match="read-only"):
        data.train[0][:] = 0


def test_digest_tells_apart_what_a_run_may_be_trained_on():
    changed = numbered(20)
    changed[0][3] += 1
    relabelled = (numbered(20)[0], numbered(20)[1][::-1].copy())
    swapped = {"select": numbered(7), "test": numbered(5)}
    others = [
        dataset(train=changed), dataset(train=relabelled), dataset(scale=2.0), dataset(**swapped)
    ]
    assert dataset().digest == dataset(name="renamed").digest
    assert len({data.digest for data in [dataset(), *others]}) == 5
    assert len(dataset().digest) == 64


x3, y3 = numbered(3)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train": (x3, y3[:2])}, r"as many labels .* got shapes \(3, 1\) and \(2,\)"),
        ({"train": (x3[:, 0], y3)}, r"needs inputs \(rows, ...\)"),
        ({"test": (x3[:0], y3[:0])}, "part 'test' of data set 'toy' is empty"),
        ({"select": (np.ones((3, 2), np.float32), y3)}, r"\(2,\), but part 'train' has \(1,\)"),
        ({"classes": 2}, r"labels from 0 to 2, but with classes=2 they must be in 0\.\.1"),
        ({"train": (x3, y3 - 1)}, "labels from -1 to 1"),
        ({"test": (np.float32([[0], [np.nan], [1]]), y3)}, "not finite, first in row 1"),
        ({"train": (x3.astype(np.float64), y3)}, "got float64 and int32"),
        ({"train": (x3, y3.astype(np.int64))}, "got float32 and int64"),
        ({"train": ([[1.0]], y3)}, "needs numpy arrays, got list and ndarray"),
        ({"input_low": 0.5}, "an input of 0.0, below input_low=0.5"),
        ({"scale": 0.0}, "finite scale > 0, got 0.0"),
        ({"scale": float("nan")}, "finite scale > 0, got nan"),
        ({"classes": 0}, "classes >= 1, got 0"),
    ],
)
def test_wrong_parts_are_refused_with_the_reason(changes, message):
    with pytest.raises(DataError, match=message):
        dataset(**changes)


def test_input_low_is_compared_at_the_precision_of_the_inputs():
    x = np.full((2, 1), -0.1, np.float32)
    part = (x, np.zeros(2, np.int32))
    assert dataset(train=part, input_low=-0.1).input_low == -0.1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("trian", 0, 0, 1), "no part 'trian'; nearest: 'train'"),
        (("train", -1, 0, 1), "seed=-1"),
        (("train", 0, -1, 1), "step=-1"),
        (("train", 0, 0, 0), "size=0"),
        (("train", 0, 0, 1, (0.5, 0.5)), r"0 <= low < high <= 1, got \(0.5, 0.5\)"),
        (("train", 0, 0, 1, (0.0, 1.2)), r"got \(0.0, 1.2\)"),
        (("train", 0, 0, 1, (0.0, 0.01)), "holds no row of the 20"),
    ],
)
def test_wrong_arguments_of_a_batch_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        dataset().batch(*arguments)


def test_wrong_arguments_of_an_evaluation_are_refused_at_the_call():
    with pytest.raises(DataError, match="size >= 1, got 0"):
        dataset().batches_of("test", 0)
    with pytest.raises(DataError, match="no part 'tst'"):
        dataset().batches_of("tst", 4)
