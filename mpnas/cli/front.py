"""Fronts as the verbs take them: a file, or the run folder that holds it."""

from pathlib import Path
from typing import Any

from mpnas.errors import ConfigError, FrontFileError
from mpnas.pareto import load


def front_file(path: Path) -> Path:
    """The file of a front.

    Raises:
      FrontFileError: the folder holds none, or there is nothing.
    """
    path = path.expanduser().resolve()
    if path.is_dir():
        if not (path / "front.json").exists():
            raise FrontFileError(f"{path} holds no front.json. Finish the run first: mpnas resume {path}")
        return path / "front.json"
    if not path.exists():
        raise FrontFileError(f"there is no front {path}. Name a front.json or its run folder.")
    return path


def new_file(path: Path, overwrite: bool) -> Path:
    """The file to write, absolute; nothing that is there is lost unasked.

    Raises:
      ConfigError: it is a folder, its folder is missing, or it exists and `overwrite` is not given.
    """
    path = path.expanduser().resolve()
    if path.is_dir():
        raise ConfigError(f"{path} is a folder. Name a file in it.")
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent}. Create it first.")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists. Choose another name, or replace it with --overwrite.")
    return path


def opened(path: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a front, and the front.

    Raises:
      FrontFileError: there is none, or it is not one.
    """
    file = front_file(path)
    return file.parent, load(file)
