"""The command line: one file a verb; each parses, calls one function below, and prints.

Here is the group, and the one place where errors become sentences: whatever a person can mend is one
line on stderr and exit code 2, never a traceback. A defect of mpnas keeps its traceback.
"""

import errno
import io
import os
import sys
from typing import Any

import click

from mpnas.cli.exits import BAD_INPUT, INTERRUPTED
from mpnas.cli.lazy import LazyGroup
from mpnas.errors import MpnasError

VERBS = {
    "plan": "Show what a sweep would do: sites, costs, budgets, trials. Runs nothing.",
    "search": "Search one network under one budget, in this process.",
    "retrain": "Train the network of one point again.",
    "sweep": "Run every trial of an experiment and draw its front.",
    "resume": "Finish an interrupted run and draw its front.",
    "status": "Show how a run stands; needs no JAX.",
    "list": "List the runs in a folder.",
    "stop": "Ask a living run to end; it can be resumed.",
    "clean": "Remove what a run can do without.",
    "pareto": "Show, check, pick from, merge, compare or export fronts; needs no JAX.",
    "report": "Write the page of a front again; needs no JAX.",
    "export": "Write the network of one point as a file for elsewhere.",
    "eval": "Measure trained weights, check a point against its file, or files against each other.",
}


class Sentence(click.ClickException):
    """An error for a person to read: one line, exit code 2."""

    exit_code = BAD_INPUT

    def show(self, file: Any = None) -> None:
        click.echo(f"mpnas: {' '.join(self.message.split())}", err=True)


class Mpnas(LazyGroup):
    """The group of all verbs; turns errors into sentences."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        # Before JAX is imported: this process must compute as the workers of a sweep do.
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # What a terminal cannot show, or half of a surrogate pair in a damaged file, is no defect.
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except MpnasError as error:
            raise Sentence(str(error)) from error
        except KeyboardInterrupt:
            click.echo("mpnas: interrupted.", err=True)
            ctx.exit(INTERRUPTED)
        except RuntimeError as error:
            if not str(error).startswith("Symlink loop"):  # as pathlib tells it, before Python 3.13
                raise
            raise Sentence(f"{error}. Remove the link, or choose another path.") from error
        except MemoryError as error:
            raise Sentence(
                f"the memory is not enough: {error or 'no more is left'}. Choose a smaller batch or network."
            ) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader of a pipe has gone: click ends in silence
            raise Sentence(_sentence(error)) from error


def _sentence(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{reason}. Check the path, its permissions and the space on its disk."


@click.group(
    cls=Mpnas,
    package="mpnas.cli",
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Exit codes:
  0    done
  2    bad input: a sentence on stderr says what is wrong and the way out
  3    some trials failed; the front holds the others
  4    the sweep itself failed; its finished trials are kept
  130  interrupted; go on with mpnas resume

\b
Environment:
  MPNAS_DATA     folder of data files, where --data-dir is not given
  MPNAS_CACHE    folder of decoded data and compiled programs
  JAX_PLATFORMS  where networks are computed; cpu by default""",
)
@click.version_option(package_name="mpnas")
def main() -> None:
    """Find which bit-width every channel of a network deserves.

    mpnas searches networks in low, mixed precision and gives back the whole front of accuracy
    against cost, with a trained network at each of its points.

    \b
    Examples:
      mpnas plan digits                   look before you leap
      mpnas sweep digits                  two minutes to a front, in runs/digits
      mpnas pareto show runs/digits       its table and verdict
      mpnas pareto pick runs/digits --max weight_bytes=5kB
    """
