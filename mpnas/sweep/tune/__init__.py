"""Ray Tune places and restarts trials; this is the one package that imports it.

Ray owns no durable state: a trial is an id, its state is in its folder, and a resume is a new Tune run
over the ids without a result. `drive` goes through the `waves` of a plan, `session` starts Ray, `fit` is one
Tune run, `worker` what its processes do, `stop` the signals; `halving` stops searches early, `explorer`
proposes budgets.
"""
