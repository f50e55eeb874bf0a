"""What a sweep may use, and how it ended: plain values between the command line and Ray."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a sweep may use.

    Attributes:
      cpus: Trials that run at the same time, one per processor.
      retries: How often a trial whose worker died is started again.
      hang_after: Seconds without a report after which a trial counts as hung, and its worker is ended.
    """

    cpus: int
    retries: int = 3
    hang_after: float = 1800.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a Tune run ended: `interrupted` by a signal, or `error` of the controller itself, in words."""

    interrupted: bool = False
    error: str | None = None
