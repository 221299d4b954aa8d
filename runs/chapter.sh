#!/bin/sh
# What does each technique bring at the chapter's own scale? Usage: runs/chapter.sh DATA
set -eu
data=${1:?folder with train/ and val/}
here=$(dirname "$0")
for seed in 0 1 2; do
    for recipe in baseline chapter progressive unnormalized mixup smoothing; do
        "$here/train_once.sh" "runs/chapter/$recipe/$seed" --recipe $recipe --presize 256 --seed $seed --data "$data"
    done
    for split in random random_per_stage; do
        "$here/train_once.sh" "runs/chapter/$split/$seed" --recipe chapter --presize 256 --split $split \
            --seed $seed --data "$data"
    done
done
