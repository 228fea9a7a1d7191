#!/usr/bin/env bash
# Table 3: ways to use synthetic images, from training on them alone to AIM-Fair.
#   bash results/table_3.sh                                                       toy faces, Smiling/Male
#   bash results/table_3.sh --dataset celeba --real-data-path DIR                 the paper's CelebA columns
#   bash results/table_3.sh --dataset utkface --real-data-path DIR                UTKFace, Female/White
# Cost at the paper's size, estimated: 42,000 images a pair to generate (6 to 12 GPU hours, 4 GB), then about 4 hours
# for ten seeds of a pair.
source "$(dirname "$0")/common.sh"
for pair in $(pairs_or "$own_pairs"); do
    column "$pair" "$pair" synthetic-only supplement repair linear-probe full aim-fair
done
remake_tables
