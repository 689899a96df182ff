#!/bin/sh
# Writes every lock anew, with hashes and without the addresses of indexes. Argument: the uv to use.
set -eu
uv=$1

compile() {
    echo "  $1"
    "$uv" pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
        --custom-compile-command 'make lock' -o "$@"
}

compile deploy/locks/dev.txt --universal --python-version 3.11 --extra dev pyproject.toml
compile deploy/locks/service.txt --universal --python-version 3.11 --extra mcp -c deploy/locks/dev.txt pyproject.toml
echo uv | compile deploy/locks/uv.txt --universal --python-version 3.11 -c deploy/locks/dev.txt -
for name in agent kernel; do
    compile "images/python/requirements-$name.lock" --python-platform x86_64-manylinux_2_28 \
        --python-version 3.13 --only-binary :all: "images/python/requirements-$name.in"
done
compile images/python/requirements-data.lock --no-deps --python-platform x86_64-manylinux_2_28 \
    --python-version 3.13 --only-binary :all: images/python/requirements-data.in
