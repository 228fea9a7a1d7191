#!/usr/bin/env bash
# The tests; every other flag goes to pytest. Sets up .venv first if no environment is active.
#   bash tests/run.sh            all: seven to thirteen minutes on two CPU cores, a process on each
#   bash tests/run.sh --fast     those that take no seconds each: two to seven minutes
#   bash tests/run.sh --long     a hundred kills in place of two, and the coverage of the intervals in full
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
export AIM_FAIR_MORE=requirements-test.txt
source "$(dirname -- "${BASH_SOURCE[0]}")/../utils/setup.sh"
cd "$AIM_FAIR_ROOT"
# a process for each core, each with one thread: that is faster than one process with all of them
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec "$PYTHON" -m pytest -n auto --maxprocesses 4 --dist worksteal "$@"
