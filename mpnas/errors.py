"""The few kinds of error that mpnas raises for a person to read.

Every message is a sentence with what is wrong, the value, and the way out. The command line prints
it without a traceback and ends with exit code 2; a program catches `MpnasError` for all of them.
"""

import difflib
from collections.abc import Iterable


class MpnasError(Exception):
    """Base of all errors whose message is meant for the person who runs mpnas."""


class ConfigError(MpnasError):
    """A configuration file or option is wrong: unknown key, value out of range, name not found."""


class SearchSpaceError(MpnasError):
    """A rule, candidate or assignment does not fit the network."""


class UnsupportedOperationError(MpnasError):
    """The network does something that mpnas does not understand; names the operation and the module."""


class BudgetError(MpnasError):
    """A budget cannot be met; names the achievable range and what sets its floor."""


class UnpricedError(MpnasError):
    """A cost has no number for something that a network does; names the place and what has one."""


class DataError(MpnasError):
    """A data file is missing, truncated, or not what its checksum says."""


class CheckpointError(MpnasError):
    """No checkpoint in a folder can be restored."""


class RunFolderError(MpnasError):
    """A run folder cannot be used: another plan's, not writable, or held by a living run."""


class FrontFileError(MpnasError):
    """A front.json is not one: broken JSON, another schema version, or an invariant that fails."""


class GraphError(MpnasError):
    """An integer graph contradicts itself, or holds what integers of its width cannot; names the place."""


class PackError(MpnasError):
    """A packed file is truncated, foreign, newer or damaged, or a graph has no place in one."""


class ExportError(MpnasError):
    """An exported file cannot be read, or does not compute what the network computes."""


class NonFiniteLossError(MpnasError):
    """A loss became NaN or infinite; carries the stage and the step at which it was seen."""

    def __init__(self, stage: str, step: int) -> None:
        super().__init__(
            f"the loss of stage '{stage}' is not finite at step {step}. "
            "Lower the learning rate or the penalty weight of that stage."
        )
        self.stage = stage
        self.step = step


def nearest(word: str, known: Iterable[str], count: int = 3) -> str:
    """The known words closest to a misspelt one, quoted and comma-separated, for an error message.

    >>> nearest("blok0/conv", ["block0/conv", "dense"])
    "'block0/conv'"
    """
    choices = sorted(set(known))
    close = difflib.get_close_matches(word, choices, n=count, cutoff=0.4) or choices[:count]
    return ", ".join(f"'{choice}'" for choice in close)
