#!/usr/bin/env bash
# Table 4: which tensors to fine-tune: random ones, one block, all but one block, or those of a ranking.
#   bash results/table_4.sh                                                       toy faces, Smiling/Male
#   bash results/table_4.sh --dataset celeba --real-data-path DIR                 the paper's CelebA columns
#   bash results/table_4.sh --dataset utkface --real-data-path DIR                UTKFace, Female/White
# Cost at the paper's size, estimated: the synthetic images of table 3, then 17 fine-tunings a seed (about 10 GPU hours
# for ten seeds of a pair).
source "$(dirname "$0")/common.sh"
for pair in $(pairs_or "$own_pairs"); do
    column "$pair" "$pair" random-mask:share={0.4,0.55,0.7,0.85} update-block-{stem,1,2,3,4} linear-probe \
        freeze-block-{stem,1,2,3,4,fc} cosine aim-fair
done
remake_tables
