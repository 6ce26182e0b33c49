#!/usr/bin/env bash
# What Spark asks of a node: the addresses of its GPUs, as JSON.
set -euo pipefail
found=$(nvidia-smi --query-gpu=index --format=csv,noheader | sed 's/.*/"&"/' | paste -sd, -)
echo "{\"name\": \"gpu\", \"addresses\": [${found}]}"
