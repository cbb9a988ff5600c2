#!/bin/bash
# What users of a service notice of its updates: 1,000 requests a second through the edge while a
# job is updated rolling, and the time from registering a job to its first 200. Every request that
# isn't answered with 200 is counted; exit status 1 if there is any.
#
# Needs wrk, curl and a release build: cargo build --release. The jobs are raw_exec and bring their
# backend along (`drover example-backend`): no Docker.
#
# Variables: DROVER (target/release/drover), UPDATES (3), CONNECTIONS (50), REGISTERED (5 jobs that
# are registered and timed), OFFSET (20000, added to all ports).
set -euo pipefail

cd "$(dirname "$0")/.."
DROVER=$(realpath "${DROVER:-target/release/drover}")
UPDATES=${UPDATES:-3}
CONNECTIONS=${CONNECTIONS:-50}
REGISTERED=${REGISTERED:-5}
OFFSET=${OFFSET:-20000}
EDGE=$((9999 + OFFSET))
API=$((4646 + OFFSET))

for tool in wrk curl; do
  command -v "$tool" >/dev/null || { echo "rolling.sh: $tool is missing; see the top" >&2; exit 2; }
done
[ -x "$DROVER" ] || { echo "rolling.sh: $DROVER is missing; run cargo build --release" >&2; exit 2; }

work=$(mktemp -d)
finish() {
  kill "${agent:-}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

job() { # NAME COUNT VERSION
  cat <<END
job "$1" {
  datacenters = ["dc1"]
  update {
    max_parallel     = 1
    min_healthy_time = "1s"
    healthy_deadline = "30s"
  }
  group "web" {
    count = $2
    task "web" {
      driver = "raw_exec"
      config {
        command = "$DROVER"
        args    = ["example-backend", "-version=v$3"]
      }
      resources {
        cpu    = 50
        memory = 32
        network {
          port "http" {}
        }
      }
      service {
        name = "$1"
        port = "http"
        tags = ["urlprefix-$1.example/"]
        check {
          type     = "http"
          path     = "/"
          interval = "1s"
          timeout  = "1s"
        }
      }
    }
  }
}
END
}

status() { # HOST
  curl -s -o /dev/null -m 2 -w '%{http_code}' -H "Host: $1.example" "http://127.0.0.1:$EDGE/" || true
}

millis() { date +%s%3N; }

export NOMAD_ADDR=http://127.0.0.1:$API
"$DROVER" agent -dev -port-offset="$OFFSET" -log-level=warn >"$work/agent.log" 2>&1 &
agent=$!
until curl -s -f -m 1 "$NOMAD_ADDR/v1/agent/self" >/dev/null; do
  kill -0 "$agent" || { cat "$work/agent.log" >&2; exit 1; }
  sleep 0.05
done

times=$work/times
for n in $(seq "$REGISTERED"); do
  job "first$n" 1 1 >"$work/job.nomad"
  began=$(millis)
  "$DROVER" job run -detach "$work/job.nomad" >/dev/null
  until [ "$(status "first$n")" = 200 ]; do sleep 0.01; done
  echo $(($(millis) - began)) >>"$times"
  "$DROVER" job stop -detach -purge "first$n" >/dev/null
done
sort -n "$times" | awk '{ v[NR] = $1 }
  END { printf "registered to first 200: median %d ms, longest %d ms, of %d\n",
    v[int((NR + 1) / 2)], v[NR], NR }'

job web 3 1 >"$work/job.nomad"
"$DROVER" job run "$work/job.nomad" >/dev/null
until [ "$(status web)" = 200 ]; do sleep 0.05; done

# wrk asks as fast as it can; each of its connections waits for its share of 1,000 a second.
cat >"$work/paced.lua" <<END
wrk.headers["Host"] = "web.example"
function delay() return $CONNECTIONS end
END
(
  for n in $(seq 2 $((UPDATES + 1))); do
    job web 3 "$n" >"$work/job.nomad"
    "$DROVER" job run "$work/job.nomad" >"$work/update-$n.log" 2>&1 || touch "$work/failed"
  done
  touch "$work/updated"
) &
: >"$work/wrk.log"
until [ -e "$work/updated" ]; do
  wrk -t1 -c"$CONNECTIONS" -d5s -s "$work/paced.lua" "http://127.0.0.1:$EDGE/" >>"$work/wrk.log"
done
for n in $(seq 2 $((UPDATES + 1))); do
  grep -q '"successful"' "$work/update-$n.log" || {
    touch "$work/failed"
    echo "rolling.sh: update $n didn't succeed:" >&2
    tail -5 "$work/update-$n.log" >&2
  }
done
awk -v updates="$UPDATES" '
  /requests in/ { requests += $1; seconds += $4 + 0 }
  /Non-2xx/ { bad += $NF }
  /Socket errors/ { gsub(",", ""); bad += $4 + $6 + $8 + $10 }
  END {
    printf "%d updates: %d requests, %.0f a second, %d failed\n",
      updates, requests, requests / seconds, bad
    exit bad > 0
  }' "$work/wrk.log"
[ ! -e "$work/failed" ]
