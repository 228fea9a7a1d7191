#!/usr/bin/env bash
# The tests; every flag goes to pytest. Sets up .venv first where no environment is active.
#   bash tests/run.sh            all: about five minutes on two CPU cores
#   bash tests/run.sh --fast     those that take no seconds each: under two minutes
#   bash tests/run.sh --long     a hundred kills in place of two, and the coverage of the intervals in full
set -euo pipefail
export AIM_FAIR_MORE=requirements-test.txt
source "$(dirname "${BASH_SOURCE[0]}")/../utils/setup.sh"
cd "$AIM_FAIR_ROOT"
exec "$PYTHON" -m pytest "$@"
