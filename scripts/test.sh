#!/usr/bin/env bash
# Everything that a change must pass: imports, types, style, tests. Arguments go to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
prepare_venv test
# One core per process: results depend on the number of threads in their last bits.
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
# The tests run small programs a few times each, so that compiling them is most of the work: with little optimisation
# the suite takes half the time. Without the fusion emitters, which cost more to compile than the emitters before them.
export XLA_FLAGS="${XLA_FLAGS:---xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false \
--xla_cpu_parallel_codegen_split_count=1}"
.venv/bin/lint-imports
.venv/bin/mypy
.venv/bin/flake8 mpnas tests scripts
# A file stays in one process, so that what its tests share is made once.
exec .venv/bin/python -m pytest -n 2 --dist loadfile "$@"
