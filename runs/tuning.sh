#!/bin/sh
# Which learning rate and which crops suit? A fifth of the training pictures validates. Usage: runs/tuning.sh DATA
set -eu
data=${1:?folder with train/ and val/}
here=$(dirname "$0")
for seed in 0 1; do for recipe in race-87 board-128-5 race-90 board-128-20; do
for lr in 4e-3 8e-3 1.6e-2; do for crop in .35 .6; do
    "$here/train_once.sh" "runs/tuning/$recipe-$lr-$crop/$seed" --recipe $recipe --split tuning \
        --lr $lr --min-scale $crop --seed $seed --data "$data"
done; done; done; done
