#!/bin/sh
# Runs rs-consul's own tests, from crates.io, against our agent. Takes the program as argument; needs
# cargo, curl, unshare(1) and crates.io. Words after it go to the tests.
set -eu

program=$(realpath "${1:-target/release/drover}")
[ $# -eq 0 ] || shift
version=0.12.0
work=${CLIENTS_DIR:-${TMPDIR:-/tmp}/drover-clients}/rs-consul-$version

for tool in cargo curl unshare; do
    command -v "$tool" >/dev/null || { echo "skipped: there is no $tool"; exit 0; }
done
unshare -rn true 2>/dev/null || { echo "skipped: networks of one's own aren't allowed"; exit 0; }
mkdir -p "$work"
if [ ! -d "$work/rs-consul-$version" ]; then
    curl -sSfL "https://static.crates.io/crates/rs-consul/rs-consul-$version.crate" |
        tar xz -C "$work" || { echo "skipped: crates.io can't be reached"; exit 0; }
fi
ln -sf "$program" "$work/consul"
cd "$work/rs-consul-$version"
export CARGO_TARGET_DIR="$work/target" CARGO_PROFILE_DEV_DEBUG=0
# Its own choice of a toolchain isn't needed, and its lock file is a library's.
rm -f rust-toolchain
cargo test --quiet --no-run

cat >"$work/inside.sh" <<'SH'
set -eu
ip link set lo up
work=$1; shift
"$work/consul" agent -dev -config-file=testdata/config.hcl -recursor=8.8.8.8 >"$work/agent.log" 2>&1 &
agent=$!
trap 'kill "$agent"' EXIT
tries=0
until curl -sf http://127.0.0.1:8500/v1/status/leader | grep -q :; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { tail "$work/agent.log"; exit 1; }
    sleep 0.1
done
cargo test --quiet --offline -- --test-threads=1 "$@"
SH
exec unshare -rn sh "$work/inside.sh" "$work" "$@"
