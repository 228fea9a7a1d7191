#!/usr/bin/env bash
# The figure over k, the number of tensors that each ranking keeps, and --top-k auto beside it (Smiling/Male).
#   bash results/table_k.sh                                                       toy faces
#   bash results/table_k.sh --dataset celeba --real-data-path DIR                 the paper's
# Cost at the paper's size, estimated: the synthetic images of table 3, then about 3 GPU hours for ten seeds.
source "$(dirname "$0")/common.sh"
for pair in $(pairs_or Smiling_Male); do
    column "$pair" "$pair" aim-fair:top-k={40,45,50,60} aim-fair aim-fair:top-k=auto
done
remake_tables
