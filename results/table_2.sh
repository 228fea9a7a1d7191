#!/usr/bin/env bash
# Table 2: the same methods with 50, 25 and 10 % of the real images (Smiling/Male).
#   bash results/table_2.sh                                                       toy faces
#   bash results/table_2.sh --dataset celeba --real-data-path DIR                 the paper's
# Cost at the paper's size, estimated: the synthetic images of table 1's Smiling_Male, then about 4 GPU hours.
source "$(dirname "$0")/common.sh"
for pair in $(pairs_or Smiling_Male); do
    for share in 50 25 10; do
        column_real=$((${real:-20000} * share / 100)) column "${pair}_real-$share" "$pair" cvar-dro eiil lff jtt aim-fair group-dro
    done
done
remake_tables
