"""What a cluster's workers run: this code, and a person's own modules, packed for Ray to send.

No worker needs a checkout, nor mpnas installed; it needs the libraries. Of a person's own code goes what
this process has imported from the current folder or PYTHONPATH, which is what the plan's `module:callable`
names led to.
"""

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from mpnas.errors import ConfigError
from mpnas.pareto.artifacts import escapes
from mpnas.sweep.config import Experiment, named
from mpnas.sweep.named import own_callable
from mpnas.sweep.plan import Plan

PACKAGES = ("mpnas", "search_spaces", "experiments")
LEFT_OUT = {".png", ".html", ".pyc", ".md"}
LARGEST_BYTES = 50 * 2**20  # of one file; Ray keeps the pack in the memory of the cluster's head


def pack(target: Path, plan: Plan) -> Path:
    """Copy what workers import, and a file of weights named relative to the current folder, into `target`.

    Raises:
      ConfigError: an own module cannot be imported, or a file is too large to be sent like code.
    """
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        for place in spec.submodule_search_locations or [] if spec else []:
            _copy_package(Path(place), target / name)
    for key, name in _own_names(plan.experiment):
        own_callable(name, key)
    for module, path in _own_modules():
        parts = module.split(".")
        is_package = path.name == "__init__.py"
        if len(parts) == 1 and not is_package:
            _copy(path, target / path.name)
        elif is_package and len(parts) == 1:
            _copy_package(path.parent, target / module)
        elif parts[0] not in sys.modules or getattr(sys.modules[parts[0]], "__file__", None) is None:
            # A folder without __init__.py: only what was imported of it.
            _copy(path, target.joinpath(*parts[:-1], parts[-1] + "/__init__.py" if is_package else path.name))
    weights = Path(plan.experiment.weights or ".")
    if weights.is_file() and not escapes(str(weights)):
        _copy(weights, target / weights)
    return target


def _own_names(experiment: Experiment) -> Iterator[tuple[str, str]]:
    """Key and `module:callable` of everything that is a person's own."""
    specs = [("model", experiment.model), ("data", experiment.data)]
    for key, spec in (*specs, *(("costs", spec) for spec in experiment.costs)):
        if ":" in named(spec)[0]:
            yield key, named(spec)[0]


def _own_modules() -> Iterator[tuple[str, Path]]:
    """Name and file of what was imported from the current folder or PYTHONPATH."""
    places = [os.getcwd(), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    roots = [Path(place).resolve() for place in places]
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or name == "__main__" or name.split(".")[0] in PACKAGES or not file.endswith(".py"):
            continue
        path = Path(file).resolve()
        installed = {"site-packages", "dist-packages"} & set(path.parts)
        library = path.is_relative_to(Path(os.__file__).resolve().parent)
        if not installed and not library and any(path.is_relative_to(root) for root in roots):
            yield name, path


def _copy_package(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        inner = path.relative_to(source)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in inner.parts)
        if path.is_file() and not hidden and path.suffix not in LEFT_OUT:
            _copy(path, target / inner)


def _copy(source: Path, target: Path) -> None:
    if (size := source.stat().st_size) > LARGEST_BYTES:
        raise ConfigError(
            f"{source} has {size / 2**20:.0f} MiB, too much to be sent like code. Move data out of packages, "
            "into the folder of --data-dir, or onto a path that all machines share."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
