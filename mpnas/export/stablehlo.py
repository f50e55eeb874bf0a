"""StableHLO: the network of an assignment as one file that any XLA runs, without its Python.

Weights, ranges and rounding are constants in the program (`jax.export`), so the file alone computes what
the discretised network computes, in float: what simulation does, not integers. The batch has any size.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import export
from jax.errors import InconclusiveDimensionOperation

from mpnas.errors import ExportError, UnsupportedOperationError
from mpnas.space import Assignment
from mpnas.supernet import Parts, Supernet, discretize

PLATFORMS = ("cpu", "cuda", "tpu")


def write_stablehlo(
    net: Supernet,
    parts: Parts,
    assignment: Assignment,
    example: Any,
    path: Path,
    *,
    batch: int | None = None,
    platforms: Sequence[str] = PLATFORMS,
) -> None:
    """Write the network that `assignment` describes.

    Args:
      net, parts, assignment: As for `discretize`.
      example: An input batch, or its `jax.ShapeDtypeStruct`; shape and dtype count, the batch does not.
      path: Of the file; its folder exists.
      batch: The only batch size to allow; None for any.
      platforms: What it can run on.

    Raises:
      SearchSpaceError: the assignment is not one of this space.
      UnsupportedOperationError: the network cannot run without knowing its batch size.
    """
    graph, state = nnx.split(discretize(net, parts, assignment))
    first = export.symbolic_shape("batch")[0] if batch is None else batch
    inputs = jax.ShapeDtypeStruct((first, *example.shape[1:]), example.dtype)

    def network(x: Any) -> Any:
        return nnx.merge(graph, state, copy=True)(x)

    try:
        with _nameless():
            exported = export.export(jax.jit(network), platforms=tuple(platforms))(inputs)
    except InconclusiveDimensionOperation as error:
        raise UnsupportedOperationError(
            f"the network needs to know its batch size: {str(error).splitlines()[0]} "
            "Export it for one size, batch=1."
        ) from error
    path.write_bytes(exported.serialize())


@contextlib.contextmanager
def _nameless() -> Iterator[None]:
    """Without places in source files: they are folders of this machine, and differ with every caller."""
    before = jax.config.jax_traceback_in_locations_limit  # type: ignore[attr-defined]
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", before)


def read_stablehlo(path: Path) -> Callable[[Any], np.ndarray]:
    """The network in a file, as a function from an input batch to outputs.

    Raises:
      ExportError: the file is cut off, of a newer version, or something else; or it cannot run here.
    """
    try:
        exported = export.deserialize(bytearray(path.read_bytes()))
        module = exported.mlir_module()
    except Exception as error:  # the flatbuffer reader raises struct.error, IndexError, AssertionError, ...
        raise ExportError(
            f"{path.name} is no StableHLO file of jax.export that this version reads: {error}. "
            "Export it again."
        ) from error
    if not module or jax.default_backend() not in _here(exported.platforms):
        raise ExportError(
            f"{path.name} runs on {', '.join(exported.platforms)}, not on {jax.default_backend()}. "
            "Export it for this platform."
        )
    call = jax.jit(exported.call)
    return lambda x: np.asarray(call(x))


def _here(platforms: Sequence[str]) -> tuple[str, ...]:
    """Names of backends: a GPU is called by its maker in a file."""
    return tuple("gpu" if name in ("cuda", "rocm") else name for name in platforms)
