#!/usr/bin/env bash
# An idle dev agent: time until its API answers, and resident memory 10 s later.
# Usage: bench/idle.sh [RUNS]   (needs curl, and target/release/drover or $DROVER)
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-5}
for run in $(seq "$runs"); do
    began=$(date +%s%N)
    ${DROVER:-target/release/drover} agent -dev -log-level=warn >/dev/null &
    agent=$!
    until curl -sf http://127.0.0.1:4646/v1/agent/self >/dev/null; do
        kill -0 $agent || exit 1
        sleep 0.005
    done
    ready=$((($(date +%s%N) - began) / 1000000))
    sleep 10
    rss=$(awk '/VmRSS/ {print $2}' /proc/$agent/status)
    printf 'run %d: ready after %d ms, resident %.1f MB\n' "$run" "$ready" "$(echo "$rss" | awk '{print $1/1024}')"
    kill -INT $agent
    wait $agent || true
done
