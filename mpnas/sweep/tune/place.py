"""Where a trial runs on its worker: in the run folder if the worker sees it, else through the relay.

What a worker sees is tried, not assumed: the driver leaves a file with a name that nobody can guess in
the run folder, and a worker that finds it there, and can write, is in the same folder.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mpnas.sweep.folder import write_json
from mpnas.sweep.needs import Needs, data_folder
from mpnas.sweep.tune.relay import Away, relayed
from mpnas.sweep.tune.worker import on_worker

RELAY = "MPNAS_RELAY"  # environment variable of a cluster's workers: the secret of this session


def on_node(config: dict[str, Any]) -> None:
    """Run what `on_worker` runs in the driver's run folder `config["folder"]`, wherever this is."""
    with placed(Path(config["folder"]), config["trials"]) as folder:
        on_worker(config | {"folder": str(folder)})


@contextlib.contextmanager
def placed(folder: Path, trials: Sequence[str]) -> Iterator[Path]:
    """The folder in which trials run here; on leaving, what they wrote is in the run folder.

    Args:
      folder: The run folder, as the driver sees it.
      trials: Their ids: one, or the members of a population.
    """
    from mpnas.sweep.stages import SCORES

    secret = os.environ.get(RELAY)
    if secret is None:
        yield folder
        return
    away = relay_of(secret)
    needs: Needs = away.ask("needs")
    data = data_folder(needs, lambda *piece: away.ask("piece", *piece))
    if data is not None:
        os.environ["MPNAS_DATA"] = str(data)
    moved = needs.named is not None and data is not None and data != Path(needs.named)
    if visible(folder, secret) and not moved:
        yield folder
        return
    with relayed(away, trials, SCORES) as inner:
        if moved:
            plan = json.loads((inner / "plan.json").read_text(encoding="utf-8"))
            write_json(inner / "plan.json", plan | {"data_dir": str(data)})
        yield inner


def visible(folder: Path, secret: str) -> bool:
    """Whether this machine sees the folder in which the driver has left its mark, and can write there."""
    return mark_of(folder, secret).exists() and os.access(folder, os.W_OK)


def mark_of(folder: Path, secret: str) -> Path:
    """The file by which a worker knows the run folder."""
    return folder / f".seen-{secret}"


def relay_of(secret: str) -> Away:
    """The relay of this session.

    Raises:
      ValueError: there is none, or no longer.
    """
    import ray

    return Away(ray.get_actor(f"mpnas-relay-{secret}"))
