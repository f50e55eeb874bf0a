"""Lowering: a discretised network becomes a graph of integers.

The network's own program is read in evaluation mode. At each layer the quantizers that the network has
there are read too, so that the graph computes what simulation computes:

- A code is one rounding of `scale * accumulator + bias`, normalisation and activation included, as in
  simulation, ties to even. With `single_round` it is exact to about 2^-24 of a step.
- What simulation leaves unquantised between two layers stays fine-grained: a sum that several readers
  quantise differently, or that is added to again, is an int32 sum with a step of about 2^-16 of theirs.
- A gate is a product of two such sums, and a sigmoid, tanh or erf a table within 1.5e-6 of its function:
  codes differ about as seldom as the order of a float32 sum makes them. A GELU by tanh is coarser, as its
  cube is one sum over all the reach of an accumulator: behind a layer of 64 channels of 3x3, 3 codes in
  10,000 were one off, and 8 in 100,000 with the GELU by erf.
- Simulation itself sums in float32, in an order that is not defined. Where steps are powers of two and
  no sum reaches 2^24 both are exact, and equal in every bit. Else a value on the edge between two codes
  may fall to either side: single codes differ by one, at a rate that `tests/export` measures.

Source: Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877; for the folding of normalisations its
section 3.2.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mpnas.errors import UnsupportedOperationError
from mpnas.export.affine import Value
from mpnas.export.emit import Emitter
from mpnas.export.float_ops import float_ops
from mpnas.export.graph import IntegerGraph
from mpnas.export.ops import Contraction, Rounding
from mpnas.export.picked import Layer, picked_quantizers
from mpnas.export.reorder import sorted_by_bits
from mpnas.export.walk import PRODUCT, Side, Walker
from mpnas.space import Assignment
from mpnas.supernet import MixedProduct, Parts, Supernet, discretize
from mpnas.supernet.trace import HOOKS, TRACE_BATCH, module_at


def lower(
    net: Supernet, parts: Parts, assignment: Assignment, example: Any, *,
    rounding: Rounding = "single_round",
) -> IntegerGraph:
    """The integer graph of the network that `assignment` describes, its channels sorted by bits.

    Args:
      net, parts, assignment: As for `discretize`.
      example: An input batch, or its `jax.ShapeDtypeStruct`; only its shape counts.
      rounding: Kind of every requantisation. Only `single_round` is what simulation does.

    Raises:
      SearchSpaceError: the assignment is not one of this space.
      UnsupportedOperationError: something in the network has no integer form, or a layer is in float;
        names the operation and its place.
      GraphError: an accumulator could overflow int32.
    """
    net.space.check(assignment)
    if found := float_ops(net.space, assignment):
        raise UnsupportedOperationError(
            f"{len(found)} parts of the network stay in float, so it has no integer graph: "
            f"{', '.join(found)}. "
            "Give layers bits from 1 to 8 or 16 by a rule, for weights and for activations."
        )
    model = discretize(net, parts, assignment)
    return lower_model(model, {layer.path for layer in net.space.work.layers}, example, rounding=rounding)


def lower_model(
    model: nnx.Module, layers: set[str], example: Any, *, rounding: Rounding = "single_round"
) -> IntegerGraph:
    """The integer graph of a network from `discretize`; it is not changed.

    Args:
      model: The network.
      layers: Paths of its layers.
      example, rounding: As for `lower`, which also says what is raised.
    """
    marked = nnx.clone(model)
    marked.eval()
    kernels = picked_quantizers(marked, sorted(layers))
    for path in sorted(layers):
        _mark(marked, path)
    shape = (TRACE_BATCH, *example.shape[1:])
    closed = jax.make_jaxpr(lambda x: marked(x))(jax.ShapeDtypeStruct(shape, jnp.float32))  # type: ignore
    emitter = Emitter(tuple(example.shape[1:]), rounding)

    def product(path: str, equation: Any, side: Side) -> Value:
        return _contracted(emitter, path, kernels[path], equation, side)

    walker = Walker(emitter, product)
    (result,) = walker.read(closed.jaxpr, closed.consts, [(emitter.input,)])
    if not isinstance(result, tuple) or len(result) != 1 or result[0].tensor == "input":
        raise walker.refusal("output that no layer computes")
    return sorted_by_bits(emitter.finished(result[0]))


def _mark(model: nnx.Module, path: str) -> None:
    """Let the layer call its product by a name under which the program shows it, on what it was given."""
    module = module_at(model, path)
    hook = next((name for name in HOOKS if hasattr(module, name)), None)
    if hook is None:
        return
    held = getattr(module, hook)
    default = {HOOKS[0]: jax.lax.conv_general_dilated, HOOKS[1]: jax.lax.dot_general}[hook]
    product: Any = (held.product if isinstance(held, MixedProduct) else held) or default

    def call(lhs: Any, rhs: Any, *args: Any, **options: Any) -> Any:
        def run(lhs: Any, rhs: Any) -> Any:
            return product(lhs, rhs, *args, **options)

        run.__name__ = PRODUCT + path
        return jax.jit(run)(lhs, rhs)

    setattr(module, hook, call)


def _contracted(emitter: Emitter, path: str, kernel: Layer, equation: Any, side: Side) -> Value:
    """The accumulator of one call of a layer."""
    if kernel.numbers is None or kernel.grid is None:
        what = "weights" if kernel.numbers is None else "input"
        raise UnsupportedOperationError(
            f"layer '{path}' keeps its {what} in float, so it has no integer form. Give it bits from 1 to 8 "
            "or 16 by a rule, for weights and for activations."
        )
    grid = kernel.grid
    parts = [emitter.codes(value, grid, f"{path}/input") for value in side]
    source = parts[0] if len(parts) == 1 else emitter.concatenated(parts, f"{path}/concatenated")
    name = emitter.name(path)
    bias = np.zeros(kernel.numbers["codes"].shape[-1], np.int64)
    op = Contraction(
        name=name, input=source.tensor, output=emitter.name(f"{path}/sum"), site=path, bias=bias,
        **kernel.numbers, **_geometry(path, equation),
    )
    return emitter.contract(op, source, kernel.scale)


def _geometry(path: str, equation: Any) -> dict[str, Any]:
    """Strides, padding, dilation and groups of a convolution; nothing for a product with a matrix."""
    params = equation.params
    if equation.primitive.name == "dot_general":
        (left, right), batch = params["dimension_numbers"]
        rank = len(equation.invars[0].aval.shape)
        if tuple(left) != (rank - 1,) or tuple(right) != (0,) or any(map(len, batch)):
            raise UnsupportedOperationError(
                f"layer '{path}' contracts axes {tuple(left)} with {tuple(right)}; a product has an integer "
                "form over the last axis of its input and the first of its kernel only. Reshape around it."
            )
        return {}
    numbers, spatial = params["dimension_numbers"], len(params["window_strides"])
    image = (0, spatial + 1, *range(1, spatial + 1))
    kernel = (spatial + 1, spatial, *range(spatial))
    plain = all(n == 1 for n in params["lhs_dilation"]) and params["batch_group_count"] == 1
    if (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec) != (image, kernel, image) or not plain:
        raise UnsupportedOperationError(
            f"layer '{path}' is a convolution with channels elsewhere than last, or transposed; it has no "
            "integer form. Use nnx.Conv."
        )
    return dict(
        strides=tuple(params["window_strides"]), dilation=tuple(params["rhs_dilation"]),
        padding=tuple((int(a), int(b)) for a, b in params["padding"]), groups=params["feature_group_count"],
    )
