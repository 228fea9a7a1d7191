#!/usr/bin/env bash
# Table 1: methods that train on real images alone, beside AIM-Fair, on three pairs.
#   bash results/table_1.sh                                                       toy faces, Smiling/Male
#   bash results/table_1.sh --dataset celeba --real-data-path DIR                 the paper's
# MAPLE and DiGA are published numbers; group-dro trains on protected labels and is never marked as the best.
# Cost at the paper's size, estimated: 126,000 images to generate (18 to 36 GPU hours, 12 GB), then ten seeds of seven
# trainings a pair (about 5 hours a pair, 4 GB a seed and pair for weights).
source "$(dirname "$0")/common.sh"
if [ "$dataset" = celeba ]; then own_pairs="Smiling_Male Smiling_Young Young_Male"; fi
for pair in $(pairs_or "$own_pairs"); do
    column "$pair" "$pair" cvar-dro eiil lff jtt aim-fair group-dro
done
remake_tables
