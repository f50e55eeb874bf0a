"""Where a run lives: a folder, or a URI with a twin of it here; for `sweep` and `resume`."""

from pathlib import Path
from typing import Any

import click

from mpnas.cli.options import run_folder
from mpnas.cli.printing import short
from mpnas.sweep.hold import refuse_held
from mpnas.sweep.remote import Twin

Place = Path | str


class PlaceType(click.ParamType):
    """A folder as a path, a URI as it is: paths would make one slash of two."""

    name = "place"

    def convert(self, value: Any, param: Any, ctx: Any) -> Place:
        """`value` as a `Place`."""
        return value if isinstance(value, Path) or "://" in value else Path(value)


PLACE = PlaceType()
place_option = click.option(
    "--out", type=PLACE, metavar="DIR|URI",
    help="Run folder; default runs/<name>. A URI such as s3://bucket/run gets the results, from a twin "
         "under runs/.",
)


def run_place(place: Place | None, name: str, *, fetch: bool = True) -> tuple[Path, Twin | None]:
    """The run folder, absolute, and what carries it to its URI, with all that is there already.

    Args:
      place: What was asked for; None for the default.
      name: Of the experiment.
      fetch: Whether to bring here what is at the URI.

    Raises:
      MpnasError: the name leads out of `runs/`, the URI cannot be read or holds no run, or a living run holds
        the twin.
    """
    if not isinstance(place, str):
        return run_folder(place, name), None
    twin = Twin(place, Path("runs").resolve())
    refuse_held(twin.folder)  # what its driver has not sent yet must not be written over
    count = twin.fetch() if fetch else 0
    fetched = f"; {count} files have come from there" if count else ""
    click.echo(f"The run lives at {twin.remote.uri}; its twin here is {short(twin.folder)}{fetched}.")
    return twin.folder, twin
