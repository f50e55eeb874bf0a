"""What a config names: models, data and weights by their names, or a person's own by `module:callable`.

The current folder is importable; nothing is evaluated. Models and data of one's own are called without
mpnas knowing more of them than what they return.
"""

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from mpnas.data import DATASETS, Dataset, load_own
from mpnas.errors import ConfigError, MpnasError, RunFolderError, nearest
from mpnas.models import MODELS, load_mlperf_tiny
from mpnas.supernet import Supernet
from mpnas.sweep.config import Experiment
from mpnas.train import is_model, streams

PROBE_ROWS = 7  # a batch of a size that no model is made for
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
    try:
        parameters = inspect.signature(builder).parameters
    except ValueError:  # a builtin that does not tell
        parameters = inspect.signature(lambda: None).parameters
    if "rngs" not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        raise ConfigError(
            f"model '{name}' takes no argument 'rngs'. Write it as def build(*, rngs): ..., so that each "
            "seed draws weights of its own."
        )
    try:
        model = builder(**arguments, **options)
    except MpnasError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - own code may raise anything
        raise ConfigError(f"model '{name}' cannot be built with {options}: {told(error)}.") from error
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
        return load_own(_returned(own_callable(name, "data"), name), name)
    if name not in DATASETS:
        raise ConfigError(
            f"unknown data '{name}'; nearest: {nearest(name, DATASETS)}. Arrays of your own are written "
            'data = "my_net:batches".'
        )
    return DATASETS[name](data_dir)


def refuse_outputs(plain: Supernet, data: Dataset) -> None:
    """Raise a ConfigError unless the network answers a batch with one float per row and class."""
    x = jax.ShapeDtypeStruct((PROBE_ROWS, *data.example().shape[1:]), data.example().dtype)
    try:
        found = jax.eval_shape(lambda p, inputs: plain.apply(p, {}, inputs, train=False)[0], plain.parts, x)
    except Exception as error:  # noqa: BLE001 - own code may raise anything
        raise ConfigError(
            f"the model cannot be called on a batch of {PROBE_ROWS} rows: {told(error)}. "
            "It must take any number of them."
        ) from error
    # Tuples, dictionaries and None have no shape.
    shape = getattr(found, "shape", None)
    kind: Any = getattr(found, "dtype", None)
    if shape is None or len(shape) != 2 or shape[0] != PROBE_ROWS or not jnp.issubdtype(kind, jnp.floating):
        gave = type(found).__name__ if shape is None else f"{kind} of shape {tuple(shape)}"
        raise ConfigError(
            f"the model answers {PROBE_ROWS} inputs with {gave}. "
            "Return float logits of shape (rows, classes)."
        )
    if shape[1] < data.classes:
        raise ConfigError(
            f"the model has {shape[1]} outputs, but data set '{data.name}' has labels up to "
            f"{data.classes - 1}. Give it {data.classes} outputs, or number the classes from 0 without gaps."
        )


def told(error: BaseException) -> str:
    """What a person's own code raised, and the line of it, in words."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and "site-packages" not in frame.filename and frame.filename[0] != "<"
    ]
    words = (str(error).strip().splitlines() or [""])[0].rstrip(".")  # what follows is for programmers
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{f': {words}' if words else ''}{where}"


def _returned(function: Callable[..., Any], name: str) -> Any:
    try:
        return function()
    except (MpnasError, OSError):
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - own code may raise anything
        raise ConfigError(f"data '{name}' cannot be made: {told(error)}.") from error


def own_callable(name: str, key: str) -> Callable[..., Any]:
    """The object that `module:callable` or `module.py:callable` names; the current folder is importable.

    Raises:
      ConfigError: the module or the attribute does not exist, is not callable, or is Python's own.
    """
    module_name, _, attribute = name.partition(":")
    if not (module_name and attribute) or module_name.startswith("."):
        raise ConfigError(f'{key} = "{name}" is not of the form "module:callable", such as "my_net:build".')
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module_name = module_name.removesuffix(".py").replace("/", ".")
    if module_name.partition(".")[0] in sys.stdlib_module_names:
        # os:abort in a stranger's plan, or a file of one's own that import would never find.
        raise ConfigError(
            f'{key} = "{name}": \'{module_name}\' is a module of Python itself, which has no networks and no '
            "data. If a file of your own has this name, rename it."
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{module_name}.".startswith(f"{error.name}."):
            # The module is there, and misses one of its own.
            raise ConfigError(f'{key} = "{name}": module \'{module_name}\' fails: {told(error)}.') from error
        raise ConfigError(
            f'{key} = "{name}": there is no module \'{module_name}\' here ({folder}) or among the installed '
            "packages. Start mpnas in the folder that holds it."
        ) from error
    except (Exception, SystemExit) as error:  # noqa: BLE001 - own code may raise anything
        raise ConfigError(f'{key} = "{name}": module \'{module_name}\' fails: {told(error)}.') from error
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
