#!/bin/sh
# Train one seed of a recipe unless its run.json is there. Usage: runs/train_once.sh OUT FLAGS OF sota_train
set -eu
out=$1
shift
[ -e "$out/run.json" ] || exec sota_train --profile gpu --out "$out" "$@"
