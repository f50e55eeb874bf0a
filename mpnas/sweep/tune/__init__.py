"""Ray Tune places and restarts trials; this is the one package that imports it.

Ray owns no durable state: a trial is an id, its state is in its folder, and a resume is a new Tune run
over the ids without a result. `drive` goes through the waves of a plan, `session` starts or joins Ray,
`fit` is one Tune run, `worker` what its processes do, `stop` the signals. On a cluster, `cluster` says
whether it may be used and still lives, `ship` packs the code, `place` finds where a trial runs, and
`relay` carries home what it writes.
"""

from mpnas.sweep.tune.drive import has_result, run_pending
from mpnas.sweep.tune.resources import Outcome, Resources

__all__ = ["Outcome", "Resources", "has_result", "run_pending"]
