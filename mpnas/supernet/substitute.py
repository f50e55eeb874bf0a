"""Layers without a hook: a subclass in their place that runs them with a mixed kernel.

`nnx.ConvTranspose`, `nnx.Einsum` and `nnx.Embed` multiply without asking anybody. Their substitute is
the same module, with the same arrays under the same paths; its call lends a copy of itself another
kernel and runs the original class on it.
"""

import functools
from collections.abc import Callable
from typing import Any

from flax import nnx
from jaxtyping import Array

KERNELS: dict[type, str] = {nnx.ConvTranspose: "kernel", nnx.Einsum: "kernel", nnx.Embed: "embedding"}
SLOT = "mixed_product"  # the attribute that holds the MixedProduct


def kernel_name(module: Any) -> str | None:
    """Name of the kernel of a module that can be substituted, else None."""
    return KERNELS.get(type(module))


def substituted(module: Any) -> Any:
    """The same module as an object of the substituting class; its `mixed_product` is still to be set."""
    kind: Any = type(module)
    double: Any = object.__new__(_substitute_of(kind))
    vars(double).update(vars(module))
    return double


def replace(model: nnx.Module, path: str, module: Any) -> None:
    """Put `module` at a `/`-separated path of the model."""
    *above, last = path.split("/")
    owner: Any = model
    for segment in above:
        owner = owner[int(segment)] if isinstance(owner, nnx.List) else _entry(owner, segment)
    if isinstance(owner, nnx.List):
        owner[int(last)] = module
    elif isinstance(owner, nnx.Dict):
        owner[last] = module
    else:
        setattr(owner, last, module)


def _entry(owner: Any, segment: str) -> Any:
    return owner[segment] if isinstance(owner, nnx.Dict) else getattr(owner, segment)


@functools.cache
def _substitute_of(original: Any) -> Any:
    """One subclass per class: flax compares the classes of two networks."""
    kernel = KERNELS[original]

    def mixed(method: Callable[..., Array]) -> Callable[..., Array]:
        @functools.wraps(method)
        def call(self: Any, inputs: Array, *args: Any, **kwargs: Any) -> Array:
            def product(lhs: Array, rhs: Array) -> Array:
                double: Any = object.__new__(original)
                vars(double).update(vars(self))
                vars(double)[kernel] = nnx.Param(rhs)
                return method(double, lhs, *args, **kwargs)

            return getattr(self, SLOT).around(product, inputs, getattr(self, kernel)[...])

        return call

    methods = {"__call__": mixed(original.__call__)}
    if hasattr(original, "attend"):
        methods["attend"] = mixed(original.attend)
    return type(f"Mixed{original.__name__}", (original,), methods)
