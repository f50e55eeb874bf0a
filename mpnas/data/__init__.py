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

DATA_FILES: dict[str, Callable[[Path], list[str]]] = {"cifar10": cifar10.files}
"""Name -> function that tells, of a data folder, the names of the files in it that the loader reads."""

__all__ = ["DATASETS", "DATA_FILES", "Dataset", "PadCropFlip", "load_own"]
