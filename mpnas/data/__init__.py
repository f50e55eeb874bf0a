"""Examples as numpy arrays in three disjoint parts, batched by nothing but (seed, step)."""

from collections.abc import Callable
from pathlib import Path

from mpnas.data import cifar10, digits
from mpnas.data.augment import PadCropFlip
from mpnas.data.dataset import Dataset
from mpnas.data.own import load_own

DATASETS: dict[str, Callable[[Path | None], Dataset]] = {
    "digits": digits.load,
    "cifar10": cifar10.load,
}
"""Name in files and on the command line -> loader, which takes the folder of the data or None."""

__all__ = ["DATASETS", "Dataset", "PadCropFlip", "load_own"]
