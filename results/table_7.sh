#!/usr/bin/env bash
# Table 7: how strongly the biased synthetic set is biased, 4:6 to 1:9 (Smiling/Male).
#   bash results/table_7.sh                                                       toy faces
#   bash results/table_7.sh --dataset celeba --real-data-path DIR                 the paper's
# Cost at the paper's size, estimated: the synthetic images of table 3, then about 3 GPU hours for ten seeds.
source "$(dirname "$0")/common.sh"
for pair in $(pairs_or Smiling_Male); do
    column "$pair" "$pair" aim-fair:bias-degree={4/6,3/7,2/8} aim-fair full
done
remake_tables
