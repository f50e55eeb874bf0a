"""A data set: three disjoint parts, and batches that depend on nothing but (seed, step).

`train` fits weights, `select` compares networks, `test` is looked at once. As a batch is a pure
function of the seed and the step, a run that resumes at a step sees what it would have seen.
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int32, Shaped

from mpnas.data.split import stratified_order
from mpnas.errors import DataError, nearest

PartName = Literal["train", "select", "test"]
Part = tuple[Shaped[np.ndarray, "rows *input"], Int32[np.ndarray, " rows"]]
Inputs = Float32[np.ndarray, "rows *input"]
Labels = Int32[np.ndarray, " rows"]
Augment = Callable[[Inputs, np.random.Generator], Inputs]

PART_NAMES: tuple[PartName, ...] = ("train", "select", "test")
# Streams of randomness under one seed: without a number of its own, the augmentation of step n
# would draw the very numbers that shuffled epoch n.
ORDER_STREAM, AUGMENT_STREAM = 0, 1


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Examples and their classes in three parts.

    Attributes:
      name: What logs and files call it.
      train: Inputs float32 or uint8 `(rows, ...)` and labels int32 `(rows,)` to fit weights with.
      select: The same, to compare candidates with while searching.
      test: The same, for the numbers that are reported. No row may be in two parts.
      classes: Number of classes; labels are in `[0, classes)`.
      scale: Inputs are multiplied by it when they are batched; > 0. Storage can so stay uint8.
      input_low: No input, scaled and augmented, is ever below it; None if that is not known, 0.0
        tells quantizers that inputs have no sign.
      augment: Random change of a training batch, called as `augment(x, rng)`; keeps the shape.
    """

    name: str
    train: Part
    select: Part
    test: Part
    classes: int
    scale: float = 1.0
    input_low: float | None = None
    augment: Augment | None = None

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise DataError(f"data set '{self.name}' needs classes >= 1, got {self.classes}.")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise DataError(f"data set '{self.name}' needs a finite scale > 0, got {self.scale}.")
        for part in PART_NAMES:
            self._check_part(part)
            x, y = getattr(self, part)
            object.__setattr__(self, part, (_read_only(x), _read_only(y)))

    def _check_part(self, part: PartName) -> None:
        x, y = getattr(self, part)
        where = f"part '{part}' of data set '{self.name}'"
        check_arrays(x, y, where)
        if x.shape[1:] != self.input_shape:
            raise DataError(
                f"{where} has inputs of shape {x.shape[1:]}, but part 'train' has "
                f"{self.input_shape}. All parts need the same."
            )
        if y.min() < 0 or y.max() >= self.classes:
            raise DataError(
                f"{where} has labels from {y.min()} to {y.max()}, but with classes="
                f"{self.classes} they must be in 0..{self.classes - 1}."
            )
        if x.dtype == np.float32 and not np.isfinite(x).all():
            row = int(np.argmin(np.isfinite(x).reshape(len(x), -1).all(axis=1)))
            raise DataError(f"{where} has an input that is not finite, first in row {row}.")
        lowest = np.float32(x.min() * self.scale)
        if self.input_low is not None and lowest < np.float32(self.input_low):
            raise DataError(
                f"{where} has an input of {lowest}, below input_low={self.input_low}. "
                "Lower it, or use None if the lowest input is not known."
            )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch axis."""
        return self.train[0].shape[1:]

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the parts and of `scale`, in hexadecimal: what a run was trained on."""
        sha = hashlib.sha256(f"scale {self.scale!r}".encode())
        for part in PART_NAMES:
            for array in getattr(self, part):
                sha.update(f"{part} {array.dtype.str} {array.shape}".encode())
                sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()

    def rows(self, part: PartName) -> int:
        """Number of examples in `part`."""
        return len(self._part(part)[1])

    def example(self, n: int = 2) -> Inputs:
        """The first `n` training inputs as a model takes them, to trace or to calibrate with."""
        return self._scaled(self.train[0][:n])

    def batch(
        self,
        part: PartName,
        seed: int,
        step: int,
        size: int,
        subset: tuple[float, float] = (0.0, 1.0),
    ) -> tuple[Inputs, Labels]:
        """The batch of a step, from epochs that are each shuffled anew.

        The epochs form one endless stream of rows, of which step n takes rows `n * size` to
        `(n + 1) * size`: every batch is full, and in an epoch every row is used once.

        Args:
          part: Where to draw from; only "train" is augmented.
          seed: Which of the streams; >= 0.
          step: Position in the stream, in batches; >= 0.
          size: Rows of the batch; >= 1, also more than there are.
          subset: Share of the part to draw from, as fractions in [0, 1] of a fixed stratified
            order. Ranges that do not overlap have no row in common: a bilevel search draws
            weights from (0.0, 0.8) and logits from (0.8, 1.0).

        Returns:
          Inputs float32 `(size, ...)`, scaled, and labels int32 `(size,)`; new arrays.

        Raises:
          DataError: an argument is out of its range, the subset holds no row, or the augmentation
            changes the shape.
        """
        x, y = self._part(part)
        if seed < 0 or step < 0 or size < 1:
            raise DataError(
                f"a batch needs seed >= 0, step >= 0 and size >= 1, got seed={seed}, step={step}, "
                f"size={size}."
            )
        pool = self._subset_rows(part, subset)
        rows = pool[_stream_rows(len(pool), int(seed), int(step), size)]
        inputs = self._scaled(x[rows])
        if part == "train" and self.augment is not None:
            rng = np.random.default_rng([AUGMENT_STREAM, int(seed), int(step)])
            inputs = self._augmented(self.augment, inputs, rng)
        return inputs, y[rows]

    def batches_of(self, part: PartName, size: int) -> Iterator[tuple[Inputs, Labels, int]]:
        """All of a part in order, without augmentation, as `(x, y, n_valid)` for an evaluation.

        Args:
          part: Which part.
          size: Rows of every batch, >= 1.

        Yields:
          Inputs float32 `(size, ...)`, labels int32 `(size,)`, and how many of these rows are
          real; the last batch is filled up with zeros, so that one compiled program serves all.

        Raises:
          DataError: no such part, or size < 1.
        """
        x, y = self._part(part)
        if size < 1:
            raise DataError(f"batches need size >= 1, got {size}.")
        return (
            (
                _filled(self._scaled(x[start : start + size]), size),
                _filled(y[start : start + size], size),
                min(size, len(y) - start),
            )
            for start in range(0, len(y), size)
        )

    def _part(self, part: str) -> Part:
        if part not in PART_NAMES:
            raise DataError(
                f"data set '{self.name}' has no part '{part}'; nearest: "
                f"{nearest(part, PART_NAMES)}."
            )
        return getattr(self, part)

    @functools.cached_property
    def _orders(self) -> dict[str, Shaped[np.ndarray, " rows"]]:
        return {part: stratified_order(getattr(self, part)[1]) for part in PART_NAMES}

    def _subset_rows(
        self, part: PartName, subset: tuple[float, float]
    ) -> Shaped[np.ndarray, " rows"]:
        low, high = subset
        if not 0 <= low < high <= 1:
            raise DataError(
                f"a subset is a range (low, high) with 0 <= low < high <= 1, got {subset}."
            )
        order = self._orders[part]
        # Both ends are rounded alike, so that neighbours (0, a) and (a, 1) share no row.
        rows = order[round(low * len(order)) : round(high * len(order))]
        if len(rows) == 0:
            raise DataError(
                f"subset {subset} holds no row of the {len(order)} in part '{part}' of data set "
                f"'{self.name}'. Widen it."
            )
        return rows

    def _scaled(self, x: Shaped[np.ndarray, "rows *input"]) -> Inputs:
        return np.multiply(x, np.float32(self.scale), dtype=np.float32)

    def _augmented(self, augment: Augment, x: Inputs, rng: np.random.Generator) -> Inputs:
        changed = np.asarray(augment(x, rng), np.float32)
        if changed.shape != x.shape:
            raise DataError(
                f"the augmentation of data set '{self.name}' turned a batch of shape {x.shape} "
                f"into {changed.shape}. It must keep the shape."
            )
        return changed


def check_arrays(x: np.ndarray, y: np.ndarray, where: str) -> None:
    """Raise a DataError unless `x` and `y` are inputs and labels of the same rows, at least one.

    Args:
      x: Should be float32 or uint8 `(rows, ...)`.
      y: Should be int32 `(rows,)`.
      where: What the error message calls them.
    """
    if not (isinstance(x, np.ndarray) and isinstance(y, np.ndarray)):
        raise DataError(
            f"{where} needs numpy arrays, got {type(x).__name__} and {type(y).__name__}. "
            "Convert them with numpy.asarray."
        )
    if x.dtype not in (np.float32, np.uint8) or y.dtype != np.int32:
        raise DataError(
            f"{where} needs inputs float32 or uint8 and labels int32, got {x.dtype} and "
            f"{y.dtype}. Convert them with x.astype('float32') and y.astype('int32')."
        )
    if y.ndim != 1 or x.ndim < 2 or len(x) != len(y):
        raise DataError(
            f"{where} needs inputs (rows, ...) and as many labels (rows,), got shapes "
            f"{x.shape} and {y.shape}."
        )
    if x.size == 0:
        raise DataError(f"{where} is empty, shape {x.shape}; give it at least one row.")


def _stream_rows(rows: int, seed: int, step: int, size: int) -> Shaped[np.ndarray, " size"]:
    """Positions `step * size` and on of the endless stream of shuffled epochs of `rows` rows."""
    epochs, offsets = np.divmod(np.arange(step * size, (step + 1) * size), rows)
    picks = np.empty(size, np.int64)
    for epoch in np.unique(epochs):
        inside = epochs == epoch
        picks[inside] = _epoch_order(rows, seed, int(epoch))[offsets[inside]]
    return picks


@functools.lru_cache(maxsize=64)
def _epoch_order(rows: int, seed: int, epoch: int) -> Shaped[np.ndarray, " rows"]:
    """The shuffle of one epoch; kept, as thousands of steps, and a population of seeds, ask for it."""
    order = np.random.default_rng([ORDER_STREAM, seed, epoch]).permutation(rows)
    return _read_only(order)


def _read_only(array: np.ndarray) -> np.ndarray:
    # The digest is computed once: an array that changed later would belie it.
    view = array.view()
    view.flags.writeable = False
    return view


def _filled(rows: np.ndarray, size: int) -> np.ndarray:
    """`rows` with zeros appended up to `size` of them."""
    return np.pad(rows, ((0, size - len(rows)),) + ((0, 0),) * (rows.ndim - 1))
