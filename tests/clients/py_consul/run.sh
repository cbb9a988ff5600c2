#!/bin/sh
# Runs py-consul's own tests, from its source distribution, against our agent. Takes the program as
# argument; needs python3 with venv, a package index, and unshare(1). Words after it go to pytest.
set -eu

program=$(realpath "${1:-target/release/drover}")
[ $# -eq 0 ] || shift
here=$(dirname "$(realpath "$0")")
version=1.8.0
work=${CLIENTS_DIR:-${TMPDIR:-/tmp}/drover-clients}/py-consul-$version

for tool in python3 unshare; do
    command -v "$tool" >/dev/null || { echo "skipped: there is no $tool"; exit 0; }
done
unshare -rn true 2>/dev/null || { echo "skipped: networks of one's own aren't allowed"; exit 0; }
mkdir -p "$work"
if [ ! -x "$work/venv/bin/pytest" ]; then
    python3 -m venv "$work/venv" || { echo "skipped: python3 has no venv"; exit 0; }
    "$work/venv/bin/pip" -q install requests aiohttp pytest pytest-asyncio packaging ||
        { echo "skipped: no package index can be reached"; rm -rf "$work/venv"; exit 0; }
fi
if [ ! -d "$work/py_consul-$version" ]; then
    "$work/venv/bin/pip" -q download --no-deps --no-binary :all: -d "$work" "py-consul==$version"
    tar xzf "$work/py_consul-$version.tar.gz" -C "$work"
fi
cp "$here/conftest.py" "$work/py_consul-$version/conftest.py"
ln -sf "$program" "$work/consul"
cd "$work/py_consul-$version"
export DROVER="$work/consul" OUT_OF_SCOPE="$here/out-of-scope.txt" PYTHONPATH=.
exec unshare -rn sh -c 'ip link set lo up && exec "$0" -q -o addopts= -p no:cacheprovider "$@"' \
    "$work/venv/bin/pytest" "${@:-tests}"
