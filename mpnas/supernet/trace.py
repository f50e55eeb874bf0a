"""From a Flax model to its work: one abstract run, nothing computed, nothing changed.

The model is called once on shapes (`jax.make_jaxpr`) in evaluation mode; `program` reads what comes
out. Everything is named by module path, so that a person finds it again in their own code.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import nnx

from mpnas.errors import MpnasError, SearchSpaceError, UnsupportedOperationError
from mpnas.space import Layer, Product, Tensor, Work
from mpnas.supernet.attention import named, readable
from mpnas.supernet.axes import Axis, Channels, freeze_all
from mpnas.supernet.groups import Groups
from mpnas.supernet.program import ATTENTION, Reader
from mpnas.supernet.substitute import kernel_name
from mpnas.supernet.values import Contraction, Value

TRACE_BATCH = 2  # 1 would be mistaken for a dimension that broadcasts
HOOKS = ("conv_general_dilated", "dot_general")  # of nnx.Conv; of nnx.Linear and nnx.LinearGeneral


def trace(model: nnx.Module, example: Any, *, input_low: float | None = None) -> Work:
    """The work of `model` for one sample.

    Args:
      model: Any nnx module called as `model(x)`; it is not changed.
      example: An input batch `(batch, ...)`, or its `jax.ShapeDtypeStruct`; only shape and type count.
      input_low: Smallest value that an input can take; 0 or more lets the first layers use unsigned
        activations. None: unknown, so they can be negative.

    Raises:
      SearchSpaceError: the model contracts nothing with a kernel, or cannot be called on the example.
      UnsupportedOperationError: the program has a loop of unknown length, or depends on values.
    """
    evaluated = nnx.clone(model)
    evaluated.eval()
    for path, module in nnx.iter_modules(evaluated):
        if readable(module):
            module.attention_fn = named(ATTENTION + "/".join(map(str, path)))  # type: ignore[attr-defined]
    graphdef, state = nnx.split(evaluated)
    flat, treedef = jax.tree_util.tree_flatten_with_path(state)
    names = [leaf_name(path) for path, _ in flat]
    arrays = [leaf for _, leaf in flat]

    def forward(leaves: list[Any], x: Any) -> Any:
        module = nnx.merge(graphdef, jax.tree_util.tree_unflatten(treedef, leaves))
        return module(x)

    shaped = jax.ShapeDtypeStruct((TRACE_BATCH, *example.shape[1:]), example.dtype)
    try:
        closed = jax.make_jaxpr(forward)(arrays, shaped)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        raise UnsupportedOperationError(
            "which operations the model runs depends on the values that it sees, so its work cannot be "
            f"known before it runs: {str(error).splitlines()[0]} Use jnp.where or jax.lax.cond instead."
        ) from error
    except MpnasError:
        raise
    except Exception as error:  # noqa: BLE001 - own code may raise anything
        words = (str(error).splitlines() or [""])[0].rstrip(".") or "no message"
        if not isinstance(error, (TypeError, ValueError)):
            words = f"{type(error).__name__}: {words}"
        raise SearchSpaceError(
            f"the model cannot be called on inputs of shape {tuple(shaped.shape)} and type {shaped.dtype}: "
            f"{words}. Check the input shape of the data against the model."
        ) from error

    shapes = [tuple(v.aval.shape) for v in closed.jaxpr.invars]
    channels = Channels()
    leaf_axes = {name: channels.fresh(shape) for name, shape in zip(names, shapes, strict=False)}
    reader = Reader(_layer_of, channels, leaf_axes)
    image = channels.fresh(shapes[-1])
    freeze_all(image, "they are the model's input")
    inputs = [Value(axes, view=name, leaves=frozenset({name})) for name, axes in leaf_axes.items()]
    nonnegative = input_low is not None and input_low >= 0
    inputs.append(Value(image, buffer=reader.buffer(image, "input"), nonnegative=nonnegative))
    for output in reader.read(closed.jaxpr, inputs):
        freeze_all(output.axes, "they are the model's output")
    if not reader.contractions:
        raise SearchSpaceError(
            "the model contracts no kernel with its input, so there is nothing to search. "
            "mpnas looks for convolutions and matrix products with a parameter."
        )
    parameters = set(_names_of(evaluated, nnx.Param))
    return _Assembly(evaluated, reader, image, parameters).work()


def leaf_name(path: tuple[Any, ...]) -> str:
    """`stem/kernel` for the key path of a leaf in an nnx state."""
    keys = [getattr(entry, "key", None) for entry in path]
    return "/".join(str(key) for key in keys if key is not None)


def _layer_of(leaf: str) -> str:
    """`stem` for `stem/kernel`; a parameter of another name stands for itself."""
    return leaf.removesuffix("/kernel").removesuffix("/embedding")


def _names_of(model: nnx.Module, kind: type) -> list[str]:
    state = nnx.state(model, kind)
    return [leaf_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(state)[0]]


def module_at(model: nnx.Module, path: str) -> Any:
    """The module under a `/`-separated path, `model` itself for ""; list and dict entries are segments."""
    current: Any = model
    for segment in path.split("/") if path else ():
        if isinstance(current, (list, tuple, nnx.List)):
            current = current[int(segment)]
        elif isinstance(current, (dict, nnx.Dict)):
            current = current[segment] if segment in current else current[int(segment)]
        else:
            current = getattr(current, segment)
    return current


def _runs(tensor: Tensor) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tensor.lanes.runs if tensor.lanes is not None else ()


class _Assembly:
    """Turns what the reader collected into plain, named data."""

    def __init__(
        self, model: nnx.Module, reader: Reader, image: tuple[Axis, ...], parameters: set[str]
    ) -> None:
        self.model = model
        self.reader = reader
        self.image = image
        self.leaf_axes = reader.leaf_axes
        self.parameters = parameters
        self.kernels = {c.kernel for c in reader.contractions}

    def work(self) -> Work:
        calls: dict[str, list[Contraction]] = {}
        for contraction in self.reader.contractions:
            calls.setdefault(contraction.kernel, []).append(contraction)
        obstacles = {kernel: self._obstacle(kernel, made) for kernel, made in calls.items()}
        for c in self.reader.contractions:
            if obstacles[c.kernel] and c.in_axis is not None:
                c.in_axis.freeze(f"read by '{_layer_of(c.kernel)}', where no channel can be masked")
            if len({(c.in_axis, c.out_axis) for c in calls[c.kernel]}) > 1:
                tied = f"'{_layer_of(c.kernel)}' is used in two ways"
                freeze_all((axis for axis in (c.in_axis, c.out_axis) if axis is not None), tied)
        self.groups = Groups(self.reader, self.image)
        readers = self._readers()
        folds = self._folds(calls)
        layers = tuple(
            self._layer(kernel, made, folds[kernel], obstacles[kernel]) for kernel, made in calls.items()
        )
        tensors, timeline = self._memory(readers)
        folded = {leaf for found in folds.values() for leaf, _ in found}
        loose = sum(
            math.prod(axis.size for axis in axes)
            for name, axes in self.leaf_axes.items()
            if name in self.parameters and name not in folded and name not in self.kernels
        )
        return Work(
            layers=layers,
            groups=self.groups.described(layers),
            tensors=tensors,
            timeline=timeline,
            products=self._products(),
            loose_parameters=loose,
            notes=tuple(dict.fromkeys(self.reader.notes)),
            axes=self.groups.leaf_lanes(self.leaf_axes),
        )

    def _products(self) -> tuple[Product, ...]:
        """Products by path; an attention that is called twice is one."""
        found: dict[str, Product] = {}
        for made in self.reader.products:
            before = found.get(made.path)
            macs = made.macs // TRACE_BATCH + (before.macs if before else 0)
            signed = tuple(a or b for a, b in zip(made.signed, before.signed if before else made.signed))
            found[made.path] = Product(made.path, macs, made.operands, signed)
        return tuple(found.values())

    def _obstacle(self, kernel: str, calls: Sequence[Contraction]) -> str:
        """Why no choice can be attached to the product with this kernel, in words; empty if one can."""
        if kernel == "kernel":
            return "it is the model itself; call it from a module that holds it"
        owner, leaf = module_at(self.model, kernel.rpartition("/")[0]), kernel.rpartition("/")[2]
        kind = type(owner).__name__
        if any(c.stacked for c in calls):
            return "every turn of its loop (scan) has a kernel of its own"
        if kernel_name(owner) == leaf:
            return ""
        if leaf != "kernel":
            return f"it is a parameter that a {kind} multiplies with directly; use nnx.Linear or nnx.Conv"
        if not any(hasattr(owner, hook) for hook in HOOKS):
            return f"a {kind} has no hook for its product, and is none of the layers that can be substituted"
        if getattr(owner, "dot_general_cls", None) is not None:
            return "its dot_general_cls replaces the hook; give it a dot_general instead"
        others = [
            "/".join(map(str, path))
            for path, module in nnx.iter_modules(self.model)
            if module is not owner and getattr(module, "kernel", None) is owner.kernel
        ]
        return f"its kernel is also that of '{others[0]}'; call one module twice instead" if others else ""

    def _folds(self, calls: Mapping[str, Sequence[Contraction]]) -> dict[str, set[tuple[str, str]]]:
        """Kernel -> `(leaf, multiplier or bias)` of what can be folded into its product.

        Only shifts and scales of an output that nothing else reads, the same at every call. In a loop
        every turn may have parameters of its own (a slice of one leaf), so nothing is folded there.
        """
        reads = Counter(source for event in self.reader.events for source in event.reads)
        kept_apart: set[int] = set()
        found: dict[int, set[tuple[str, str]]] = {}
        for fold in self.reader.folds:
            stacked = self.reader.contractions[fold.call].stacked
            if stacked or reads[fold.source] > 1 or fold.source in kept_apart:
                kept_apart.add(fold.target)
            else:
                found.setdefault(fold.call, set()).update((leaf, fold.kind) for leaf in fold.leaves)
        index = {id(c): k for k, c in enumerate(self.reader.contractions)}
        return {
            kernel: set.intersection(*(found.get(index[id(c)], set()) for c in made))
            for kernel, made in calls.items()
        }

    def _layer(
        self, kernel: str, calls: Sequence[Contraction], folds: set[tuple[str, str]], obstacle: str
    ) -> Layer:
        first = calls[0]
        own = self.leaf_axes[kernel]
        kinds = {kind for _, kind in folds}
        positions = {axis: k for k, axis in enumerate(own)}
        owner = module_at(self.model, kernel.rpartition("/")[0])
        return Layer(
            path=_layer_of(kernel),
            kernel=kernel,
            kernel_shape=tuple(axis.size for axis in own),
            in_axis=None if first.in_axis is None else positions[first.in_axis],
            out_axis=positions[first.out_axis],
            kind=first.kind,  # type: ignore[arg-type]
            macs=sum(c.macs for c in calls) // TRACE_BATCH,
            reads=None if first.in_axis is None else self.groups.lanes(first.in_axis),
            writes=self.groups.lanes(first.out_axis),
            tensor=self._buffer_names()[first.buffer],
            signed=any(c.signed for c in calls),
            bias="bias" in kinds,
            multiplier="multiplier" in kinds,
            module=type(owner).__name__,
            obstacle=obstacle,
            looped=any(c.looped for c in calls),
        )

    def _readers(self) -> list[tuple[str, ...]]:
        """Per buffer the layers that read it through elementwise operations; () if anything else does."""
        count = len(self.reader.buffers)
        readers: list[list[str]] = [[] for _ in range(count)]
        floats = [False] * count
        for event in reversed(self.reader.events):
            for source in event.reads:
                if event.layer is not None:
                    readers[source].append(event.layer)
                elif event.inplace:
                    readers[source] += readers[event.write]
                    floats[source] |= floats[event.write]
                else:
                    floats[source] = True
        return [
            () if floats[k] else tuple(dict.fromkeys(reversed(found))) for k, found in enumerate(readers)
        ]

    def _memory(
        self, readers: list[tuple[str, ...]]
    ) -> tuple[dict[str, Tensor], tuple[tuple[str, ...], ...]]:
        """Live tensors at each moment; an elementwise result takes the place of an input that dies."""
        events, buffers = self.reader.events, self.reader.buffers
        last = {buffer: k for k, event in enumerate(events) for buffer in event.reads}
        born = {event.write: k for k, event in enumerate(events)}
        moments = []
        for k, event in enumerate(events):
            live = {b for b in range(len(buffers)) if born.get(b, -1) < k <= last.get(b, -1)}
            if event.inplace:
                size = buffers[event.write].elements
                dying = [b for b in event.reads if last[b] == k and buffers[b].elements == size]
                live -= set(dying[:1])
            moments.append(frozenset(live | {event.write}))
        largest = [m for m in dict.fromkeys(moments) if not any(m < other for other in moments)]
        names = self._buffer_names()
        tensors = {names[b]: self._tensor(b, names[b], readers[b]) for b in sorted(set().union(*moments))}
        # Steps of one elementwise chain hold the same amounts: one moment stands for all of them.
        distinct: dict[tuple[Any, ...], tuple[str, ...]] = {}
        for moment in largest:
            alive = tuple(names[b] for b in sorted(moment))
            held = sorted((tensors[n].elements, _runs(tensors[n]), tensors[n].readers) for n in alive)
            distinct.setdefault(tuple(held), alive)
        timeline = tuple(distinct.values())
        kept = {name for moment in timeline for name in moment}
        return {name: tensor for name, tensor in tensors.items() if name in kept}, timeline

    def _tensor(self, buffer: int, name: str, readers: tuple[str, ...]) -> Tensor:
        made = self.reader.buffers[buffer]
        known = [axis for axis in reversed(made.axes) if self.groups.knows(axis)]
        return Tensor(
            name=name,
            elements=made.elements // TRACE_BATCH,
            lanes=self.groups.lanes(known[0]) if known else None,
            readers=readers,
        )

    def _buffer_names(self) -> list[str]:
        """Names of the buffers, made unique where a layer is called more than once."""
        names: list[str] = []
        seen: dict[str, int] = {}
        for buffer in self.reader.buffers:
            seen[buffer.name] = seen.get(buffer.name, 0) + 1
            names.append(buffer.name if seen[buffer.name] == 1 else f"{buffer.name}@{seen[buffer.name]}")
        return names
