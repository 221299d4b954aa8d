#!/bin/sh
# How many images a second, and how long is the wait for data? Usage: runs/throughput.sh DATA
set -eu
data=${1:?folder with train/ and val/}
for size in 128 224; do
    sota_bench --parts loaders epoch --profile gpu --data "$data" --size $size --bs 256 --out "bench_gpu_$size.json"
done
