#!/bin/sh
# Writes requirements.lock and requirements-dev.lock anew from pyproject.toml: pip format, hashes, no index host.
# Not part of set-up. Needs `uv` (any way of installing it will do) and a package index.
# Versions that are locked stay; `deploy/lock.sh --upgrade` moves them to the newest allowed.
set -eu
cd "$(dirname "$0")/.."

command -v uv >/dev/null || {
  echo "deploy/lock.sh: uv is not installed; 'pip install uv' in any environment gives it" >&2
  exit 1
}

# What builds the package is locked too, so that set-up fetches nothing that has no hash.
build=$(mktemp)
trap 'rm -f "$build"' EXIT
python3 - >"$build" <<'PYTHON'
import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")
PYTHON

upgrade=${1-}

lock() {
  uv pip compile $upgrade --quiet --no-config --universal --python-version 3.11 --generate-hashes \
    --no-annotate --no-header --no-emit-index-url "$@" pyproject.toml "$build"
}
lock --output-file requirements.lock
lock --output-file requirements-dev.lock --extra dev --constraint requirements.lock
