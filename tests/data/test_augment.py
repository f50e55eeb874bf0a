"""Tests of mpnas/data/augment.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.data.augment import PadCropFlip
from mpnas.errors import DataError


def shifts_of(image, pad, flip):
    """All that `PadCropFlip` may make of one image, built by copying the overlap pixel by pixel."""
    height, width, _ = image.shape
    made = []
    for down in range(-pad, pad + 1):
        for right in range(-pad, pad + 1):
            moved = np.zeros_like(image)
            for row in range(height):
                for column in range(width):
                    if 0 <= row - down < height and 0 <= column - right < width:
                        moved[row, column] = image[row - down, column - right]
            made.append(moved)
            if flip:
                made.append(moved[:, ::-1])
    return made


@settings(deadline=None, max_examples=20)
@given(
    pad=st.integers(0, 2), flip=st.booleans(), seed=st.integers(0, 99),
    shape=st.sampled_from([(5, 4, 1), (3, 6, 3), (4, 4, 2)]),
)
def test_every_image_is_a_shift_of_itself_perhaps_mirrored(pad, flip, seed, shape):
    x = np.random.default_rng(seed).random((6, *shape)).astype(np.float32) + 1
    changed = PadCropFlip(pad, flip)(x, np.random.default_rng(seed))
    assert changed.shape == x.shape and changed.dtype == x.dtype
    for image, result in zip(x, changed, strict=True):
        assert any(np.array_equal(result, shift) for shift in shifts_of(image, pad, flip))


def test_all_shifts_and_both_mirrorings_occur():
    image = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3, 1)
    changed = PadCropFlip(1, True)(np.repeat(image, 1000, axis=0), np.random.default_rng(0))
    assert len(np.unique(changed.reshape(1000, -1), axis=0)) == 9 * 2


def test_the_batch_that_came_in_is_unchanged():
    x = np.ones((4, 3, 3, 1), np.float32)
    PadCropFlip(1, True)(x, np.random.default_rng(0))
    assert (x == 1).all()


def test_same_generator_state_same_result():
    x = np.random.default_rng(1).random((8, 4, 4, 1))
    first, again = (PadCropFlip(2)(x, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_negative_pad_is_refused():
    with pytest.raises(ValueError, match="pad >= 0 pixels, got -1"):
        PadCropFlip(pad=-1)


def test_inputs_that_are_no_images_are_refused():
    with pytest.raises(DataError, match=r"got shape \(4, 10\)"):
        PadCropFlip()(np.zeros((4, 10)), np.random.default_rng(0))
