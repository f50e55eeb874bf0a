"""Attaching: the user's network with choices in its hooks, driven by plain pytrees.

A `Supernet` is the attached network taken apart into what never changes (structure, space) and the
four pytrees that a training step moves: weights, ranges, statistics, and the gates that a controller
produces. Ranges and gates are keyed by site, so that layers that share a tensor share its range; they
are put into the model's leaves at every call. The user's model is cloned and never changed.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.errors import TraceContextError
from jaxtyping import Array, Float

from mpnas.errors import SearchSpaceError
from mpnas.space import Choice, Gates, Lanes, Layer, Rule, Space, Work, alive_channels, build_space
from mpnas.supernet.attention import MixedAttention, readable
from mpnas.supernet.mixed import Gate, MixedProduct, RangeParam
from mpnas.supernet.operand import Alternatives, Operand, range_entries
from mpnas.supernet.probe import fixed_groups
from mpnas.supernet.resize import leaf_at
from mpnas.supernet.stretch import stretch_matrix
from mpnas.supernet.substitute import SLOT, replace, substituted
from mpnas.supernet.taps import Features, noted, tapped_layers
from mpnas.supernet.trace import HOOKS, TRACE_BATCH, leaf_name, module_at, trace
from mpnas.supernet.widen import growth_of, refuse_disorder, widened

Ranges = Mapping[str, Mapping[str, Array]]


@dataclasses.dataclass(frozen=True)
class Parts:
    """The arrays of a supernet, each a pytree that a step may change.

    Attributes:
      params: The network's own parameters, as an nnx state.
      ranges: Site -> `<bits>/<name>` -> learned scale quantities `(scale groups,)`.
      stats: Everything else in the network: batch statistics, observed ranges, random streams.
    """

    params: Any
    ranges: Ranges
    stats: Any


jax.tree_util.register_dataclass(Parts, data_fields=["params", "ranges", "stats"], meta_fields=[])


@dataclasses.dataclass(frozen=True)
class Origin:
    """The network as it was given, before it was widened.

    Attributes:
      work: What it does.
      growth: Group -> number of its channels now, for the groups that have more.
    """

    work: Work
    growth: Mapping[str, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Supernet:
    """An attached network: its space, its structure in both modes, and its first arrays.

    Compared and hashed by identity, so that it can be a static argument of a jitted step.

    Attributes:
      space: What may vary.
      parts: The arrays at the time of attaching.
      slots: Layer path -> the path of its `MixedProduct` in the model.
      operands: Site -> how its gates become a tensor; a site without one mixes alternatives.
      origin: The network as it was given.
    """

    space: Space
    parts: Parts
    slots: Mapping[str, str]
    operands: Mapping[str, Operand]
    origin: Origin
    _train: Any
    _eval: Any
    _record: Any
    _gates: Any
    _ranges: Any

    def widened(self, model: nnx.Module) -> nnx.Module:
        """A clone of a model of the given sizes with the channels that this network has more.

        It computes what `model` computes; see `mpnas.supernet.widen`.
        """
        return widened(model, self.origin.work, self.origin.growth)

    @property
    def variable_kinds(self) -> tuple[type, type]:
        """The kinds of variable that calls put into the model, beside its own: gates and ranges."""
        return Gate, RangeParam

    def apply(
        self, parts: Parts, gates: Gates, x: Float[Array, "batch ..."], *, train: bool
    ) -> tuple[Float[Array, "batch classes"], Any]:
        """Outputs and new statistics of the mixture that `gates` describe.

        Args:
          parts: Weights, ranges and statistics.
          gates: Site -> `(decisions, candidates)`, or what its operand takes.
          x: Input batch.
          train: Batch statistics from this batch, and updated; else the running ones, unchanged.
        """
        model = self.module(parts, gates, train=train)
        output = model(x)
        return output, nnx.state(model, nnx.Not(nnx.Any(nnx.Param, Gate, RangeParam)))

    def observed(
        self, parts: Parts, gates: Gates, x: Float[Array, "batch ..."], *, train: bool
    ) -> tuple[Float[Array, "batch classes"], Any, Features]:
        """As `apply`, and path -> what the layer read at each of its calls, for the layers `tapped`."""
        model = self.module(parts, gates, train=train)
        output, features = noted(model, self.tapped, x)
        return output, nnx.state(model, nnx.Not(nnx.Any(nnx.Param, Gate, RangeParam))), features

    @cached_property
    def tapped(self) -> tuple[str, ...]:
        """The layers whose inputs are features."""
        return tapped_layers(self.space.work)

    def module(self, parts: Parts, gates: Gates, *, train: bool = False) -> Any:
        """The model itself with these arrays in place: an nnx module like the user's."""
        graph = self._train if train else self._eval
        gate_state = _filled(self._gates, self._gate_leaves(gates))
        range_state = _filled(self._ranges, self._range_leaves(parts.ranges))
        return nnx.merge(graph, parts.params, gate_state, range_state, parts.stats, copy=True)

    def calibrated(self, parts: Parts, x: Float[Array, "batch ..."]) -> Parts:
        """Parts whose ranges fit this batch, seen through the unquantised network in evaluation mode.

        A layer that is called several times keeps the ranges of its last call.
        """
        gates = {s: jnp.eye(len(c.bits))[jnp.full(c.decisions, -1)] for s, c in self.space.choices.items()}
        gate_state = _filled(self._gates, self._gate_leaves(gates))
        range_state = _filled(self._ranges, self._range_leaves(parts.ranges))
        model = nnx.merge(self._record, parts.params, gate_state, range_state, parts.stats, copy=True)
        model(x)
        stats = nnx.state(model, nnx.Not(nnx.Any(nnx.Param, Gate, RangeParam)))
        ranges = ranges_by_site(self.space, self.slots, nnx.state(model, RangeParam))
        return Parts(parts.params, ranges, stats)

    def kernels(self, params: Any) -> dict[str, Array]:
        """Weight site -> kernel."""
        leaves = {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]}
        return {site: leaves[site] for site in self.space.weight_site.values()}

    def quantized_kernels(self, parts: Parts) -> dict[str, tuple[Array, ...]]:
        """Weight site -> the kernel under each candidate, in the order of the candidates."""
        kernels = self.kernels(parts.params)
        return {
            site: tuple(
                candidate.quantize(  # type: ignore[union-attr]
                    kernel, range_entries(parts.ranges[site], candidate.bits)
                )
                for candidate in self.space.choices[site].candidates
            )
            for site, kernel in kernels.items()
        }

    def distortions(self, parts: Parts) -> dict[str, Float[Array, "decisions candidates"]]:
        """Weight site -> `||Q_k(w) - w||^2` of each decision's weights under each candidate.

        Where a scale bends weights before it quantizes them (DoReFa), w are the bent ones.
        """
        kernels, errors = self.kernels(parts.params), {}
        for site, quantized in self.quantized_kernels(parts).items():
            choice, columns = self.space.choices[site], []
            for candidate, q in zip(choice.candidates, quantized, strict=True):
                entries = range_entries(parts.ranges[site], candidate.bits)
                aim = candidate.shape(kernels[site], entries)  # type: ignore[union-attr]
                columns.append(choice.granularity.reduce((q - aim) ** 2, jnp.sum))
            errors[site] = jnp.stack(columns, axis=1)
        return errors

    def _gate_leaves(self, gates: Gates) -> dict[str, Array]:
        leaves: dict[str, Array] = {}
        deciding = {site: self._shares(site, gates) for site in self._deciding}
        alive = alive_channels(self.space, deciding, widths=False)
        stretched = {
            group: stretch_matrix(deciding[site][0], self.space.choices[site].bits, len(self._whole[group]))
            for group, site in self.space.stretched.items()
        }
        for path, slot in self.slots.items():
            for kind, sites in (("weight", self.space.weight_site), ("act", self.space.act_site)):
                if path in sites:
                    leaves |= _named(f"{slot}/{kind}_gates", gates[sites[path]])
            reads = self.space.work.layer[path].reads if path in self.space.work.layer else None
            if reads is not None and not alive.keys().isdisjoint(reads.groups):
                leaves[f"{slot}/in_alive"] = reads.along(self._whole | alive)
            for group in reads.groups if reads is not None else ():
                if group in stretched:
                    leaves[f"{slot}/in_stretch/{group}"] = stretched[group]
        return leaves

    @property
    def _deciding(self) -> tuple[str, ...]:
        """The sites that decide which channels exist."""
        return (*self.space.remover.values(), *self.space.width_site.values())

    @cached_property
    def _whole(self) -> dict[str, Any]:
        """Group -> that all of its channels exist."""
        return {name: np.ones(size, np.float32) for name, size in self.space.work.group_sizes.items()}

    def _shares(self, site: str, gates: Gates) -> Array:
        return self.operands.get(site, Alternatives()).shares(self.space.choices[site], gates[site])

    def _range_leaves(self, ranges: Ranges) -> dict[str, Array]:
        leaves = {}
        for path, slot in self.slots.items():
            for kind, sites in (("weight", self.space.weight_site), ("act", self.space.act_site)):
                if path in sites:
                    for name, value in ranges[sites[path]].items():
                        leaves[f"{slot}/{kind}_ranges/{name}"] = value
        return leaves


def attach(
    model: nnx.Module,
    example: Any,
    rules: Iterable[Rule],
    *,
    input_low: float | None = None,
) -> Supernet:
    """A supernet over a clone of `model`, with the choices that the rules open.

    Args:
      model: Any nnx module called as `model(x)`; it is not changed.
      example: An input batch `(batch, ...)`.
      rules: Which layers are searched and how; later rules win.
      input_low: Smallest possible input, if known; 0 lets the first layers use unsigned activations.

    Raises:
      SearchSpaceError: a rule that matches nothing, or asks for what the network cannot do.
      UnsupportedOperationError: the network's work cannot be known before it runs.
    """
    rules = tuple(rules)
    given = trace(model, example, input_low=input_low)
    growth = growth_of(given, rules)
    if growth and (held := fixed_groups(model, example, build_space(given, rules))):
        # They run at their own number of channels only, so they cannot have more of them either.
        given = dataclasses.replace(given, groups={**given.groups, **held})
        growth = growth_of(given, rules)
    attached = widened(model, given, growth)
    work = trace(attached, example, input_low=input_low) if growth else given
    refuse_disorder(given, growth, work)
    for _, module in nnx.iter_modules(attached):
        if readable(module):  # Flax's own function wants values as deep as queries, also after pruning
            module.attention_fn = nnx.data(MixedAttention())  # type: ignore[attr-defined]
    sizes = {name: given.groups[name].size for name in growth}
    space = build_space(work, rules, given=sizes)
    if held := fixed_groups(attached, example, space):
        work = dataclasses.replace(work, groups={**work.groups, **held})
        space = build_space(work, rules, given=sizes)
    slots = {}
    for layer in work.layers:
        weight = space.choices.get(space.weight_site.get(layer.path, ""))
        act = space.choices.get(space.act_site.get(layer.path, ""))
        if weight is None and act is None and _masked(layer, space) is None:
            continue
        slots[layer.path] = f"{layer.path}/{_hook(attached, layer, weight, act, space)}"
    for sites in space.product_sites.values():
        for site in sites:
            slots[site] = _hook_operand(attached, space.choices[site])
    net = assembled(attached, space, slots, {}, Origin(given, growth))
    _refuse_closed_loops(net, example)
    return net


def assembled(
    attached: nnx.Module,
    space: Space,
    slots: Mapping[str, str],
    operands: Mapping[str, Operand],
    origin: Origin,
) -> Supernet:
    """The supernet of a model with a `MixedProduct` in the hook of every slot.

    Args:
      attached: The model; its arrays are the first parts.
      space, slots, operands, origin: As the attributes.
    """
    attached.train()
    graph, *states = nnx.split(attached, nnx.Param, Gate, RangeParam, ...)
    params, gates, ranges, stats = states
    attached.eval()
    evaluated = nnx.split(attached, nnx.Param, Gate, RangeParam, ...)[0]
    attached.set_attributes(MixedProduct, recording=True, raise_if_not_found=False)
    recording = nnx.split(attached, nnx.Param, Gate, RangeParam, ...)[0]
    return Supernet(
        space=space,
        parts=Parts(params, ranges_by_site(space, slots, ranges), stats),
        slots=slots,
        operands=operands,
        origin=origin,
        _train=graph,
        _eval=evaluated,
        _record=recording,
        _gates=gates,
        _ranges=ranges,
    )


def _refuse_closed_loops(net: Supernet, example: Any) -> None:
    """A loop of `nnx` hands on what its layers observe; one of `jax.lax` alone lets nothing out."""
    looped = [layer.path for layer in net.space.work.layers if layer.looped and layer.path in net.slots]
    if not looped:
        return
    inputs = jax.ShapeDtypeStruct((TRACE_BATCH, *example.shape[1:]), example.dtype)
    try:
        jax.eval_shape(net.calibrated, net.parts, inputs)
    except TraceContextError as error:
        raise SearchSpaceError(
            f"no precision can be attached to '{looped[0]}': it is called in a loop of jax.lax, where the "
            "range of its input cannot be observed. Use nnx.scan or nnx.RNN, or exclude it by a last rule "
            f'{{ match = "{looped[0]}", weights = [], activations = [] }}.'
        ) from error


def _hook(
    attached: nnx.Module, layer: Layer, weight: Choice | None, act: Choice | None, space: Space
) -> str:
    """Put a `MixedProduct` into the layer's hook, or a substitute with one in its place; says where."""
    module = module_at(attached, layer.path)
    hook = next((name for name in HOOKS if hasattr(module, name)), None)
    default: dict[str | None, Any] = {
        HOOKS[0]: jax.lax.conv_general_dilated, HOOKS[1]: jax.lax.dot_general, None: None
    }
    mixed = MixedProduct(
        getattr(module, hook or "", None) or default[hook],
        leaf_at(attached, layer.kernel)[...],
        weight=weight,
        act=act,
        in_axis=layer.in_axis,
        reads=_masked(layer, space),
        stretched={group: space.work.groups[group].size for group in space.stretched},
    )
    if hook is None:
        module, hook = substituted(module), SLOT
        replace(attached, layer.path, module)
    setattr(module, hook, nnx.data(mixed))
    return hook


def _masked(layer: Layer, space: Space) -> Lanes | None:
    """The channels that a layer reads, if some of them can be gone."""
    if layer.reads is None or set(layer.reads.groups).isdisjoint(space.removable):
        return None
    return layer.reads


def _hook_operand(attached: nnx.Module, choice: Choice) -> str:
    """Put a `MixedProduct` for one operand into an attention's function; says where."""
    path, product, operand = choice.site.rsplit("/", 2)
    mixed = MixedProduct(None, None, weight=None, act=choice)
    module_at(attached, path).attention_fn.operands[operand] = mixed
    return f"{path}/attention_fn/operands/{operand}"


def ranges_by_site(space: Space, slots: Mapping[str, str], state: Any) -> dict[str, dict[str, Array]]:
    """Ranges by site from the model's leaves; the first layer of a shared tensor counts."""
    leaves = {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]}
    ranges = {}
    for site, choice in space.choices.items():
        if choice.kind in ("weight", "act"):
            prefix = f"{slots[choice.layers[0]]}/{choice.kind}_ranges/"
            ranges[site] = {n[len(prefix) :]: v for n, v in leaves.items() if n.startswith(prefix)}
    return ranges


def _named(prefix: str, gates: Any) -> dict[str, Array]:
    """The leaves of one site's gates by their place in the model."""
    flat, _ = jax.tree_util.tree_flatten_with_path(gates)
    return {f"{prefix}/{leaf_name(path)}".rstrip("/"): leaf for path, leaf in flat}


def _filled(state: Any, leaves: Mapping[str, Array]) -> Any:
    """`state` with the named leaves in place; the others keep their values."""
    flat, treedef = jax.tree_util.tree_flatten_with_path(state)
    return jax.tree_util.tree_unflatten(treedef, [leaves.get(leaf_name(p), v) for p, v in flat])
