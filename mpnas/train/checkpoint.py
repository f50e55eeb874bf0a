"""Checkpoints: one training state on disk, verified when read, never trusted when damaged.

Orbax writes the arrays (each save is atomic); beside them goes a JSON with the name, type, shape and
digest of every leaf, because Orbax itself casts types silently and does not notice a flipped bit in
array data; a last digest covers that JSON. A checkpoint that fails any of these is set aside and the
next older one is taken. Whoever only reads (`load`) changes nothing: the folder may be that of a living
trial.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from mpnas.errors import CheckpointError

KEPT = 2
STEP_FOLDER = "step_{:08d}"
# What says nothing about the file: too many open ones, no permission, no memory.
NOT_DAMAGE = {errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.ENOMEM}


class Checkpoints:
    """The checkpoints of one trial, in one folder.

    Args:
      folder: Made if it is not there; belongs to these checkpoints alone.
      reading: Leave the folder as it is, what is half written and what is damaged too.
    """

    def __init__(self, folder: Path, *, reading: bool = False) -> None:
        self.folder, self._reading = Path(folder).absolute(), reading
        if not reading:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._manager = _manager(self.folder, reading)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def save(self, step: int, tree: Any, meta: dict[str, Any]) -> None:
        """Write a pytree of arrays; the last two steps are kept.

        Args:
          step: Larger than any before.
          tree: Its leaves are arrays or typed random keys.
          meta: Anything that JSON can hold.

        Raises:
          CheckpointError: the step is not larger.
        """
        arrays = arrays_of(tree)
        described = {
            "leaves": [
                {"name": n, "dtype": str(a.dtype), "shape": list(a.shape), "digest": _digest(a)}
                for n, a in arrays.items()
            ],
            "meta": meta,
        }
        numbered = {f"{k:05d}": array for k, array in enumerate(arrays.values())}
        sealed = {**described, "digest": _seal(described)}
        saved = self._manager.save(
            step,
            args=ocp.args.Composite(state=ocp.args.StandardSave(numbered), meta=ocp.args.JsonSave(sealed)),
        )
        self._manager.wait_until_finished()
        if not saved:
            # Orbax itself would say nothing, and the state would be lost.
            raise CheckpointError(
                f"step {step} cannot be saved in {self.folder}, which holds step "
                f"{self._manager.latest_step()}. Steps must grow; give every trial a folder of its own."
            )

    def latest(self) -> tuple[int, dict[str, np.ndarray], dict[str, Any]] | None:
        """Step, arrays by name and meta of the newest sound checkpoint; None if there is none.

        Damaged ones are reported in the log, and renamed to `damaged-...` on the way by who may write.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                arrays, meta = self._read(step)
            except Exception as error:  # noqa: BLE001 - Orbax and tensorstore raise many kinds
                if isinstance(error, MemoryError) or getattr(error, "errno", None) in NOT_DAMAGE:
                    raise
                logging.getLogger(__name__).warning(
                    "checkpoint %d in %s is damaged (%s); taking an older one",
                    step, self.folder, str(error).splitlines()[0] if str(error) else type(error).__name__,
                )
                if not self._reading:
                    self._set_aside(step)
                continue
            return step, arrays, meta
        return None

    def forget(self, after: int) -> None:
        """Delete every checkpoint behind a step: the run goes back to it, and writes them again."""
        for step in sorted(self._manager.all_steps(), reverse=True):
            if step > after:
                self._manager.delete(step)

    def _read(self, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        described = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
        if described.pop("digest", None) != _seal(described):
            raise CheckpointError(f"the description of step {step} is not what was written.")
        leaves = described["leaves"]
        target = {
            f"{k:05d}": np.zeros(leaf["shape"], jnp.dtype(leaf["dtype"])) for k, leaf in enumerate(leaves)
        }
        restored = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target))
        )["state"]
        arrays = {}
        for k, leaf in enumerate(leaves):
            array = np.asarray(restored[f"{k:05d}"])
            if str(array.dtype) != leaf["dtype"] or _digest(array) != leaf["digest"]:
                raise CheckpointError(f"leaf '{leaf['name']}' of step {step} is not what was written.")
            arrays[leaf["name"]] = array
        return arrays, described["meta"]

    def _set_aside(self, step: int) -> None:
        source = self.folder / STEP_FOLDER.format(step)
        number = 0
        while (target := self.folder.parent / f"damaged-{source.name}-{number}").exists():
            number += 1
        with contextlib.suppress(FileNotFoundError):  # another reader may have been quicker
            os.replace(source, target)
        self._manager.close()
        self._manager = _manager(self.folder, self._reading)


def load(folder: Path) -> tuple[int, dict[str, np.ndarray], dict[str, Any]]:
    """Step, arrays and meta of the newest sound checkpoint of a folder.

    Raises:
      CheckpointError: the folder is missing, or holds none.
    """
    if not Path(folder).is_dir():
        raise CheckpointError(f"there is no checkpoint folder {folder}. Check the path.")
    with Checkpoints(folder, reading=True) as checkpoints:
        found = checkpoints.latest()
    if found is None:
        raise CheckpointError(f"no checkpoint in {folder} can be read. Run the trial again.")
    return found


def filled(tree: Any, arrays: dict[str, np.ndarray], folder: Path) -> Any:
    """`tree` with its leaves replaced by the arrays of the same names, on the first device.

    Raises:
      CheckpointError: a leaf is missing, too many, or has another shape or type.
    """
    flat, treedef = jax.tree_util.tree_flatten_with_path(tree)
    names = [jax.tree_util.keystr(path) for path, _ in flat]
    if surplus := [name for name in arrays if name not in set(names)]:
        raise CheckpointError(
            f"the checkpoint in {folder} does not fit: leaf '{surplus[0]}' is not expected. "
            "It was written by another configuration."
        )
    leaves = []
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    for name, (_, leaf) in zip(names, flat, strict=True):
        array = arrays.get(name)
        raw = _raw(leaf)
        if array is None or array.shape != raw.shape or array.dtype != raw.dtype:
            found = "missing" if array is None else f"{array.dtype}{list(array.shape)}"
            raise CheckpointError(
                f"the checkpoint in {folder} does not fit: leaf '{name}' is {found}, expected "
                f"{raw.dtype}{list(raw.shape)}. It was written by another configuration."
            )
        if _is_key(leaf):
            data = jax.device_put(array, device)
            leaves.append(jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf)))
        else:
            leaves.append(jax.device_put(array, device))
    return jax.tree_util.tree_unflatten(treedef, leaves)


def _manager(folder: Path, reading: bool) -> ocp.CheckpointManager:
    logger = logging.getLogger("absl")
    level = logger.level
    if reading:
        logger.setLevel(logging.ERROR)  # Orbax warns of every folder that it is told to read only
    try:
        return ocp.CheckpointManager(
            folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=None if reading else KEPT,
                create=not reading,
                read_only=reading,
                step_prefix="step",
                step_format_fixed_length=8,
                cleanup_tmp_directories=not reading,
                enable_async_checkpointing=False,
            ),
        )
    finally:
        logger.setLevel(level)


def arrays_of(tree: Any) -> dict[str, np.ndarray]:
    """Name -> array of every leaf, random keys as their data."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(_raw(leaf)) for path, leaf in flat}


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _seal(described: dict[str, Any]) -> str:
    """Digest of the JSON beside the arrays, in the form in which it is read back."""
    text = json.dumps(json.loads(json.dumps(described)), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _digest(array: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest()
