#!/bin/sh
# Builds the image of the walk-through's web service, bigwhite/httpbackendservice:v1.0.0, out of
# backend.rs alone: rustc and docker are all it needs. Another version: build.sh v1.0.1
set -eu

version=${1:-v1.0.0}
here=$(cd "$(dirname "$0")" && pwd)
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT

rustc --edition 2024 -O -C target-feature=+crt-static -C strip=symbols \
    -o "$context/backend" "$here/backend.rs"

cat > "$context/Dockerfile" <<DOCKERFILE
FROM scratch
COPY backend /backend
EXPOSE 8081
ENTRYPOINT ["/backend", "$version"]
DOCKERFILE

docker build --quiet --tag "bigwhite/httpbackendservice:$version" "$context"
