#!/usr/bin/env bash
# Generate the synthetic faces of an attribute pair. All flags go to stable_diffusion/generate.py.
#   bash stable_diffusion/generation.sh --target-sensitive Smiling_Male --outdir results/runs/synthetic
# The defaults are the paper's: 42,000 images of 512 pixels by Stable Diffusion 2.1-base. They need one CUDA GPU.
# To list all flags: python -m stable_diffusion.generate --help
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/../utils/setup.sh"
exec "$PYTHON" -m stable_diffusion.generate "$@"
