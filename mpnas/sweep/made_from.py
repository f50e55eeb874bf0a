"""What a run was made from, as digests in its plan: a resume with another model or other data is refused.

The config alone does not tell: a model or data of one's own are Python code, and a weights file can be
replaced. The program is compared as the text that JAX prints of it, so only within one version of JAX.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mpnas.errors import RunFolderError
from mpnas.supernet import Supernet, attach
from mpnas.sweep.bench import Bench
from mpnas.sweep.folder import plan_document
from mpnas.sweep.plan import Plan
from mpnas.sweep.point import float_model

WORDS = {
    "data": "the data ({name}) hold other examples",
    "layers": "the model ({name}) has other layers",
    "program": "the model ({name}) computes something else",
    "weights": "the model ({name}) starts from other weights",
}


def made_from(plan: Plan, bench: Bench) -> dict[str, str]:
    """Digests of all that determines the trials beside the config.

    Args:
      plan: The plan.
      bench: Its data and networks.

    Returns:
      `data`, `layers`, `program` and `weights` as SHA-256 in hexadecimal, and `jax`, its version.
    """
    net = bench.plain
    if plan.experiment.weights is not None:
        net = attach(float_model(plan.experiment, plan.data_dir), bench.data.example(), [])
    return {
        "data": bench.data.digest,
        "layers": _sha(repr(net.space.work)),
        "program": _sha(program_text(net, bench.data.example())),
        "weights": _sha(*(np.asarray(leaf) for leaf in jax.tree.leaves((net.parts.params, net.parts.stats)))),
        "jax": jax.__version__,
    }


def refuse_changed(folder: Path, plan: Plan, now: Mapping[str, str]) -> None:
    """Refuse to go on with a run whose model or data have changed since it began.

    Raises:
      RunFolderError: names what differs.
    """
    then = plan_document(folder).get("made_from")
    if not isinstance(then, dict):
        return  # written by hand, or by a script that says nothing of its data
    same_jax = then.get("jax") == now["jax"]
    experiment = plan.experiment
    model = experiment.model if isinstance(experiment.model, str) else experiment.model.get("name", "?")
    names = {"data": experiment.data}
    changed = [
        words.format(name=names.get(key, model))
        for key, words in WORDS.items()
        if key in then and then[key] != now[key] and (same_jax or key != "program")
    ]
    if changed:
        raise RunFolderError(
            f"since {folder} was begun, something has changed: {'; '.join(changed)}. Its finished trials and "
            "the rest would not belong together. Put it back, or start anew with another --out."
        )


def program_text(net: Supernet, example: Any) -> str:
    """The float network's program in evaluation, as JAX prints it, without addresses of this process."""
    closed = jax.make_jaxpr(lambda parts, x: net.apply(parts, {}, x, train=False)[0])(net.parts, example)
    return re.sub(r"0x[0-9a-f]+", "", str(closed))


def _sha(*pieces: Any) -> str:
    sha = hashlib.sha256()
    for piece in pieces:
        if isinstance(piece, str):
            sha.update(piece.encode())
        else:
            sha.update(f"{piece.dtype.str} {piece.shape}".encode())
            sha.update(np.ascontiguousarray(piece).tobytes())
    return sha.hexdigest()
