"""Record: what one trial leaves behind, as plain data; the content of its `result.json`.

A front is built from records alone, so a record carries everything that a front tells: what was
asked, what came out, and the whole assignment. Nothing in it needs jax to be read.
"""

import dataclasses
from typing import Any, Literal, get_args

from mpnas.errors import FrontFileError
from mpnas.pareto.schema import check_plain, complaints, plain, printable

Kind = Literal["float", "search", "uniform", "random"]
Method = Literal["relaxation", "proposer", "scorer"]
Stage = Literal["reference", "searched", "discretised", "retrained", "exported"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One trial: a search and retraining, or a baseline, with one seed and one budget.

    Attributes:
      trial: Id, unique within a run.
      kind: "search", or the baseline that it is.
      controller: Name of the search method; None for baselines that have none.
      method: How it comes to its choice: "relaxation" (by gradients), "proposer" (by asking) or "scorer"
        (from one look at the network); None for baselines, or where nobody said.
      seed: Seed of all randomness of the trial; >= 0.
      budget: Cost name -> what was asked for, an amount or text such as "20 kB".
      limits: Cost name -> the budget as an absolute amount, in the cost's unit.
      status: "done" or "failed".
      reason: Why it failed; None when done.
      stage: How far it came; metrics and costs are of this stage.
      metrics: Fractions: "accuracy" on the selection part, "test_accuracy" on the test part, ...
      costs: Exact costs: "weight_bytes", "macs", "bops", "peak_act_bytes", ...
      gap: Soft against hard numbers: expected_costs, soft_metric, hard_metric,
        mean_choice_entropy, undecided_fraction; may be empty.
      assignment: Site -> {"granularity", "bits"}, {"granularity", "rle": [[bits, count], ...]}
        (optionally "group_size"), or {"granularity", "channels"}; empty for a float network.
      seconds: Part of the trial -> wall-clock seconds.
      steps: Part of the trial -> optimizer steps; "evaluations" -> assignments that a search may try.
      artifacts: checkpoint, sha256 and exports, with paths relative to the run folder.
      ended_utc: When the trial was over, as "2026-01-31T12:00:00Z"; None where nobody said. It stays in the
        record: two equal runs give equal fronts.
    """

    trial: str
    kind: Kind
    controller: str | None
    seed: int
    budget: dict[str, float | str]
    limits: dict[str, float]
    status: Literal["done", "failed"]
    stage: Stage
    metrics: dict[str, float]
    costs: dict[str, float]
    reason: str | None = None
    method: Method | None = None
    gap: dict[str, Any] = dataclasses.field(default_factory=dict)
    assignment: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    steps: dict[str, int] = dataclasses.field(default_factory=dict)
    artifacts: dict[str, Any] = dataclasses.field(default_factory=dict)
    ended_utc: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object, every field present.

        Raises:
          FrontFileError: A number is not finite, or a value has another form than `schema.json`
            describes; names the field.
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if self.reason is not None:
            # Messages of compilers come coloured; a failure must never be too odd to be recorded.
            fields["reason"] = printable(self.reason)
        return _checked(plain(fields))

    @classmethod
    def from_json(cls, value: object) -> "Record":
        """The record that a JSON object describes; the inverse of `to_json`.

        Raises:
          FrontFileError: Not an object, an unknown key (with the nearest known one), a missing
            key, or a value of another form than `schema.json` describes.
        """
        return cls(**_checked(plain(value)))


def _checked(value: Any) -> dict[str, Any]:
    trial = value.get("trial") if isinstance(value, dict) else None
    what = f"record '{trial}'" if isinstance(trial, str) else "the record"
    check_plain(value, what)
    if wrong := complaints(value, "record"):
        raise FrontFileError(
            f"{what} is not usable: {wrong[0]}. Write result.json with Record.to_json."
        )
    return value
