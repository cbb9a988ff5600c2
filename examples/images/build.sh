#!/bin/sh
# Builds the images of the walk-through's web services, from scratch: each is one static binary
# and nothing else. Cargo, tar and docker are all it needs.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
# Named, so that the flag below isn't for build scripts and macros too.
target=$(rustc -vV | sed -n 's/^host: //p')
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT

(cd "$root" && RUSTFLAGS="-C target-feature=+crt-static -C strip=symbols" \
    cargo build --release --package demo-backend --target "$target")
cp "${CARGO_TARGET_DIR:-$root/target}/$target/release/demo-backend" "$context/backend"

# Usage: image SCHEME PORT VERSION. A job's `args` name another version.
image() {
    tag=bigwhite/${1}backendservice:$3
    tar --create --directory "$context" --owner=0 --group=0 backend |
        docker import --change "ENTRYPOINT [\"/backend\", \"$1\", \"$3\"]" \
            --change "EXPOSE $2" - "$tag" >/dev/null
    echo "$tag"
}

image http 8081 v1.0.0
image https 7777 v1.0.0
image https 7777 v1.0.1
