"""Ray Tune places and restarts trials; this is the one package that imports it.

Ray owns no durable state: a trial is an id, its state is in its folder, and a resume is a new Tune run
over the ids without a result. `drive` goes through the `waves` of a plan, `session` starts or joins Ray,
`fit` is one Tune run, `worker` what its processes do, `watchdog` ends one that hangs, `listener` hears of
those that were given up, `stop` the signals; `halving` stops searches early, `explorer` proposes budgets.
On a cluster, `cluster` says whether it may be used and still lives, `ship` packs the code, `place` finds
where a trial runs, `relay` brings it home.
"""
