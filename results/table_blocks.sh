#!/usr/bin/env bash
# The figure of freezing each block in turn (Smiling/Male): a part of table 4.
#   bash results/table_blocks.sh                                                  toy faces
#   bash results/table_blocks.sh --dataset celeba --real-data-path DIR            the paper's
# Cost at the paper's size, estimated: the synthetic images of table 3, then about 4 GPU hours for ten seeds.
source "$(dirname "$0")/common.sh"
for pair in $(pairs_or Smiling_Male); do
    column "$pair" "$pair" freeze-block-{stem,1,2,3,4,fc}
done
remake_tables
