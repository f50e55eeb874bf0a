"""Scores: what was measured of a trained network, kept in a file under a hash of all that it depends on.

Measuring takes seconds to minutes and does not depend on the budget: another budget reads the file. A
folder of scores belongs to one network (its program is not in the hash; its weights, ranges and space
are). A file that is damaged in any way is measured again.
"""

import dataclasses
import functools
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mpnas.control import Measuring
from mpnas.data import Dataset
from mpnas.errors import NonFiniteLossError
from mpnas.supernet import Parts, Supernet
from mpnas.train import sensitivity
from mpnas.train.checkpoint import arrays_of
from mpnas.train.importance import class_paths
from mpnas.train.sensitivity import Scores

MEASURES: dict[str, Callable[..., Scores]] = {
    "fisher": sensitivity.fisher,
    "hessian": sensitivity.hessian,
    "loss": sensitivity.loss,
    "flips": sensitivity.flips,
    "class_paths": class_paths,
}


def scores_of(
    asker: Measuring,
    net: Supernet,
    parts: Parts,
    data: Dataset,
    *,
    seed: int = 0,
    folder: Path | None = None,
) -> Scores:
    """Site -> `(decisions, columns)` float64 >= 0, as the asker wants them measured.

    Args:
      asker: Which measure, and on how many batches of how many rows.
      net: The attached network.
      parts: Calibrated weights and ranges.
      data: Rows of its training part are used, without augmentation.
      seed: Of the rows and of random signs.
      folder: Where files of scores are looked for and left; None: nothing is kept.

    Raises:
      NonFiniteLossError: the network gives no finite numbers.
    """
    path = None if folder is None else folder / f"{_digest(asker, net, parts, data, seed)}.npz"
    found = None if path is None else _read(path)
    if found is not None:
        return found
    rows = functools.partial(_batches, dataclasses.replace(data, augment=None), seed, asker)
    found = MEASURES[asker.measure](net, parts, rows, seed)
    if not all(np.isfinite(values).all() for values in found.values()):
        raise NonFiniteLossError("search", 0)
    if path is not None:
        _write(path, found)
    return found


def _batches(data: Dataset, seed: int, asker: Measuring) -> Iterator[tuple[Any, Any]]:
    for step in range(asker.batches):
        yield data.batch("train", seed, step, asker.batch)


def _digest(asker: Measuring, net: Supernet, parts: Parts, data: Dataset, seed: int) -> str:
    """Of everything that scores depend on, but for the network's program."""
    described = {
        "asker": [asker.measure, asker.batches, asker.batch],
        "seed": seed,
        "data": data.digest,
        "space": [repr(choice) for choice in net.space.choices.values()],
    }
    digest = hashlib.sha256(json.dumps(described).encode())
    for name, array in arrays_of(parts).items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _read(path: Path) -> Scores | None:
    """The scores of a file; None if there is none, or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            sites = [str(site) for site in file["sites"]]
            found = {site: np.asarray(file[f"{k:05d}"]) for k, site in enumerate(sites)}
        for site, values in found.items():
            if values.dtype != np.float64 or values.ndim != 2 or not (values >= 0).all():
                raise ValueError(f"'{site}' holds no scores")
        return found
    except FileNotFoundError:
        return None
    except Exception as damage:  # noqa: BLE001 - numpy and zipfile raise many kinds
        logging.getLogger(__name__).warning("%s is damaged (%s); measuring again", path, damage)
        return None


def _write(path: Path, scores: Scores) -> None:
    """Write a file so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    arrays: dict[str, Any] = {f"{k:05d}": values for k, values in enumerate(scores.values())}
    try:
        with open(temporary, "wb") as file:
            np.savez(file, sites=np.array(list(scores)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
