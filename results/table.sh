#!/usr/bin/env bash
# The rows of a table of the paper, trained and shown beside the paper's: bash results/table.sh 3
# bash results/table.sh --help tells the flags, and what each table costs.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../utils/setup.sh"
exec "$PYTHON" -m results.run_table "$@"
