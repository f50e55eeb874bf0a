"""Taps: what the layers of a network read, written down while it runs.

Nothing is asked of the model: on a copy that nobody else has, each tapped layer becomes an object of a
subclass of its own class whose call notes its input first. Two networks of the same layers so have
features under the same names.
"""

import contextvars
import functools
from collections.abc import Iterable
from typing import Any

from flax import nnx
from jaxtyping import Array

from mpnas.space import Work
from mpnas.supernet.trace import module_at

Features = dict[str, tuple[Array, ...]]

_NOTES: contextvars.ContextVar[list[tuple[int, Any]]] = contextvars.ContextVar("notes")


def tapped_layers(work: Work) -> tuple[str, ...]:
    """The layers whose inputs are features: one for each tensor that layers read, but for the model's input.

    Layers in a loop are left out, as nothing that is noted inside leaves it; so are those that have an
    obstacle, which no module calls.
    """
    first: dict[str, str] = {}
    for layer in work.layers:
        if not (layer.looped or layer.obstacle or layer.tensor.partition("@")[0] == "input"):
            first.setdefault(layer.tensor, layer.path)
    return tuple(first.values())


def noted(model: nnx.Module, paths: Iterable[str], x: Any) -> tuple[Any, Features]:
    """`model(x)`, and path -> the inputs of that layer, one for each of its calls.

    Args:
      model: Changed while it runs; must not be in use elsewhere.
      paths: Layers of the model.
      x: Its input.
    """
    layers = {path: module_at(model, path) for path in paths}
    kinds: dict[str, Any] = {path: type(layer) for path, layer in layers.items()}
    notes: list[tuple[int, Any]] = []
    token = _NOTES.set(notes)
    try:
        for path, layer in layers.items():
            layer.__class__ = _tapped(kinds[path])
        output = model(x)  # type: ignore[operator]
    finally:
        _NOTES.reset(token)
        for path, layer in layers.items():
            layer.__class__ = kinds[path]
    return output, {
        path: tuple(seen for owner, seen in notes if owner == id(layer)) for path, layer in layers.items()
    }


@functools.cache
def _tapped(original: Any) -> Any:
    """One subclass per class."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        _NOTES.get().append((id(self), args[0] if args else next(iter(kwargs.values()))))
        return original.__call__(self, *args, **kwargs)

    return type(f"Tapped{original.__name__}", (original,), {"__call__": call})
