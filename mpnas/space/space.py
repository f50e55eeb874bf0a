"""The space: all choices and ties of one network, and the arithmetic between points and gates.

Gates are a dict from site to a float array `(decisions, candidates)`: how much of each candidate is
in the mix. An `Assignment` is the discrete point; `one_hot` turns it into gates, `nearest` back.
"""

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from mpnas.errors import SearchSpaceError, nearest
from mpnas.quant import Subgroup
from mpnas.space.assignment import Assignment
from mpnas.space.choice import Choice
from mpnas.space.tie import Tie
from mpnas.space.widths import width_name
from mpnas.space.work import Work

Gates = Mapping[str, Any]  # site -> Float[Array, "decisions candidates"], numpy or jax


@dataclasses.dataclass(frozen=True)
class Space:
    """What may vary in one network.

    Attributes:
      work: What the network does.
      choices: By site, in program order; weights, activations, masks of shared channels, then widths.
      ties: What must agree, with reasons; for `mpnas plan` and for the front file.
      notes: What was not offered and why, in sentences.
    """

    work: Work
    choices: Mapping[str, Choice]
    ties: tuple[Tie, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def weight_site(self) -> Mapping[str, str]:
        """Layer path -> its weight site, for layers that have one."""
        return {c.layers[0]: site for site, c in self.choices.items() if c.kind == "weight"}

    @cached_property
    def act_site(self) -> Mapping[str, str]:
        """Layer path, or operand of a product -> the site of the activations that it reads, if any."""
        return {layer: s for s, c in self.choices.items() if c.kind == "act" for layer in c.layers}

    @cached_property
    def product_sites(self) -> Mapping[str, tuple[str, ...]]:
        """Path of a product of activations -> the sites of its operands, for products that have them."""
        sites = {p.path: tuple(f"{p.path}/{operand}" for operand in p.operands) for p in self.work.products}
        return {path: names for path, names in sites.items() if names and names[0] in self.choices}

    @cached_property
    def remover(self) -> Mapping[str, str]:
        """Channel group -> the site whose 0-bit candidate removes its channels."""
        removers = {}
        for site, choice in self.choices.items():
            if choice.removes and choice.kind == "mask":
                removers[site] = site
            elif choice.removes:
                removers[self.work.layer[choice.layers[0]].writes.groups[0]] = site
        return removers

    @cached_property
    def width_site(self) -> Mapping[str, str]:
        """Channel group -> the site that chooses how many of its channels there are."""
        sites = {group: width_name(group) for group in self.work.groups}
        offered = {site for site, choice in self.choices.items() if choice.kind == "width"}
        return {group: site for group, site in sites.items() if site in offered}

    @cached_property
    def stretched(self) -> Mapping[str, str]:
        """Channel group -> its width site, where mixtures of widths are interpolated."""
        return {
            group: site
            for group, site in self.width_site.items()
            if getattr(self.choices[site].candidates[0], "interpolated")
        }

    @cached_property
    def removable(self) -> tuple[str, ...]:
        """The channel groups that can lose channels, by 0 bits or by a width."""
        return tuple(dict.fromkeys((*self.remover, *self.width_site)))

    @cached_property
    def channel_decision(self) -> Mapping[str, np.ndarray]:
        """Site -> for each channel the index of its decision, `(channels,)`."""
        index = {}
        for site, choice in self.choices.items():
            channels = choice.shape[-1]
            if choice.kind == "weight":
                channels = self.work.layer[choice.layers[0]].out_channels
            index[site] = np.asarray(choice.granularity.index(channels))
        return index

    def existing(self, indices: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Removable group -> `(channels,)` bool, whether each exists, from `indices` of its sites."""
        alive = {}
        for group in self.removable:
            alive[group] = np.ones(self.work.groups[group].size, bool)
            if group in self.remover:
                site = self.remover[group]
                alive[group] &= np.asarray(indices[site])[self.channel_decision[site]] > 0
            if group in self.width_site:
                site = self.width_site[group]
                alive[group] &= np.arange(alive[group].size) < self.choices[site].bits[int(indices[site][0])]
        return alive

    @cached_property
    def fewest(self) -> Mapping[str, tuple[int, int]]:
        """Removable group -> the cheapest decision that leaves it channels at its least width, and how many.

        Without a site that removes channels one by one the decision is 0: that of the width.
        """
        least = {}
        for group in self.removable:
            width = self.width_site.get(group)
            size = self.choices[width].bits[0] if width else self.work.groups[group].size
            counts = np.array([size])
            if group in self.remover:
                counts = np.bincount(self.channel_decision[self.remover[group]][:size])
            kept = int(np.argmin(np.where(counts > 0, counts, size + 1)))
            least[group] = (kept, int(counts[kept]))
        return least

    @cached_property
    def reach(self) -> Mapping[str, int]:
        """Group with a remover -> how many of its decisions lie within the least width: one of them stays."""
        reach = {}
        for group, site in self.remover.items():
            width = self.width_site.get(group)
            least = self.choices[width].bits[0] if width else self.work.groups[group].size
            reach[group] = int(self.channel_decision[site][:least].max()) + 1
        return reach

    @property
    def decisions(self) -> int:
        """Decisions of all sites together."""
        return sum(choice.decisions for choice in self.choices.values())

    def one_hot(self, assignment: Assignment) -> dict[str, Float[np.ndarray, "decisions candidates"]]:
        """Gates that pick exactly this assignment, as float64 so that costs are exact integers."""
        gates = {}
        for site, indices in self.indices(assignment).items():
            gates[site] = np.eye(len(self.choices[site].candidates))[indices]
        return gates

    def indices(self, assignment: Assignment) -> dict[str, np.ndarray]:
        """Site -> index of the chosen candidate per decision, `(decisions,)` int.

        Raises:
          SearchSpaceError: the assignment is not one of this space.
        """
        self._check_sites(assignment)
        chosen = {}
        for site, choice in self.choices.items():
            position = {bits: k for k, bits in enumerate(choice.bits)}
            values = assignment.bits[site]
            made = _granularity_words(assignment.granularity.get(site), assignment.group_size.get(site))
            ours = _granularity_words(choice.granularity_name, getattr(choice.granularity, "size", None))
            if len(values) != choice.decisions or made != ours:
                raise SearchSpaceError(
                    f"the assignment has {len(values)} decisions at '{site}' ({made}), the space has "
                    f"{choice.decisions} ({ours}). It was made for another space."
                )
            unknown = sorted(set(values) - set(position))
            if unknown:
                what = "channels" if choice.kind == "width" else "bits"
                raise SearchSpaceError(
                    f"the assignment gives {unknown[0]} {what} at '{site}', which offers "
                    f"{list(choice.bits)}. Use one of these, or add it to the rules."
                )
            chosen[site] = np.array([position[bits] for bits in values], dtype=np.int64)
        return chosen

    def from_indices(self, indices: Mapping[str, Any]) -> Assignment:
        """The assignment that picks candidate `indices[site][d]` for each decision d, `(decisions,)`."""
        bits = {
            site: tuple(int(choice.bits[k]) for k in np.asarray(indices[site]).ravel())
            for site, choice in self.choices.items()
        }
        return Assignment(
            bits=bits,
            granularity={site: choice.granularity_name for site, choice in self.choices.items()},
            group_size={
                site: choice.granularity.size
                for site, choice in self.choices.items()
                if isinstance(choice.granularity, Subgroup)
            },
        )

    def nearest(self, gates: Gates) -> Assignment:
        """The assignment with the largest gate of each decision."""
        return self.from_indices({site: np.argmax(np.asarray(gates[site]), axis=1) for site in self.choices})

    def uniform(self, bits: int | None = None, *, highest: bool = True) -> Assignment:
        """Every decision at the candidate nearest to `bits`; None: at the highest (or lowest) one.

        With `bits` all channels of the network as it was given stay, and ties between two equally near
        candidates go to the higher one. The lowest candidates may remove every channel: `check` then
        refuses the assignment.

        Args:
          bits: Bit-width to come near to.
          highest: Which end to take if `bits` is None.
        """
        indices = {}
        for site, choice in self.choices.items():
            last = len(choice.bits) - 1
            if bits is None:
                pick = last if highest else 0
            elif choice.kind == "mask":
                pick = last
            elif choice.kind == "width":
                shares = [getattr(candidate, "share") for candidate in choice.candidates]
                pick = min(range(last + 1), key=lambda k: (abs(shares[k] - 1), -k))
            else:
                kept = range(1 if choice.removes else 0, last + 1)
                pick = min(kept, key=lambda k: (abs(choice.bits[k] - bits), -k))
            indices[site] = np.full(choice.decisions, pick)
        return self.from_indices(indices)

    def check(self, assignment: Assignment) -> None:
        """Refuse an assignment that is not a network of this space.

        Raises:
          SearchSpaceError: wrong sites, decisions or candidates, or a group without any channel.
        """
        for group, alive in self.existing(self.indices(assignment)).items():
            if not alive.any():
                raise SearchSpaceError(
                    f"the assignment removes all {self.work.groups[group].size} channels of '{group}'. "
                    "Keep at least one."
                )

    def _check_sites(self, assignment: Assignment) -> None:
        missing = [site for site in self.choices if site not in assignment.bits]
        extra = [site for site in assignment.bits if site not in self.choices]
        if extra:
            raise SearchSpaceError(
                f"the assignment names '{extra[0]}', which is no site of this space; nearest: "
                f"{nearest(extra[0], self.choices)}. It was made for another network."
            )
        if missing:
            raise SearchSpaceError(
                f"the assignment lacks '{missing[0]}' ({len(missing)} of {len(self.choices)} sites are "
                "missing). It was made for another network."
            )


def _granularity_words(name: str | None, size: int | None) -> str:
    return f"{name} of {size} channels" if size is not None else str(name)
