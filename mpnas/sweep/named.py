"""What a config names: models, data and weights by their names, or a person's own by `module:callable`.

The current folder is importable; nothing is evaluated. Models and data of one's own are called without
mpnas knowing more of them than what they return.
"""

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpnas.data import DATASETS, Dataset, load_own
from mpnas.errors import ConfigError, RunFolderError, nearest
from mpnas.models import MODELS, load_mlperf_tiny
from mpnas.sweep.config import Experiment
from mpnas.train import is_model, streams

WEIGHT_LOADERS: dict[str, Callable[..., Any]] = {"resnet8": load_mlperf_tiny}


def model_of(experiment: Experiment, seed: int) -> Any:
    """A fresh model with the weights that the seed draws.

    Raises:
      ConfigError: an unknown name, a builder that does not take these options, or that builds no module.
    """
    spec = experiment.model
    options = {} if isinstance(spec, str) else dict(spec)
    name = spec if isinstance(spec, str) else str(options.pop("name", ""))
    builder = own_callable(name, "model") if ":" in name else MODELS.get(name)
    if builder is None:
        raise ConfigError(
            f"unknown model '{name}'; nearest: {nearest(name, MODELS)}. A model of your own is "
            'written model = "my_net:build".'
        )
    arguments: dict[str, Any] = {"rngs": streams(seed)}
    parameters = inspect.signature(builder).parameters
    if "rngs" not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        raise ConfigError(
            f"model '{name}' takes no argument 'rngs'. Write it as def build(*, rngs): ..., so that each "
            "seed draws weights of its own."
        )
    try:
        model = builder(**arguments, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model '{name}' cannot be built with {options}: {error}.") from error
    if not is_model(model):
        raise ConfigError(f"model '{name}' built a {type(model).__name__}. Return a flax.nnx.Module.")
    return model


def data_of(experiment: Experiment, data_dir: Path | None) -> Dataset:
    """The data of an experiment.

    Raises:
      ConfigError: an unknown name.
      DataError: files are missing or not what they should be.
    """
    name = experiment.data
    if ":" in name:
        return load_own(own_callable(name, "data")(), name)
    if name not in DATASETS:
        raise ConfigError(
            f"unknown data '{name}'; nearest: {nearest(name, DATASETS)}. Arrays of your own are written "
            'data = "my_net:batches".'
        )
    return DATASETS[name](data_dir)


def own_callable(name: str, key: str) -> Callable[..., Any]:
    """The object that `module:callable` names; the current folder is importable.

    Raises:
      ConfigError: the module or the attribute does not exist, or is not callable.
    """
    module_name, _, attribute = name.partition(":")
    if not (module_name and attribute) or module_name.startswith("."):
        raise ConfigError(f'{key} = "{name}" is not of the form "module:callable", such as "my_net:build".')
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and misses one of its own
        raise ConfigError(
            f'{key} = "{name}": there is no module \'{module_name}\' here ({folder}) or among the installed '
            "packages. Start mpnas in the folder that holds it."
        ) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        names = [n for n in vars(module) if callable(getattr(module, n)) and not n.startswith("_")]
        raise ConfigError(
            f'{key} = "{name}": module \'{module_name}\' has no callable \'{attribute}\'; '
            f"nearest: {nearest(attribute, names) if names else 'none'}."
        )
    return found


def load_weights(model: Any, experiment: Experiment, data_dir: str | None) -> None:
    """Fill a model with the trained weights that the experiment names.

    Raises:
      RunFolderError: no loader for this model, or no such file.
    """
    spec = experiment.model
    name = spec if isinstance(spec, str) else str(spec.get("name"))
    if name not in WEIGHT_LOADERS:
        raise RunFolderError(
            f"weights = '{experiment.weights}' cannot be loaded into model '{name}'; models with published "
            f"weights: {', '.join(WEIGHT_LOADERS)}. Delete the key and train with [recipe.float]."
        )
    root = data_dir or os.environ.get("MPNAS_DATA", ".")
    for path in (Path(str(experiment.weights)), Path(root) / str(experiment.weights)):
        if path.is_file():
            try:
                WEIGHT_LOADERS[name](model, path)
            except (ValueError, OSError) as error:
                raise RunFolderError(f"weights = '{path}' cannot be loaded: {error}") from error
            return
    raise RunFolderError(
        f"weights = '{experiment.weights}' is neither a file nor below the data folder ({root}). "
        "Name the folder with --data-dir or MPNAS_DATA."
    )
