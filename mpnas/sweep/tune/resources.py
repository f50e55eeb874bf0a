"""What a sweep may use, and how it ended: plain values between the command line and Ray."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a sweep may use.

    Attributes:
      cpus: Trials that run at the same time, one per processor; None: as many as a cluster has processors.
      retries: How often a trial whose worker died is started again.
      hang_after: Seconds without a report after which a trial counts as hung, and its worker is ended.
      address: A running cluster, `HOST:PORT` or `auto`; None: a Ray of this machine alone.
      lost: Called with a sentence, from another thread, when the cluster's head has died; it has to end the
        process, whose main thread then hangs in Ray. None: Ray ends it after a minute, with code 1.
    """

    cpus: int | None
    retries: int = 3
    hang_after: float = 1800.0
    address: str | None = None
    lost: Callable[[str], None] | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a Tune run ended: `interrupted` by a signal, or `error` of the controller itself, in words."""

    interrupted: bool = False
    error: str | None = None
