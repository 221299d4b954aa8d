#!/bin/sh
# What do claims say on a GPU? Several processes share the card and the runs, the first claims first; the seconds of
# a run mean something with one worker only. Usage: runs/claims.sh DATA MINUTES WORKERS SEEDS [CLAIM …]
set -eu
data=${1:?folder with train/ and val/} minutes=${2:?minutes} workers=${3:?processes at once} seeds=${4:?seeds of an arm}
shift 4
sota_evidence run "$@" --scale "${SCALE:-gpu}" --data "$data" --minutes "$minutes" --workers "$workers" --seeds "$seeds"
