#!/bin/sh
# How many seconds to 87.4, 90, 94 and 95 %? Usage: runs/race.sh DATA
set -eu
data=${1:?folder with train/ and val/}
here=$(dirname "$0")
for seed in 0 1 2; do for recipe in race-87 race-90 race-94 race-95; do
    "$here/train_once.sh" "runs/race/$recipe/$seed" --recipe $recipe --seed $seed --data "$data"
done; done
