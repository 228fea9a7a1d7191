#!/usr/bin/env bash
# Table 6: synthetic images to real ones, 0.5 to 2 in the balanced set (Smiling/Male).
#   bash results/table_6.sh                                                       toy faces
#   bash results/table_6.sh --dataset celeba --real-data-path DIR                 the paper's
# Cost at the paper's size, estimated: the synthetic images of table 3, then about 3 GPU hours for ten seeds.
source "$(dirname "$0")/common.sh"
for pair in $(pairs_or Smiling_Male); do
    column "$pair" "$pair" aim-fair:ratio={0.5,1.5,2} aim-fair
done
remake_tables
