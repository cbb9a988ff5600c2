#!/bin/bash
# The resident memory of a whole node (server, client, catalog, edge) with the walk-through's jobs
# running: after a minute, and again after ten minutes of steady requests through the edge.
#
# Needs Docker, curl, wrk, Linux, and a release build: cargo build --release
# The demo images are built if they aren't there. fabio's two jobs are registered as well; their
# ports are those of the node's own edge, so one of them waits and the other one can't stay up.
#
# Variables: DROVER (target/release/drover), MINUTES (10), DOCKER_HOST (the engine's socket).
# Ends with 1 if the node takes more than 60 MB.
set -euo pipefail

cd "$(dirname "$0")/.."
DROVER=${DROVER:-target/release/drover}
MINUTES=${MINUTES:-10}
LIMIT_KB=$((60 * 1024))
JOBS=docs/jobs/walkthrough
SITE=mysite.com:9999

for tool in docker curl wrk "$DROVER"; do
  command -v "$tool" >/dev/null || { echo "memory.sh: $tool is missing; see the top of this file" >&2; exit 2; }
done
docker info >/dev/null || { echo "memory.sh: there is no Docker Engine" >&2; exit 2; }
for image in httpbackendservice:v1.0.0 httpsbackendservice:v1.0.0 httpsbackendservice:v1.0.1; do
  docker image inspect "bigwhite/$image" >/dev/null 2>&1 || { examples/images/build.sh; break; }
done

work=$(mktemp -d)
agent=
finish() {
  # A dev agent stops its tasks.
  [ -z "$agent" ] || { kill -INT "$agent" 2>/dev/null; wait "$agent" || true; }
  rm -rf "$work"
}
trap finish EXIT

# KB of a line of smaps_rollup.
kb() { awk -v name="$1:" '$1 == name { print $2 }' "/proc/$agent/smaps_rollup"; }

report() { # WHEN
  awk -v when="$1" -v rss="$(kb Rss)" -v pss="$(kb Pss)" -v own="$(kb Anonymous)" \
    'BEGIN { printf "%-34s resident %5.1f MB, proportional %5.1f MB, anonymous %5.1f MB\n",
             when, rss / 1024, pss / 1024, own / 1024 }'
}

serves() { curl -s -f -m 2 -H "Host: $SITE" http://127.0.0.1:9999/ >/dev/null; }

"$DROVER" agent -dev -log-level=warn \
  -proxy.addr=':9999;proto=http,:9997;proto=tcp,:9996;proto=tcp+sni' >"$work/agent.log" 2>&1 &
agent=$!
until curl -s -f -m 1 http://127.0.0.1:4646/v1/agent/self >/dev/null; do
  kill -0 "$agent" 2>/dev/null || { cat "$work/agent.log" >&2; agent=; exit 1; }
  sleep 0.1
done
report "ready, without a job"

for job in httpbackend-1 httpbackend-2 httpsbackend-upstreamhttps httpsbackend-tcp \
  httpsbackend-tcp-sni-1 httpsbackend-tcp-sni-2; do
  "$DROVER" job run "$JOBS/$job.nomad" >"$work/run" || { cat "$work/run" >&2; exit 1; }
done
for job in fabio fabio-2; do "$DROVER" job run -detach "$JOBS/$job.nomad" >/dev/null; done
for _ in $(seq 100); do serves && break; sleep 0.2; done
serves || { echo "memory.sh: $SITE isn't served" >&2; exit 1; }
sleep 60
report "the jobs have run for a minute"

# 4 connections, each with 20 ms between an answer and the next request.
cat >"$work/steady.lua" <<END
function delay() return 20 end
wrk.headers["Host"] = "$SITE"
END
wrk -t1 -c4 -d"$((MINUTES * 60))s" -s "$work/steady.lua" http://127.0.0.1:9999/ >"$work/wrk"
report "$MINUTES minutes of requests later"
awk '/requests in/ { n = $1 } /Non-2xx/ { bad = $NF }
  END { printf "%d requests, %d of them failed\n", n, bad }' "$work/wrk"

if [ "$(kb Rss)" -gt "$LIMIT_KB" ]; then
  echo "memory.sh: more than 60 MB" >&2
  exit 1
fi
