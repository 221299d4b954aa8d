#!/bin/sh
# What do the cells of the leaderboard at 128 and 192 px hold? Usage: runs/board.sh DATA
set -eu
data=${1:?folder with train/ and val/}
here=$(dirname "$0")
for epochs in 5 20 80 200; do for seed in 0 1 2 3 4; do for size in 128 192; do
    "$here/train_once.sh" "runs/board/board-$size-$epochs/$seed" --recipe board-$size-$epochs \
        --seed $seed --data "$data"
done; done; done
