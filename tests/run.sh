#!/usr/bin/env bash
# The test suite; every flag goes to pytest. Sets up .venv first where no environment is active.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../utils/setup.sh"
cd "$AIM_FAIR_ROOT"
exec "$PYTHON" -m pytest "$@"
