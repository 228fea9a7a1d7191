#!/usr/bin/env bash
# Train the rows of the paper's tables, column by column, and remake all pages.
#
#   bash results/table.sh N [N ...] [flags]
#   bash results/table.sh 3                                                   toy faces, Smiling/Male
#   bash results/table.sh 3 --dataset celeba --real-data-path DIR             the paper's CelebA columns
#   bash results/table.sh 3 4 --dataset utkface --real-data-path DIR          UTKFace, Female/White
#   bash results/table.sh 3 --methods MINE                                    your own method, beside ERM
#
# --dataset NAME               the real images: toy (the default), celeba, utkface, parquet, csv
# --pairs PAIR ...             columns to train in place of the table's own
# --output DIR                 the records, one folder per column (default: results/runs/tables/<dataset>)
# --number-train-data-real N   as in train.py
# --methods METHOD ...         rows to train in place of the table's own
# --settings auto             rows with chosen settings, in <dataset>_auto
# Every other flag goes to runner.sh: --real-data-path, --seeds, --model, --weights, --precision, --dry-run ...
# A recorded row does not run again, so an interrupted command continues, and tables share rows.
#
# N is one of the names below, or all. Costs are estimated GPU hours for ten seeds at the paper's size:
#   1       Methods that train on real images alone, and AIM-Fair:
#           126,000 images to generate (18 to 36 hours, 12 GB), then seven trainings (5 hours and 3 GB of weights per pair)
#   2       With a fraction of the real images:
#           the synthetic images of table 1's Smiling_Male, then 4 hours
#   3       Ways to use synthetic images:
#           42,000 images per pair to generate (6 to 12 hours, 4 GB), then 6 hours per pair
#   4       Which tensors to fine-tune:
#           the synthetic images of table 3, then 18 fine-tunings per seed (10 hours per pair)
#   5       Prompt sets, by training on their images alone:
#           four sets of 42,000 images per pair to generate (24 to 48 hours, 16 GB), then 2 hours per pair
#   6       Synthetic images to real ones in the balanced set:
#           the synthetic images of table 3, then 3 hours
#   7       Bias of the biased synthetic set:
#           the synthetic images of table 3, then 3 hours
#   k       Tensors that each ranking keeps:
#           the synthetic images of table 3, then 3 hours
#   blocks  Freezing each block in turn:
#           the synthetic images of table 3, then 4 hours
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/../utils/setup.sh"
exec "$PYTHON" -m results.run_table "$@"
