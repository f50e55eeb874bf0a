#!/usr/bin/env bash
# Everything that a change must pass: imports, types, style, tests. Arguments go to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
prepare_venv test
# One core per process: results depend on the number of threads in their last bits.
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
.venv/bin/lint-imports
.venv/bin/mypy
.venv/bin/flake8 mpnas tests scripts
# A file stays in one process, so that what its tests share is made once.
exec .venv/bin/python -m pytest -n 2 --dist loadfile "$@"
