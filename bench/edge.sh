#!/bin/bash
# Compares the edge proxy with nginx and haproxy in the same run: requests a second and the
# proxy's own CPU time for 100,000 requests, as medians of interleaved rounds, and their ratios.
#
# Needs wrk, curl, nginx (also the backend) and, if they are to be compared, haproxy and fabio:
#   apt-get install wrk nginx-light haproxy
# and a release build: cargo build --release
#
# Large bodies come last, over HTTP and over TCP with haproxy's splice forced on: CPU seconds for a GiB.
# Then the resident memory of the whole node (server, client, catalog, edge) with its job.
#
# Variables: DROVER (target/release/drover), NGINX, HAPROXY, FABIO (none), ROUNDS (3), SECONDS_EACH (5),
# CONNECTIONS (64), WORKERS (2; drover always has one a core).
# EDGE_COMMAND runs something else in drover's place: a command that serves 127.0.0.1:9999 and
# passes everything on to 127.0.0.1:9000.
#
# Takes about ROUNDS x proxies x SECONDS_EACH, and at most 20 s more. Run it on an idle machine;
# only the ratios mean anything elsewhere.
set -euo pipefail

cd "$(dirname "$0")/.."
DROVER=${DROVER:-target/release/drover}
NGINX=${NGINX:-$(command -v nginx || echo /usr/sbin/nginx)}
HAPROXY=${HAPROXY:-$(command -v haproxy || echo /usr/sbin/haproxy)}
ROUNDS=${ROUNDS:-3}
SECONDS_EACH=${SECONDS_EACH:-5}
CONNECTIONS=${CONNECTIONS:-64}
WORKERS=${WORKERS:-2}
BODY='this is httpbackendservice, version: v1.0.0'

for tool in wrk curl "$NGINX"; do
  command -v "$tool" >/dev/null || { echo "edge.sh: $tool is missing; see the top of this file" >&2; exit 2; }
done

work=$(mktemp -d)
# Workers of a backend that root starts are somebody else.
chmod 755 "$work"
declare -A pid port
finish() {
  for name in "${!pid[@]}"; do kill "${pid[$name]}" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

start() { # NAME PORT COMMAND...
  local name=$1
  port[$name]=$2
  shift 2
  "$@" >"$work/$name.log" 2>&1 &
  pid[$name]=$!
}

# A port answers with the backend's body within 10 s.
await() { # NAME
  for _ in $(seq 100); do
    [ "$(curl -s -m 1 "http://127.0.0.1:${port[$1]}/" 2>/dev/null)" = "$BODY" ] && return
    sleep 0.1
  done
  echo "edge.sh: $1 doesn't serve; its output:" >&2
  tail -20 "$work/$1.log" >&2
  exit 1
}

nginx_config() { # NAME WORKERS SERVER
  cat >"$work/$1.conf" <<END
worker_processes $2;
daemon off;
pid $work/$1.pid;
error_log stderr warn;
worker_rlimit_nofile 16384;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path $work/$1-cb; proxy_temp_path $work/$1-pt;
  fastcgi_temp_path $work/$1-ft; uwsgi_temp_path $work/$1-ut; scgi_temp_path $work/$1-st;
  keepalive_requests 1000000000;
  upstream up { server 127.0.0.1:9000; keepalive 256; keepalive_requests 1000000000; }
  $3
}
END
}

backend_config() {
  nginx_config backend 1 "server { listen 127.0.0.1:9000 reuseport; default_type text/plain;
    location /large { root $work; }
    location / { return 200 '$BODY
'; } }"
  head -c 268435456 /dev/zero >"$work/large"
}

start_nginx() {
  nginx_config nginx "$WORKERS" 'server { listen 127.0.0.1:9102 reuseport;
    location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto http; } }'
  start nginx 9102 "$NGINX" -c "$work/nginx.conf"
}

start_haproxy() {
  cat >"$work/haproxy.cfg" <<END
global
  nbthread $WORKERS
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend edge
  bind 127.0.0.1:9103
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  default_backend up
backend up
  http-reuse always
  server one 127.0.0.1:9000 pool-max-conn 512
END
  cat >>"$work/haproxy.cfg" <<END
frontend tcp
  mode tcp
  option splice-request
  option splice-response
  bind 127.0.0.1:9105
  default_backend tcpup
backend tcpup
  mode tcp
  option splice-request
  option splice-response
  server one 127.0.0.1:9000
END
  start haproxy 9103 "$HAPROXY" -db -f "$work/haproxy.cfg"
}

start_fabio() {
  start fabio 9104 "$FABIO" -insecure -proxy.addr=127.0.0.1:9104 -ui.addr=127.0.0.1:9194 \
    -registry.backend=static -registry.static.routes="route add bench / http://127.0.0.1:9000/"
}

start_drover() {
  if [ -n "${EDGE_COMMAND:-}" ]; then
    start backend 9000 "$NGINX" -c "$work/backend.conf"
    # shellcheck disable=SC2086
    start drover 9999 $EDGE_COMMAND
    return
  fi
  [ -x "$DROVER" ] || { echo "edge.sh: $DROVER is missing; run cargo build --release" >&2; exit 2; }
  start drover 9999 "$DROVER" agent -dev -log-level=warn \
    -proxy.addr='127.0.0.1:9999;proto=http,127.0.0.1:9997;proto=tcp'
  # The backend is a job like any other: Drover runs it, checks it and routes to it.
  cat >"$work/bench.nomad" <<END
job "bench" {
  datacenters = ["dc1"]
  group "bench" {
    task "backend" {
      driver = "raw_exec"
      config {
        command = "$NGINX"
        args    = ["-c", "$work/backend.conf"]
      }
      resources {
        network {
          port "http" {
            static = 9000
          }
        }
      }
      service {
        name = "bench"
        port = "http"
        tags = ["urlprefix-/", "urlprefix-:9997 proto=tcp"]
        check {
          type     = "http"
          path     = "/"
          interval = "10s"
          timeout  = "2s"
        }
      }
    }
  }
}
END
  until curl -s -f -m 1 http://127.0.0.1:4646/v1/agent/self >/dev/null; do sleep 0.1; done
  "$DROVER" job run "$work/bench.nomad" >/dev/null
}

# Clock ticks that a process and its children have used.
ticks() { # NAME
  local sum=0 one stat
  for one in ${pid[$1]} $(cat "/proc/${pid[$1]}/task/${pid[$1]}/children"); do
    stat=$(cat "/proc/$one/stat") || continue
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    sum=$((sum + ${12} + ${13}))
  done
  echo "$sum"
}

round() { # NAME: appends requests a second and CPU seconds for 100,000 requests
  local before after out requests
  before=$(ticks "$1")
  out=$(wrk -t1 -c"$CONNECTIONS" -d"${SECONDS_EACH}s" "http://127.0.0.1:${port[$1]}/")
  after=$(ticks "$1")
  if grep -q 'Non-2xx\|Socket errors' <<<"$out"; then
    echo "edge.sh: $1: $(grep 'Non-2xx\|Socket errors' <<<"$out")" >&2
  fi
  requests=$(awk '/requests in/ { print $1 }' <<<"$out")
  awk '/Requests\/sec/ { print $2 }' <<<"$out" >>"$work/$1.rps"
  awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" -v n="$requests" \
    'BEGIN { print t / hz / n * 100000 }' >>"$work/$1.cpu"
}

large() { # NAME PORT SUFFIX: appends CPU seconds for a GiB of large bodies
  local before after
  before=$(ticks "$1")
  for _ in 1 2 3 4; do curl -s -f -o /dev/null "http://127.0.0.1:$2/large"; done
  after=$(ticks "$1")
  awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" 'BEGIN { print t / hz }' >>"$work/$1.$3"
}

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int((NR + 2) / 2)]) / 2 }'; }

backend_config
start_drover
start_nginx
proxies="drover nginx"
if command -v "$HAPROXY" >/dev/null; then
  start_haproxy
  proxies+=" haproxy"
else
  echo "edge.sh: no haproxy here: compared with nginx only" >&2
fi
if [ -n "${FABIO:-}" ]; then
  start_fabio
  proxies+=" fabio"
fi
for name in $proxies; do await "$name"; done

for _ in $(seq "$ROUNDS"); do
  for name in $proxies; do round "$name"; done
done

printf '%-8s %12s %22s\n' proxy requests/s 'CPU s/100k requests'
for name in $proxies; do
  printf '%-8s %12.0f %22.3f\n' "$name" "$(median "$work/$name.rps")" "$(median "$work/$name.cpu")"
done
for name in $proxies; do
  [ "$name" = drover ] && continue
  awk -v n="$name" -v a="$(median "$work/drover.rps")" -v b="$(median "$work/$name.rps")" \
    -v c="$(median "$work/drover.cpu")" -v d="$(median "$work/$name.cpu")" \
    'BEGIN { printf "drover / %s: requests/s %.2f, CPU %.2f\n", n, a / b, c / d }'
done

if [ -n "${EDGE_COMMAND:-}" ]; then exit; fi
for _ in $(seq "$ROUNDS"); do
  large drover 9997 gib
  if [ -n "${pid[haproxy]:-}" ]; then large haproxy 9105 gib; fi
  for name in $proxies; do large "$name" "${port[$name]}" http; done
done
printf 'HTTP, CPU s/GiB:'
for name in $proxies; do printf ' %s %.3f' "$name" "$(median "$work/$name.http")"; done
printf '\nTCP, CPU s/GiB: drover %.3f' "$(median "$work/drover.gib")"
if [ -n "${pid[haproxy]:-}" ]; then
  awk -v a="$(median "$work/drover.gib")" -v b="$(median "$work/haproxy.gib")" \
    'BEGIN { printf ", haproxy with splice %.3f, ratio %.2f", b, a / b }'
fi
awk '/VmRSS/ { printf "\nresident, the whole node with its job: %.0f MB\n", $2 / 1024 }' \
  "/proc/${pid[drover]}/status"
