"""Picked quantizers: what each layer of a discretised network does to its kernel and to its input.

Codes come from `Quantizer.to_codes`, whose decoding is what simulation multiplies with, in every bit.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mpnas.export.emit import Grid
from mpnas.quant import IntFormat, QTensor
from mpnas.supernet import MixedProduct
from mpnas.supernet.operand import range_entries
from mpnas.supernet.trace import HOOKS, module_at

FAR = 1e30  # beyond the range of any quantizer
Key = tuple[str, str, int]  # layer, weight or act, index of the candidate


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer in integers.

    Attributes:
      numbers: Codes, bits, zero points, midrise and sign, as a `Contraction` takes them; None where the
        kernel is in float.
      scale: Step of each output channel's kernel, float64 `(out,)`.
      grid: What its input is quantised to; None where it stays in float.
    """

    numbers: Mapping[str, Any] | None
    scale: np.ndarray
    grid: Grid | None


def picked_quantizers(model: nnx.Module, paths: Sequence[str]) -> dict[str, Layer]:
    """Path -> its layer in integers.

    Args:
      model: A network from `discretize`: every decision has picked one candidate.
      paths: Its layers.
    """
    hooks = {path: hook for path in paths if (hook := _hook(model, path)) is not None}
    codes = _codes(model, hooks)
    layers = {path: Layer(None, np.ones(1), None) for path in paths}
    for path, hook in hooks.items():
        numbers, scale = _kernel(path, hook, codes)
        layers[path] = Layer(numbers, scale, _grid(path, hook, codes))
    return layers


def _hook(model: nnx.Module, path: str) -> MixedProduct | None:
    module = module_at(model, path)
    held = next((getattr(module, name) for name in HOOKS if hasattr(module, name)), None)
    return held if isinstance(held, MixedProduct) else None


def _codes(model: nnx.Module, hooks: Mapping[str, MixedProduct]) -> dict[Key, QTensor]:
    """Kernels, and two far values of inputs, under every candidate that is used.

    One compiled program for all of them: op by op every shape would be compiled on its own.
    """
    quantizers: dict[Key, Any] = {}
    arrays: dict[Key, Any] = {}
    for path, hook in hooks.items():
        kernel = jnp.asarray(module_at(model, path).kernel[...], jnp.float32)
        for kind, x in (("weight", kernel), ("act", jnp.array([[-FAR, FAR]], jnp.float32))):
            choice = getattr(hook, kind)
            _, ranges, stats = hook.held(kind) if choice is not None else (None, {}, {})
            for k, candidate in enumerate(choice.candidates if choice is not None else ()):
                entries = (range_entries(found, candidate.bits) for found in (ranges, stats))
                quantizers[path, kind, k], arrays[path, kind, k] = candidate, (x, *entries)

    @jax.jit
    def encode(arrays: dict[Key, Any]) -> dict[Key, QTensor]:
        return {key: quantizers[key].to_codes(*given) for key, given in arrays.items()}

    return encode(arrays)


def _kernel(
    path: str, hook: MixedProduct, codes: Mapping[Key, QTensor]
) -> tuple[Mapping[str, Any] | None, np.ndarray]:
    """Codes with what says what they mean, each channel from the candidate that it picked; their scale."""
    choice = hook.weight
    if choice is None:
        return None, np.ones(1)
    shape = codes[path, "weight", 0].codes.shape
    out = shape[-1]
    gates = np.asarray(hook.held("weight")[0])
    picked = np.argmax(gates, axis=1)[np.asarray(choice.granularity.index(out))]
    levels, scale = np.zeros(shape, np.int32), np.zeros(out)
    bits, zero, midrise = np.zeros(out, np.int64), np.zeros(out, np.int64), np.zeros(out, bool)
    signs = set()
    for k in sorted(set(picked.tolist())):
        mine, q = picked == k, codes[path, "weight", k]
        fmt = q.format
        if not isinstance(fmt, IntFormat):
            return None, np.ones(1)
        group = np.asarray(q.granularity.index(out))[mine]
        levels[..., mine] = np.asarray(q.codes, np.int32)[..., mine]
        scale[mine] = np.asarray(q.scale, np.float64)[group] / (2 if fmt.offset else 1)
        bits[mine], midrise[mine] = fmt.bits, fmt.offset != 0
        if q.zero_point is not None:
            zero[mine] = np.asarray(q.zero_point, np.int64)[group]
        signs.add(fmt.signed)
    numbers = dict(codes=levels, bits=bits, zero_point=zero, midrise=midrise, signed=signs == {True})
    return numbers, scale


def _grid(path: str, hook: MixedProduct, codes: Mapping[Key, QTensor]) -> Grid | None:
    """What the picked activation quantizer does; None if it leaves the input in float."""
    if hook.act is None:
        return None
    q = codes[path, "act", int(np.argmax(np.asarray(hook.held("act")[0])[0]))]
    fmt = q.format
    if not isinstance(fmt, IntFormat):
        return None
    low, high = np.asarray(q.codes, np.int64).ravel().tolist()
    zero = 0 if q.zero_point is None else int(np.asarray(q.zero_point)[0])
    step = float(np.asarray(q.scale)[0])
    return Grid(fmt.bits, fmt.signed, zero, fmt.offset != 0, step, low, high)
