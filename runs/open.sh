#!/bin/sh
# When do mixup, label smoothing, small pictures and averaged views pay? Usage: runs/open.sh DATA [MINUTES]
set -eu
data=${1:?folder with train/ and val/}
exec sota_evidence run tta progressive mixup smoothing cutmix depth --scale gpu --data "$data" ${2:+--minutes "$2"}
