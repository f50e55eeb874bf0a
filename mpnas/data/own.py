"""A data set from what a person's own function returned: arrays in one of three forms.

A `Dataset` is taken as it is; `{"train": (x, y), "test": (x, y), "select": (x, y)}` may lack all
but `train`; `(x, y)` is a train part alone. What is missing is split off the train part.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpnas.data.dataset import PART_NAMES, Dataset, Part, check_arrays
from mpnas.data.split import stratified_order
from mpnas.errors import DataError, nearest

SHARE = 0.2
"""Share of the given train part that becomes a missing `select` or `test` part."""


def load_own(value: Any, name: str) -> Dataset:
    """The data set that `value` describes.

    Args:
      value: A `Dataset`, a mapping of parts, or `(x, y)`; x uint8 or any float `(rows, ...)`, y
        any integers `(rows,)` from 0 on.
      name: What logs and error messages call it.

    Returns:
      `value` itself if it is a `Dataset`. Else one whose classes are 0 to the largest label, with
      each missing part 20 % of the train part by a fixed stratified split, and `input_low` 0.0
      for uint8 inputs.

    Raises:
      DataError: `value` is something else, or its arrays do not fit together.
    """
    if isinstance(value, Dataset):
        return value
    parts = {key: _part(pair, key, name) for key, pair in _given(value, name).items()}
    parts = _completed(parts, name)
    return Dataset(
        name=name,
        train=parts["train"],
        select=parts["select"],
        test=parts["test"],
        classes=1 + max(int(y.max()) for _, y in parts.values()),
        input_low=0.0 if all(x.dtype == np.uint8 for x, _ in parts.values()) else None,
    )


def _given(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        if not isinstance(value, tuple) or len(value) != 2:
            raise DataError(
                f"data set '{name}' needs a Dataset, a mapping with 'train' or a tuple (x, y), "
                f"got {_described(value)}."
            )
        return {"train": value}
    for key in value:
        if key not in PART_NAMES:
            raise DataError(
                f"data set '{name}' has an unknown part {key!r}; nearest: "
                f"{nearest(str(key), PART_NAMES)}."
            )
    if "train" not in value:
        raise DataError(f"data set '{name}' has no part 'train'. Add 'train': (x, y).")
    return value


def _part(pair: Any, part: str, name: str) -> Part:
    where = f"part '{part}' of data set '{name}'"
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise DataError(f"{where} needs to be a pair (x, y), got {_described(pair)}.")
    try:
        x, y = np.asarray(pair[0]), np.asarray(pair[1])
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} is no pair of arrays: {str(error).rstrip('.')}.") from error
    if x.dtype != np.uint8 and not np.issubdtype(x.dtype, np.floating):
        raise DataError(
            f"{where} has inputs of type {x.dtype}. Convert them with x.astype('float32') or, for "
            "pixels, x.astype('uint8')."
        )
    if not np.issubdtype(y.dtype, np.integer) or y.ndim != 1:
        raise DataError(
            f"{where} needs integer labels of shape (rows,), got {y.dtype} of shape {y.shape}. "
            "For one-hot labels pass y.argmax(axis=1), for a column y.ravel()."
        )
    if y.size and not 0 <= int(y.min()) <= int(y.max()) < 2**31:
        raise DataError(
            f"{where} has labels from {y.min()} to {y.max()}. Number the classes from 0 on."
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as not finite
        x, y = x if x.dtype == np.uint8 else x.astype(np.float32), y.astype(np.int32)
    check_arrays(x, y, where)
    return x, y


def _completed(parts: dict[str, Part], name: str) -> dict[str, Part]:
    """The parts, with those that are missing cut from the front of one order of the train part."""
    missing = [part for part in ("select", "test") if part not in parts]
    x, y = parts["train"]
    if len(y) <= len(missing):
        raise DataError(
            f"data set '{name}' has {len(y)} training rows, too few to split off "
            f"{' and '.join(missing)}. Give these parts, or more rows."
        )
    order, size = stratified_order(y), max(1, round(SHARE * len(y)))
    slices = {part: order[i * size : (i + 1) * size] for i, part in enumerate(missing)}
    slices["train"] = order[len(missing) * size :]
    return parts | {part: (x[rows], y[rows]) for part, rows in slices.items()}


def _described(value: Any) -> str:
    size = f" of length {len(value)}" if isinstance(value, tuple | list) else ""
    return f"{type(value).__name__}{size}"
