"""CIFAR-10 from a local folder: 60,000 colour images of 32x32 pixels in 10 classes.

Two layouts are read: the official binary files (`data_batch_1.bin` .. `data_batch_5.bin` and
`test_batch.bin`), and `cifar10.npz`, which stores the pixels as differences to be smaller. Both
are checked to be the same images in the same order.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

import dataclasses
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from mpnas.data.augment import PadCropFlip
from mpnas.data.cache import cached, sha256_of
from mpnas.data.dataset import Dataset
from mpnas.data.split import stratified_order
from mpnas.errors import DataError

Images = UInt8[np.ndarray, "rows 32 32 3"]
Labels = UInt8[np.ndarray, " rows"]

SELECT_ROWS = 5_000
ROW_BYTES = 1 + 3 * 32 * 32
NPZ_NAME = "cifar10.npz"
NPZ_BYTES = 104_050_578
BINARY_FOLDER = "cifar-10-batches-bin"


@dataclasses.dataclass(frozen=True)
class Source:
    """One of the two published sets.

    Attributes:
      part: `train` or `test`, as in the names of the npz arrays.
      files: Its official binary files, in order.
      rows_per_file: Images in each of them.
      images_sha256: Checksum of the decoded pixels, (rows, 32, 32, 3) in C order.
      labels_sha256: Checksum of the labels, one byte each.
    """

    part: str
    files: tuple[str, ...]
    rows_per_file: int
    images_sha256: str
    labels_sha256: str


TRAIN = Source(
    part="train",
    files=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    rows_per_file=10_000,
    images_sha256="47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
    labels_sha256="2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
)
TEST = Source(
    part="test",
    files=("test_batch.bin",),
    rows_per_file=10_000,
    images_sha256="f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
    labels_sha256="cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
)


def load(data_dir: Path | None = None) -> Dataset:
    """CIFAR-10 with pixels 0..255: 45,000 train, 5,000 select (500 a class) and 10,000 test rows.

    Args:
      data_dir: Folder that holds either layout; `$MPNAS_DATA` if None.

    Raises:
      DataError: no folder is given, it holds neither layout, or a file is incomplete or differs
        from the published images.
    """
    folder = _folder(data_dir)
    (x, y), (test_x, test_y) = (_read(folder, source) for source in (TRAIN, TEST))
    order = stratified_order(y)
    select, train = np.sort(order[:SELECT_ROWS]), np.sort(order[SELECT_ROWS:])
    y, test_y = y.astype(np.int32), test_y.astype(np.int32)
    return Dataset(
        name="cifar10",
        train=(x[train], y[train]),
        select=(x[select], y[select]),
        test=(test_x, test_y),
        classes=10,
        input_low=0.0,
        augment=PadCropFlip(pad=4, flip=True),
    )


def files(folder: Path) -> list[str]:
    """Names, below a data folder, of the files that `load` reads there; whether they are sound is not asked.

    Empty where neither layout is there.
    """
    for place in ("", f"{BINARY_FOLDER}/"):
        found = [place + name for source in (TRAIN, TEST) for name in source.files]
        if any((folder / name).is_file() for name in found):
            return [name for name in found if (folder / name).is_file()]
    return [NPZ_NAME] if (folder / NPZ_NAME).is_file() else []


def decode(delta: UInt8[np.ndarray, "3 rows 32 32"]) -> Images:
    """Pixels from the differences in `cifar10.npz`; all arithmetic is modulo 256.

    Args:
      delta: Differences along columns, of differences along rows, of red - green, green and
        blue - green.
    """
    planes = np.cumsum(delta, axis=2, dtype=np.uint8)
    np.cumsum(planes, axis=3, dtype=np.uint8, out=planes)
    planes[0] += planes[1]
    planes[2] += planes[1]
    return np.ascontiguousarray(planes.transpose(1, 2, 3, 0))


def _folder(data_dir: Path | None) -> Path:
    named = data_dir or os.environ.get("MPNAS_DATA")
    if not named:
        raise DataError(
            "CIFAR-10 needs a folder with its files. Give one with --data-dir (in Python: data_dir), or "
            "set the environment variable MPNAS_DATA."
        )
    if not Path(named).is_dir():
        raise DataError(
            f"the data folder {named} does not exist. Give another one with --data-dir (in Python: "
            "data_dir), or set the environment variable MPNAS_DATA."
        )
    return Path(named)


def _read(folder: Path, source: Source) -> tuple[Images, Labels]:
    for place in (folder, folder / BINARY_FOLDER):
        if any((place / name).is_file() for name in source.files):
            return _read_binary(place, source)
    if (folder / NPZ_NAME).is_file():
        return _read_npz(folder / NPZ_NAME, source)
    raise DataError(
        f"the data folder {folder} holds no CIFAR-10 ({source.part} images). Put '{NPZ_NAME}' or "
        f"the official binary files ({source.files[0]}, ...) there, or give another folder with "
        "--data-dir (in Python: data_dir) or MPNAS_DATA."
    )


def _read_binary(folder: Path, source: Source) -> tuple[Images, Labels]:
    expected = source.rows_per_file * ROW_BYTES
    blocks = []
    for name in source.files:
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path} is missing. Unpack the official archive again.")
        block = np.fromfile(path, np.uint8)
        if block.size != expected:
            raise DataError(
                f"{path} is incomplete: expected {expected} bytes, got {block.size}. "
                "Unpack the official archive again."
            )
        blocks.append(block.reshape(source.rows_per_file, ROW_BYTES))
    rows = np.concatenate(blocks)
    images = np.ascontiguousarray(rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    names = f"{folder} ({', '.join(source.files)})"
    _check(images, source.images_sha256, f"{names}: pixels")
    labels = np.ascontiguousarray(rows[:, 0])
    _check(labels, source.labels_sha256, f"{names}: labels")
    return images, labels


def _read_npz(path: Path, source: Source) -> tuple[Images, Labels]:
    def images() -> Images:
        key = f"{source.part}_images_delta"
        delta = _array(path, key)
        if delta.ndim != 4 or len(delta) != 3 or delta.dtype != np.uint8:
            raise DataError(
                f"'{key}' in {path} is not what it should be: expected uint8 (3, rows, 32, 32), "
                f"got {delta.dtype} {delta.shape}. Fetch the file again."
            )
        decoded = decode(delta)
        _check(decoded, source.images_sha256, f"{path}: '{key}', decoded")
        return decoded

    labels = _array(path, f"{source.part}_labels")
    _check(labels, source.labels_sha256, f"{path}: '{source.part}_labels'")
    return cached(f"cifar10_{source.part}.npy", source.images_sha256, images), labels


def _array(path: Path, key: str) -> np.ndarray:
    try:
        with zipfile.ZipFile(path):  # np.load takes whatever is no archive for a pickle
            pass
        with np.load(path, allow_pickle=False) as archive:
            return archive[key]
    except KeyError:
        raise DataError(f"{path} has no array '{key}'. Fetch the file again.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read ({error}); it is probably incomplete: expected {NPZ_BYTES} "
            f"bytes, got {path.stat().st_size}. Fetch the file again."
        ) from error


def _check(array: np.ndarray, expected: str, what: str) -> None:
    actual = sha256_of(array)
    if actual != expected:
        raise DataError(
            f"{what} differ from the published CIFAR-10: expected SHA-256 {expected}, got "
            f"{actual}. Fetch the file again."
        )
