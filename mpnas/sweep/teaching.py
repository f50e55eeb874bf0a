"""Teachers by name: the float network, a checkpoint of any run, or a person's own callable.

A checkpoint is of the network of the run that it lies in, be it the float one or one of an assignment;
one that lies in no run is taken for a network of this run. A callable is called as `f(x) -> logits`; one
that needs no argument, or `rngs` alone, is a builder and gives an nnx module; a module is taken as it is.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from mpnas.errors import CheckpointError, ConfigError, MpnasError
from mpnas.space import Assignment
from mpnas.sweep.bench import Bench, bench_of
from mpnas.sweep.named import PROBE_ROWS, own_callable, told
from mpnas.sweep.plan import load_plan
from mpnas.train import Answers, Quantized, Teacher, is_model, one_hot_gates, streams, teacher
from mpnas.train.checkpoint import filled, load

FLOAT = "float"


def teacher_named(text: str, bench: Bench, floats: Teacher, seed: int) -> Teacher:
    """The teacher that a text names.

    Args:
      text: `float`, the path of a checkpoint folder, or `module:callable`.
      bench: Of the run whose network learns.
      floats: Its float network.
      seed: Of the random streams of a builder.

    Raises:
      ConfigError: nothing of that name, or its outputs are not logits of the same classes.
      CheckpointError: the checkpoint cannot be read, is of a training that is not over, or does not fit.
    """
    if text == FLOAT:
        return floats
    if Path(text).is_dir():
        found = _from_checkpoint(Path(text).resolve(), bench)
    elif ":" in text:
        found = _from_callable(own_callable(text, "teacher"), text, bench, seed)
    else:
        raise ConfigError(
            f"--teacher {text} is neither '{FLOAT}', nor a checkpoint folder, nor of the form "
            "'module:callable'. A trial's is RUN/trials/<id>/checkpoint."
        )
    _refuse_outputs(found, text, bench, floats)
    return found


def _from_checkpoint(path: Path, bench: Bench) -> Teacher:
    if (path / "checkpoint").is_dir():
        path = path / "checkpoint"
    _, arrays, meta = load(path)
    if meta.get("stage") != "final":
        raise CheckpointError(
            f"the newest checkpoint in {path} is of stage '{meta.get('stage')}', a training that is not "
            "over. Finish it first, or name another one."
        )
    run = next((folder for folder in path.parents if (folder / "plan.json").is_file()), None)
    if run is not None:
        bench = bench_of(load_plan(run))
    if not meta.get("assignment"):
        return Teacher(bench.plain, filled(bench.plain.parts, arrays, path))
    assignment = Assignment.from_json(meta["assignment"])
    bench.net.space.check(assignment)
    parts = filled(bench.net.parts, arrays, path)
    return Teacher(Quantized(bench.net, one_hot_gates(bench.net, assignment)), parts)


def _from_callable(found: Any, text: str, bench: Bench, seed: int) -> Teacher:
    if not is_model(found):
        if not _builds(found):
            return Teacher(Answers(found), {})
        options = {"rngs": streams(seed)} if "rngs" in inspect.signature(found).parameters else {}
        try:
            found = found(**options)
        except MpnasError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - own code may raise anything
            raise ConfigError(f"teacher '{text}' cannot be built: {told(error)}.") from error
        if not is_model(found):
            raise ConfigError(
                f"teacher '{text}' takes no inputs and built a {type(found).__name__}. "
                "Return a flax.nnx.Module, or write it as def teacher(x): return logits."
            )
    return teacher(found, bench.data)


def _builds(function: Callable[..., Any]) -> bool:
    """Whether it is called without inputs."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a builtin that does not tell
        return False
    open_ended = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {p.name for p in parameters if p.default is p.empty and p.kind not in open_ended} <= {"rngs"}


def _refuse_outputs(found: Teacher, text: str, bench: Bench, floats: Teacher) -> None:
    """Raise a ConfigError unless the teacher answers a batch with as many logits as the network has."""
    example = bench.data.example()
    x = jax.ShapeDtypeStruct((PROBE_ROWS, *example.shape[1:]), example.dtype)

    def outputs(one: Teacher) -> Any:
        return jax.eval_shape(lambda p, inputs: one.net.apply(p, {}, inputs, train=False)[0], one.parts, x)

    try:
        answered = outputs(found)
    except Exception as error:  # noqa: BLE001 - own code may raise anything
        raise ConfigError(
            f"teacher '{text}' cannot be called on {PROBE_ROWS} inputs of shape {tuple(example.shape[1:])}: "
            f"{told(error)}. It must be written with jax, and know inputs of this shape."
        ) from error
    wanted = tuple(outputs(floats).shape)
    if getattr(answered, "shape", None) != wanted:
        shape = getattr(answered, "shape", None)
        gave = type(answered).__name__ if shape is None else f"shape {tuple(shape)}"
        raise ConfigError(
            f"teacher '{text}' answers {PROBE_ROWS} inputs with {gave}, but the network that learns has "
            f"logits of shape {wanted}. Name a teacher of the same classes."
        )
