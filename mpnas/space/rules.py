"""Rules: which layers are searched, with which candidates, by glob patterns over module paths.

A rule names layers (`stack*/conv1`) and says what it changes for them; later rules win, key by key.
Rules come from a TOML file of `search_spaces/`, or are written in Python; they become a `Space` once
the work of a network is known.
"""

import dataclasses
import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from mpnas.errors import SearchSpaceError, nearest
from mpnas.quant import DoReFa, Granularity, PerChannel, PerTensor, Quantizer, Subgroup, format_of
from mpnas.quant.format import FLOAT_BITS, INTEGER_BITS, PRUNED_BITS
from mpnas.space.choice import Candidate, Choice, Presence
from mpnas.space.space import Space
from mpnas.space.tie import Tie
from mpnas.space.words import ACT_RANGES, GRADIENTS, WEIGHT_RANGES, WORDS, refusal
from mpnas.space.work import ChannelGroup, Layer, Work

ALLOWED_BITS = (PRUNED_BITS, *INTEGER_BITS, FLOAT_BITS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """What to offer at the layers whose path matches; None leaves what earlier rules said.

    Attributes:
      match: Glob over layer paths: `*`, `stack?/conv1`, `head`. `*` also crosses `/`.
      weights: Bit-widths for the weights, of 0..8, 16, 32; 0 removes channels; [] leaves them float.
      activations: The same for what the layer reads, without 0.
      granularity: Who chooses together: `layer`, `channel`, or a number of channels (a subgroup).
      scale: Who shares a scale: the same words.
      weight_range: Where the scale of weights comes from: `learned` (LSQ), `minmax`, `percentile`, `mse`
        (a sweep), `octav`, `dorefa` (tanh), or `pow2` (learned range, power-of-two step).
      activation_range: The same for activations: `learned`, `pact` or `pow2` are trained; `moving`
        averages the extremes of batches, `percentile`, `mse` and `octav` ends that clip.
      weight_gradient: The derivative that quantizing weights pretends: `clipped` (1, beyond the range
        0), `ste` (1 everywhere), `mad` (beyond the range end / x), `ewgs` or `atanh` (as `clipped`, more
        on one side of a code than on the other).
      activation_gradient: The same for activations.

    Raises:
      SearchSpaceError: a bit-width, a word or a size that is not allowed, or 0 bits for activations.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    match: str
    weights: tuple[int, ...] | None = None
    activations: tuple[int, ...] | None = None
    granularity: Literal["layer", "channel"] | int | None = None
    scale: Literal["layer", "channel"] | int | None = None
    weight_range: str | None = None
    activation_range: str | None = None
    weight_gradient: str | None = None
    activation_gradient: str | None = None

    def __post_init__(self) -> None:
        for key in ("weights", "activations"):
            values = getattr(self, key)
            for bits in values or ():
                if bits not in ALLOWED_BITS:
                    raise SearchSpaceError(
                        f"rule '{self.match}' offers {bits} bits in '{key}'; "
                        f"allowed are {', '.join(map(str, ALLOWED_BITS))}."
                    )
            if values is not None:
                object.__setattr__(self, key, tuple(sorted(set(values))))
        if self.activations and self.activations[0] == 0:
            raise SearchSpaceError(
                f"rule '{self.match}' offers 0 bits for activations. Channels are removed by 0 bits in "
                "'weights'; delete the 0 here."
            )
        for key in ("granularity", "scale"):
            size = getattr(self, key)
            if isinstance(size, int) and size < 1:
                raise SearchSpaceError(
                    f"rule '{self.match}' has {key} = {size}; a subgroup needs at least 1 channel."
                )
        for key, words in WORDS.items():
            word = getattr(self, key)
            if isinstance(word, str) and word not in words:
                raise SearchSpaceError(f"rule '{self.match}' has {refusal(key, word)}")


DEFAULTS = {
    "weights": (),
    "activations": (),
    "granularity": "layer",
    "scale": "channel",
    "weight_range": "learned",
    "activation_range": "learned",
    "weight_gradient": "clipped",
    "activation_gradient": "clipped",
}


def build_space(work: Work, rules: Iterable[Rule]) -> Space:
    """The space that the rules open over a network's work.

    Raises:
      SearchSpaceError: a rule matches no layer, offers precision where none can be attached, removes
        channels layer by layer, offers nothing but 0 bits, or two layers that must agree (readers of one
        tensor, writers of the same channels) are told different things.
    """
    resolved = _resolve(work, tuple(rules))
    choices: dict[str, Choice] = {}
    notes = list(work.notes)
    removable, removal_notes = _removable_groups(work, resolved)
    notes += removal_notes
    for layer in work.layers:
        if resolved[layer.path]["weights"]:
            choice = _weight_choice(layer, resolved[layer.path], removable)
            choices[choice.site] = choice
    choices |= _act_choices(work, resolved)
    for name in removable:
        group = work.groups[name]
        if len(group.producers) > 1:
            choices[name] = _mask_choice(group, resolved[group.producers[0]])
    untouched = [layer.path for layer in work.layers if not resolved[layer.path]["weights"]]
    if untouched:
        notes.append(f"kept in float32, no rule gives them weights: {', '.join(untouched)}.")
    return Space(work=work, choices=choices, ties=_ties(work, choices), notes=tuple(notes))


def _resolve(work: Work, rules: Sequence[Rule]) -> dict[str, dict[str, Any]]:
    """Layer path -> every key of a rule, the last matching rule winning per key."""
    resolved: dict[str, dict[str, Any]] = {layer.path: dict(DEFAULTS) for layer in work.layers}
    for rule in rules:
        matched = [path for path in resolved if fnmatch.fnmatchcase(path, rule.match)]
        if not matched:
            raise SearchSpaceError(
                f"rule '{rule.match}' matches none of the {len(resolved)} layers of the model; "
                f"nearest: {nearest(rule.match, resolved)}. Fix the pattern or delete the rule."
            )
        changes = {k: v for k, v in dataclasses.asdict(rule).items() if k != "match" and v is not None}
        for path in matched:
            resolved[path] |= changes
    for layer in work.layers:
        wanted = resolved[layer.path]
        if not layer.hookable and (wanted["weights"] or wanted["activations"]):
            raise SearchSpaceError(
                f"no precision can be attached to '{layer.path}': "
                f"{layer.obstacle or f'its module, a {layer.module}, has no hook for its product'}. "
                f'Exclude it by a last rule {{ match = "{layer.path}", weights = [], activations = [] }}.'
            )
    return resolved


def _granularity(word: str | int, axis: int) -> Granularity:
    if word == "layer":
        return PerTensor()
    return PerChannel(axis) if word == "channel" else Subgroup(int(word), axis)


def _weight_choice(layer: Layer, rule: Mapping[str, Any], removable: Mapping[str, str]) -> Choice:
    bits = rule["weights"]
    if bits == (0,):
        raise SearchSpaceError(
            f"'{layer.path}' offers only 0 bits, but some of its channels must stay. "
            "Offer at least one other bit-width."
        )
    if removable.get(layer.out_group) != layer.path:
        bits = tuple(b for b in bits if b > 0)
    scale = _granularity(rule["scale"], layer.out_axis)
    estimator = WEIGHT_RANGES[rule["weight_range"]]
    candidates = tuple(
        Quantizer(
            format=format_of(b, midrise=isinstance(estimator, DoReFa)),
            granularity=scale,
            scale=estimator,
            gradient=GRADIENTS[rule["weight_gradient"]],
        )
        for b in bits
    )
    return Choice(
        site=layer.kernel,
        kind="weight",
        layers=(layer.path,),
        candidates=candidates,
        granularity=_granularity(rule["granularity"], layer.out_axis),
        shape=layer.kernel_shape,
        parameters=layer.parameters,
        macs=layer.macs,
    )


def _act_choices(work: Work, resolved: Mapping[str, Mapping[str, Any]]) -> dict[str, Choice]:
    """One choice per tensor: all layers that read it share its precision."""
    readers: dict[str, list[Layer]] = {}
    for layer in work.layers:
        if resolved[layer.path]["activations"]:
            readers.setdefault(layer.tensor, []).append(layer)
    choices = {}
    for layers in readers.values():
        rules = [resolved[layer.path] for layer in layers]
        offered = {rule["activations"]: layer.path for rule, layer in zip(rules, layers, strict=True)}
        if len(offered) > 1:
            (first, one), (second, other) = list(offered.items())[:2]
            raise SearchSpaceError(
                f"'{one}' and '{other}' read the same tensor, but the rules give its activations "
                f"{list(first)} and {list(second)} bits. Give both layers the same activations."
            )
        for key in ("activation_range", "activation_gradient"):
            words = {rule[key]: layer.path for rule, layer in zip(rules, layers, strict=True)}
            if len(words) > 1:
                (word, one), (contrary, other) = list(words.items())[:2]
                raise SearchSpaceError(
                    f"'{one}' and '{other}' read the same tensor, but the rules give it the {key} "
                    f"'{word}' and '{contrary}'. Give both layers the same."
                )
        estimator = ACT_RANGES[rules[0]["activation_range"]]
        gradient = GRADIENTS[rules[0]["activation_gradient"]]
        # A layer that is called twice may see negative values in its other call only.
        signed = any(layer.signed for layer in layers)
        candidates: tuple[Candidate, ...] = tuple(
            Quantizer(format=format_of(b, signed=signed), scale=estimator, gradient=gradient)
            for b in rules[0]["activations"]
        )
        site = f"{layers[0].path}/input"
        choices[site] = Choice(
            site=site,
            kind="act",
            layers=tuple(layer.path for layer in layers),
            candidates=candidates,
            granularity=PerTensor(),
            shape=(1,),
            macs=sum(layer.macs for layer in layers),
        )
    return choices


def _mask_choice(group: ChannelGroup, rule: Mapping[str, Any]) -> Choice:
    return Choice(
        site=group.name,
        kind="mask",
        layers=group.producers,
        candidates=(Presence(0), Presence(1)),
        granularity=_granularity(rule["granularity"], 0),
        shape=(group.size,),
    )


def _removable_groups(
    work: Work, resolved: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, str], list[str]]:
    """Group -> the layer that removes its channels (or "" where a shared mask does); and notes."""
    removable: dict[str, str] = {}
    notes: list[str] = []
    for group in work.groups.values():
        asked = [path for path in group.producers if 0 in resolved[path]["weights"]]
        if not asked:
            continue
        rules = [resolved[path] for path in group.producers]
        if any(resolved[path]["granularity"] == "layer" for path in asked):
            raise SearchSpaceError(
                f"rule for '{asked[0]}' offers 0 bits with granularity 'layer', which would remove every "
                "channel of the layer. Use granularity = 'channel' (or a subgroup), or delete the 0."
            )
        if group.frozen:
            notes.append(
                f"0 bits is not offered at {', '.join(asked)}, whose channels must stay: {group.frozen}."
            )
        elif len(asked) < len(group.producers):
            others = [path for path in group.producers if path not in asked]
            notes.append(
                f"0 bits is not offered at {', '.join(asked)}: {', '.join(others)} must keep the same "
                "channels, and no rule offers 0 bits there."
            )
        elif len({rule["granularity"] for rule in rules}) > 1:
            raise SearchSpaceError(
                f"{', '.join(group.producers)} must keep the same channels, but decide on them with "
                "different granularities. Give them one granularity, or delete the 0."
            )
        else:
            removable[group.name] = group.producers[0] if len(group.producers) == 1 else ""
    return removable, notes


def _ties(work: Work, choices: Mapping[str, Choice]) -> tuple[Tie, ...]:
    ties = [
        Tie(
            name=group.name,
            kind="channels",
            members=group.producers,
            reasons=group.reasons,
            searched=group.name in choices,
        )
        for group in work.groups.values()
        if len(group.producers) > 1
    ]
    ties += [
        Tie(
            name=choice.site,
            kind="tensor",
            members=choice.layers,
            reasons=("they read the same tensor",),
            searched=True,
        )
        for choice in choices.values()
        if choice.kind == "act" and len(choice.layers) > 1
    ]
    return tuple(ties)
