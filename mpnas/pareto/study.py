"""A front as an Optuna study in a file, for Optuna's plots and its dashboard.

The study has the directions of the objectives that decide, so its best trials are the nondominated
points. What a trial would have suggested, a front does not know; its parameters are what a plot can use:
mean bits, the limits in force, controller and seed. The rest stands in its user attributes.
"""

import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mpnas.errors import ConfigError, FrontFileError
from mpnas.pareto.bits import shares
from mpnas.pareto.objectives import directions_of, on_front, value_of
from mpnas.pareto.spreadsheet import bits_text

Front = Mapping[str, Any]

SQLITE = (".db", ".sqlite", ".sqlite3")
JOURNAL = (".log", ".journal", ".jsonl")
_ATTRIBUTES = ("id", "trial", "label", "stage", "nondominated", "budget", "metrics", "costs", "seconds")


def save_study(front: Front, path: str | os.PathLike[str]) -> str:
    """Write the points of a front as a study of its own in a new file.

    Args:
      front: A document that `load` or `build` returned.
      path: Ends in `.db`, `.sqlite` or `.sqlite3` for a SQLite file, in `.log`, `.journal` or `.jsonl`
        for a journal; its folder exists. A file that is there is replaced, once the new one is whole.

    Returns:
      The name of the study.

    Raises:
      ConfigError: Optuna is not installed, or the path has another ending.
      FrontFileError: The file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in SQLITE + JOURNAL:
        raise ConfigError(
            f"{target} is no storage of Optuna. End it with .db for SQLite, or with .log for a journal."
        )
    optuna = _package()
    name = front["run"]["id"][:200]
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        # In a folder with a plain name: the path of a SQLite file becomes a URL, and signs like ? end it.
        with tempfile.TemporaryDirectory(prefix="mpnas-") as folder:
            made = Path(folder) / f"study{target.suffix.lower()}"
            _fill(optuna, _storage(optuna, made), front, name)
            shutil.copyfile(made, part)
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise FrontFileError(f"{target} cannot be written: {error.strerror}.") from error
    return name


def _package() -> Any:
    # Imported late: only those who ask for it need the package.
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "a study needs the package optuna, which is not installed. Install it with: "
            "pip install 'mpnas[optuna]'."
        ) from error
    return optuna


def _storage(optuna: Any, path: Path) -> Any:
    if path.suffix in SQLITE:
        return optuna.storages.RDBStorage(f"sqlite:///{path}")
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    return optuna.storages.JournalStorage(backend)


def _fill(optuna: Any, storage: Any, front: Front, name: str) -> None:
    axes = on_front(front["objectives"])
    words = {"max": "maximize", "min": "minimize"}
    shown = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            storage=storage, study_name=name, directions=[words[word] for word in directions_of(axes)]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([axis["name"] for axis in axes])
        study.set_user_attr("run", {k: front["run"][k] for k in ("id", "config_sha256", "model", "dataset")})
        study.set_user_attr("references", [{k: r[k] for k in _ATTRIBUTES} for r in front["references"]])
        study.add_trials(_trials(optuna, front, axes))
    finally:
        optuna.logging.set_verbosity(shown)
        if hasattr(storage, "engine"):
            storage.remove_session()
            storage.engine.dispose()


def _trials(optuna: Any, front: Front, axes: Sequence[Mapping[str, Any]]) -> list[Any]:
    params = [params_of(point, front["run"]["sites"]) for point in front["points"]]
    distributions = _distributions(optuna, params)
    return [
        optuna.trial.create_trial(
            params=found,
            distributions={name: distributions[name] for name in found},
            values=[float(value_of(point, axis)) for axis in axes],
            user_attrs={key: point[key] for key in _ATTRIBUTES}
            | {"bits": {site: bits_text(one) for site, one in point["assignment"].items()}},
        )
        for point, found in zip(front["points"], params, strict=True)
    ]


def params_of(point: Mapping[str, Any], sites: Mapping[str, Any]) -> dict[str, float | int | str]:
    """What a plot can lay along its axes: controller, seed, limits, mean bits of what was decided."""
    found: dict[str, float | int | str] = {
        "controller": point["controller"] or point["kind"],
        "seed": point["seed"],
        **{f"limit {name}": float(limit) for name, limit in point["limits"].items()},
    }
    for kind, unit in (("weight", "parameters"), ("activation", "macs")):
        if share := shares(point["assignment"], sites, kind, unit):
            found[f"mean {kind} bits"] = sum(bits * part for bits, part in share.items())
    return found


def _distributions(optuna: Any, params: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """For each parameter one range that holds all its values."""
    kinds = optuna.distributions
    found: dict[str, Any] = {}
    for name in sorted({name for row in params for name in row}):
        values = sorted({row[name] for row in params if name in row})
        if isinstance(values[0], str):
            found[name] = kinds.CategoricalDistribution(values)
        elif isinstance(values[0], int):
            found[name] = kinds.IntDistribution(values[0], values[-1])
        else:
            found[name] = kinds.FloatDistribution(values[0], values[-1])
    return found
