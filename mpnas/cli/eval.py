"""`mpnas eval`: trained weights measured, a point held against its file, or files held against each other."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table

from mpnas.cli.exits import BAD_INPUT, stop
from mpnas.cli.front import opened
from mpnas.cli.options import absolute, data_option, processors, set_option
from mpnas.cli.printing import percent, row, show
from mpnas.cli.prospect import configure_process
from mpnas.errors import ConfigError, ExportError, FrontFileError
from mpnas.report.tables import amount_text, export_text, parity_text, table_of
from mpnas.sweep.bench import Bench, bench_of
from mpnas.sweep.checked import Checked, checked_exports
from mpnas.sweep.config import experiment_of
from mpnas.sweep.networks import (
    Answers,
    agreements,
    answers,
    looks_like_a_checkpoint,
    network_in,
    network_of,
)
from mpnas.sweep.plan import load_plan, plan_of
from mpnas.sweep.point import (
    Measured,
    Part,
    float_accuracy,
    ids_of,
    measure_rebuilt,
    point_of,
    rebuilt_point,
)

ENDINGS = {".mpnas", ".onnx", ".stablehlo"}  # of files of networks, also of those that are not there


@click.command("eval", epilog="""\b
Examples:
  mpnas eval resnet8_cifar10 --data-dir data
  mpnas eval runs/digits --point p003
  mpnas eval runs/digits --point p003 p003.mpnas p003.onnx
  mpnas eval p003.mpnas p003.onnx --data runs/digits
  mpnas eval runs/digits/trials/float-s0/checkpoint p003.mpnas --part select""")
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@click.option("--point", "point_id", metavar="ID", help="Point or reference of a run's front.")
@click.option("--data", "place", metavar="RUN|CONFIG",
              help="Files are measured on the data of this run or experiment; needless beside a RUN, or for "
                   "files that lie in one.")
@click.option("--part", type=click.Choice(["train", "select", "test"]), default="test", show_default=True,
              help="Part of the data to measure accuracy on.")
@set_option
@data_option
def command(
    targets: tuple[str, ...], point_id: str | None, place: str | None, part: Part,
    overrides: tuple[str, ...], data_dir: Path | None,
) -> None:
    """Measure trained weights, check a point against its file, or hold files against each other.

    TARGET is an experiment that names trained weights: prints their accuracy. Or it is a run folder or
    front.json, with --point: the network is rebuilt from its checkpoint and assignment, all of its
    costs and its accuracy are computed anew and compared with the file, and so is each export that the
    front names: whether it is there, unchanged, and agrees with the network as it did; code 2 if not.

    Or TARGETs are files: packed or ONNX or StableHLO files, and checkpoint folders of finished trials, with
    a point of a run beside them if one likes. Each is run on the same data; a table has their sizes, their
    accuracy, and how far their outputs are from those of the first. What a file is, its content says.
    """
    files = [target for target in targets if is_file_of_network(target)]
    places = [*(target for target in targets if target not in files), *([place] if place else [])]
    if len(places) > 1:
        raise ConfigError(f"{' and '.join(places)} are two places to take data from. Name one, and files.")
    if files:
        _files([Path(file).expanduser() for file in files], places, point_id, part, overrides, data_dir)
    elif place is not None:
        raise ConfigError(f"--data {place} says what files are measured on, and no file is named.")
    elif is_run(places[0]) or point_id is not None:
        _point(Path(places[0]).expanduser(), point_id, part, overrides, data_dir)
    else:
        _weights(places[0], part, overrides, data_dir)


def is_run(target: str) -> bool:
    """Whether a target is a run folder, or the file of a front."""
    path = Path(target).expanduser()
    return path.suffix == ".json" or (path / "front.json").exists() or (path / "plan.json").exists()


def is_file_of_network(target: str) -> bool:
    """Whether a target is to be opened as a network: any file but a front or an experiment, a checkpoint."""
    path = Path(target).expanduser()
    if path.is_dir():
        return not is_run(target) and looks_like_a_checkpoint(path)
    return path.suffix in ENDINGS or path.is_file() and path.suffix not in {".json", ".toml"}


# Trained weights of an experiment ---------------------------------------------------------------


def _weights(target: str, part: Part, overrides: tuple[str, ...], data_dir: Path | None) -> None:
    experiment, _ = experiment_of(target, overrides)
    configure_process(processors())
    found = float_accuracy(experiment, absolute(data_dir), part)
    click.echo(
        f"{experiment.name}: accuracy {percent(found.accuracy)} on the {found.rows:,} examples of part "
        f"'{part}' (float weights {experiment.weights})"
    )


# A point against its file -----------------------------------------------------------------------


def _point(
    path: Path, point_id: str | None, part: Part, overrides: tuple[str, ...], data_dir: Path | None
) -> None:
    _refuse_options(overrides, data_dir, "a point is")
    folder, front = opened(path)
    if point_id is None:
        raise FrontFileError(
            f"which point of {folder} is meant? Name one with --point; the front has {ids_of(front)}."
        )
    point_of(front, point_id)
    configure_process(load_plan(folder).threads)
    found = rebuilt_point(folder, front, point_id)
    again, exports = measure_rebuilt(found, part), checked_exports(folder, found)
    show(comparison(again), *([exports_again(exports)] if exports else []))
    wrong = [*again.differences, *(sentence for one in exports for sentence in one.wrong)]
    if wrong:
        stop(f"{point_id} differs from its file: {' '.join(wrong)}", BAD_INPUT)
    click.echo(f"{point_id} agrees with its file.")


def comparison(found: Measured) -> Table:
    """What the front says beside what was measured."""
    table = table_of(f"{found.point['id']}: {found.point['label']}", [""], ["front", "measured"])
    said = found.point["metrics"][found.metric]["mean"] if found.metric in found.point["metrics"] else None
    row(table, f"accuracy ({found.part})", percent(said), percent(found.accuracy))
    for name, cost in found.costs.items():
        written = found.point["costs"].get(name)
        row(table, name, "-" if written is None else amount_text(written), amount_text(cost))
    return table


def exports_again(exports: Sequence[Checked]) -> Table:
    """Each export with what was found, and how far it is from the network now."""
    table = table_of("Its exports", ["format", "file"], [], ["found", "against the network"])
    for one in exports:
        state = "differs" if one.wrong else "as written"
        parity = "-" if one.parity is None else parity_text(one.parity.to_json())
        row(table, export_text(one.entry), one.entry["path"], state, parity)
    return table


# Files against each other -----------------------------------------------------------------------


def _files(
    files: Sequence[Path], places: Sequence[str], point_id: str | None, part: Part,
    overrides: tuple[str, ...], data_dir: Path | None,
) -> None:
    home = places[0] if places else str(_run_around(files))
    if is_run(home):
        _refuse_options(overrides, data_dir, "files are")
        folder = Path(home).expanduser()
        folder = (folder.parent if folder.suffix == ".json" else folder).resolve()
        plan = load_plan(folder)
    elif point_id is not None:
        raise ConfigError(f"--point is of a run, and {home} is none. Name the run instead.")
    else:
        experiment, table = experiment_of(home, overrides)
        plan = plan_of(table, experiment, data_dir=absolute(data_dir))
    front = opened(Path(home))[1] if point_id is not None else None
    if front is not None and point_id is not None:
        point_of(front, point_id)
    configure_process(plan.threads if is_run(home) else processors())
    bench = bench_of(plan)
    networks = [network_in(file, bench) for file in files]
    if front is not None and point_id is not None:
        networks.insert(0, network_of(rebuilt_point(folder, front, point_id)))
    tables = side_by_side([answers(network, bench, part) for network in networks], bench, part)
    show(*tables)


def _run_around(files: Sequence[Path]) -> Path:
    """The one run folder in which any of the files lie.

    Raises:
      ConfigError: there is none, or several.
      ExportError: a file is not there.
    """
    runs = set[Path]()
    for file in files:
        if not file.exists():
            raise ExportError(f"there is no file {file}. Write one with mpnas export.")
        around = (parent for parent in file.resolve().parents if (parent / "plan.json").exists())
        runs |= set(itertools.islice(around, 1))
    if len(runs) != 1:
        raise ConfigError(
            f"on which data is {files[0]} to be measured? Name a run or an experiment: "
            f"mpnas eval {files[0]} --data runs/digits."
        )
    return runs.pop()


def side_by_side(found: Sequence[Answers], bench: Bench, part: Part) -> list[Table]:
    """Networks with size, accuracy and agreement with the first; of more than two, each with each as well."""
    first, pairs = found[0].network.name, agreements(found)
    table = table_of(
        f"{bench.data.name}, {bench.data.rows(part):,} inputs of part '{part}'", ["network", "kind"],
        ["bytes", "bits of weights", "accuracy", "same answers", "largest difference"],
    )
    table.caption = f"answers and outputs against those of {first}"
    for one, parity in zip(found, pairs[0], strict=True):
        network = one.network
        sizes = ["-" if n is None else f"{n:,}" for n in (network.file_bytes, network.weight_bits)]
        same = ["", ""] if one is found[0] else [
            percent(1 - parity.mismatch_rate), f"{parity.max_abs_diff:.3g}"
        ]
        row(table, network.name, network.kind, *sizes, percent(one.accuracy), *same)
    if len(found) < 3:
        return [table]
    each = table_of("Same answers, each with each", ["network"], [one.network.name for one in found])
    for one, parities in zip(found, pairs, strict=True):
        row(each, one.network.name, *(percent(1 - parity.mismatch_rate) for parity in parities))
    return [table, each]


def _refuse_options(overrides: tuple[str, ...], data_dir: Path | None, what: str) -> None:
    if overrides or data_dir is not None:
        raise ConfigError(
            f"--set and --data-dir go with an experiment; {what} measured as the run was made."
        )
