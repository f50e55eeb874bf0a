#!/usr/bin/env bash
# From a fresh checkout to a front of trained networks: makes .venv, installs, sweeps the digits.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
prepare_venv
exec .venv/bin/mpnas sweep digits "$@"
