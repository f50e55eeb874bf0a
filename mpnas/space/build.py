"""Building a space: what the rules open over the work of a network, and what must agree.

Rules say what is wanted per layer; here it becomes choices per site. Layers that read one tensor share
its choice, layers that write the same channels share a mask and a width, and what cannot be offered is
said in a note.
"""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mpnas.errors import SearchSpaceError
from mpnas.quant import DoReFa, Entropy, Granularity, PerChannel, PerTensor, Quantizer, Subgroup, format_of
from mpnas.space.choice import Candidate, Choice, Presence, Width
from mpnas.space.resolve import DEFAULTS, changes, resolve
from mpnas.space.rules import Rule
from mpnas.space.space import Space
from mpnas.space.tie import Tie
from mpnas.space.widths import asked_widths, channel_counts, width_name
from mpnas.space.words import ACT_RANGES, GRADIENTS, WEIGHT_RANGES
from mpnas.space.work import ChannelGroup, Layer, Work


def build_space(work: Work, rules: Iterable[Rule], *, given: Mapping[str, int] | None = None) -> Space:
    """The space that the rules open over a network's work.

    Args:
      work: What the network does, after it was widened for the widths that the rules ask for.
      rules: Which layers are searched and how; later rules win.
      given: Group -> number of its channels before, for the groups that were widened.

    Raises:
      SearchSpaceError: a rule matches no layer, offers precision where none can be attached, removes
        channels layer by layer, offers nothing but 0 bits, asks for widths that no channels can have, or
        two layers that must agree (readers of one tensor, writers of the same channels) are told
        different things.
    """
    rules = tuple(rules)
    resolved = resolve(work, rules)
    widths, width_notes = asked_widths(work, resolved, rules)
    choices: dict[str, Choice] = {}
    notes = list(work.notes)
    removable, removal_notes = _removable_groups(work, resolved)
    notes += removal_notes + width_notes
    for layer in work.layers:
        if resolved[layer.path]["weights"]:
            choice = _weight_choice(layer, resolved[layer.path], removable)
            choices[choice.site] = choice
    choices |= _act_choices(work, resolved)
    choices |= _operand_choices(work, rules)
    for name, remover in removable.items():
        if not remover:
            group = work.groups[name]
            choices[name] = _mask_choice(group, resolved[group.producers[0]])
    for name, shares in widths.items():
        group = work.groups[name]
        stretched = resolved[group.producers[0]]["width_mix"] == "interpolate"
        choice = _width_choice(group, shares, (given or {}).get(name, group.size), stretched)
        choices[choice.site] = choice
    untouched = [layer.path for layer in work.layers if not resolved[layer.path]["weights"]]
    if untouched:
        notes.append(f"kept in float32, no rule gives them weights: {', '.join(untouched)}.")
    return Space(work=work, choices=choices, ties=_ties(work, choices), notes=tuple(notes))


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
    if layer.path not in removable.values():
        bits = tuple(b for b in bits if b > 0)
    scale = _granularity(rule["scale"], layer.out_axis)
    estimator = WEIGHT_RANGES[rule["weight_range"]]
    candidates = tuple(
        Quantizer(
            format=format_of(b, midrise=isinstance(estimator, (DoReFa, Entropy))),
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
        if resolved[layer.path]["activations"] and layer.kind != "lookup":
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


def _operand_choices(work: Work, rules: Sequence[Rule]) -> dict[str, Choice]:
    """One choice for each operand of the products of activations that rules give bits."""
    choices = {}
    for product in work.products:
        said: dict[str, Any] = dict(DEFAULTS)
        for rule in rules:
            if fnmatch.fnmatchcase(product.path, rule.match):
                said |= changes(rule)
        if not said["activations"]:
            continue
        for operand, signed in zip(product.operands, product.signed, strict=True):
            site = f"{product.path}/{operand}"
            choices[site] = Choice(
                site=site,
                kind="act",
                layers=(site,),
                candidates=tuple(
                    Quantizer(format=format_of(b, signed=signed), scale=ACT_RANGES[said["activation_range"]],
                              gradient=GRADIENTS[said["activation_gradient"]])
                    for b in said["activations"]
                ),
                granularity=PerTensor(),
                shape=(1,),
                macs=product.macs,
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


def _width_choice(group: ChannelGroup, shares: tuple[float, ...], given: int, stretched: bool) -> Choice:
    counts = channel_counts(shares, given)
    return Choice(
        site=width_name(group.name),
        kind="width",
        layers=group.producers,
        candidates=tuple(Width(count, share, stretched) for count, share in counts.items()),
        granularity=PerTensor(),
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
            writes = work.layer[group.producers[0]].writes
            alone = len(group.producers) == 1 and writes.is_whole(work.group_sizes)
            removable[group.name] = group.producers[0] if alone else ""
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
