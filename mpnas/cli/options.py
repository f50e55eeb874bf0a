"""Options that several verbs share, and what they mean: overrides, folders, processors."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from mpnas.errors import ConfigError
from mpnas.sweep.tune.resources import Resources

Command = TypeVar("Command", bound=Callable[..., Any])
FOLDER = click.Path(path_type=Path)

out_option = click.option(
    "--out", type=FOLDER, metavar="DIR",
    help="Run folder; default runs/<name>, for a search runs/<name>-search.",
)
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Override a key of the experiment, such as recipe.search.steps=200. Repeatable.",
)
data_option = click.option(
    "--data-dir", type=FOLDER, metavar="DIR", help="Folder of data files; default $MPNAS_DATA."
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), metavar="N",
    help="Threads per trial; default 1 unless only one trial runs at once. Part of the plan: results "
         "depend on it in their last bits.",
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace a file that is there."
)


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where trials run, as the command line says it.

    Attributes:
      cpus: Trials at the same time; None for as many as there are processors.
      retries: How often a trial whose worker died is started again.
      hang_after: Seconds without progress after which a trial's worker is ended.
      address: A running cluster; None for this machine alone.
    """

    cpus: int | None
    retries: int
    hang_after: float
    address: str | None

    @property
    def at_once(self) -> int:
        """Trials at the same time, as far as this machine knows."""
        return self.cpus or processors()

    def resources(self, lost: Callable[[str], None] | None = None) -> Resources:
        """The same for the driver; `lost` is called when the head of a cluster has died."""
        return Resources(
            cpus=self.at_once if self.address is None else self.cpus, retries=self.retries,
            hang_after=self.hang_after, address=self.address, lost=lost,
        )


MACHINE_OPTIONS = (
    click.option("--cpus", type=click.IntRange(min=1), metavar="N",
                 help="Trials at the same time; default all processors."),
    click.option("--retries", type=click.IntRange(min=0), default=3, show_default=True, metavar="N",
                 help="How often a trial whose worker died is started again."),
    click.option("--hang-after", type=click.FloatRange(min=0, min_open=True), default=1800.0,
                 show_default=True, metavar="SECONDS",
                 help="Without progress for so long, a trial loses its worker and is started again."),
    click.option("--address", metavar="auto|HOST:PORT",
                 help="Run on a Ray cluster that is up: the one of this machine (auto), or the head's "
                      "address. It has to need a token; see scripts/README.md."),
)


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `Machine`, handed to the command as one argument `machine`."""
    names = [field.name for field in dataclasses.fields(Machine)]

    @functools.wraps(command)
    def gathered(**arguments: Any) -> Any:
        machine = Machine(**{name: arguments.pop(name) for name in names})
        return command(machine=machine, **arguments)

    for option in reversed(MACHINE_OPTIONS):
        gathered = option(gathered)
    return gathered


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def absolute(folder: Path | None) -> str | None:
    """A data folder as a plan keeps it: workers and later resumes may start elsewhere."""
    return None if folder is None else str(folder.expanduser().resolve())


def run_folder(out: Path | None, name: str, suffix: str = "") -> Path:
    """The run folder: what was asked for, else `runs/<name><suffix>`, absolute.

    Raises:
      ConfigError: the name of the experiment would lead out of `runs/`.
    """
    if out is not None:
        return out.expanduser().resolve()
    if not name or name in {".", ".."} or "/" in name or "\\" in name or "\0" in name:
        raise ConfigError(f"the name {name!r} cannot be that of a folder. Give one with --out.")
    return Path("runs").resolve() / f"{name}{suffix}"


def pairs(texts: tuple[str, ...], option: str, example: str) -> dict[str, str]:
    """`key=value` texts as a mapping.

    Raises:
      ConfigError: a text has another form, or a key comes twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not (key and equals and value):
            raise ConfigError(
                f"{option} {text!r} is not of the form name=amount, such as {option} {example}."
            )
        if key in found:
            raise ConfigError(f"{option} names '{key}' twice. Give it once.")
        found[key] = value
    return found


def budget_of(asked: Mapping[str, str]) -> dict[str, float | str]:
    """A budget as experiments write it: bare numbers as numbers, `20%` as 0.2, the rest as text."""
    return {name: _amount(text) for name, text in asked.items()}


def _amount(text: str) -> float | str:
    number, percent = text.removesuffix("%"), text.endswith("%")
    try:
        return float(number) / 100 if percent else float(number)
    except ValueError:
        return text
