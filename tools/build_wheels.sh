#!/bin/bash
# tools/build_wheels.sh PYTHON...: builds into dist/ what a release has: the sdist, from it one native wheel a Python,
# repaired by auditwheel, and the pure wheel. cibuildwheel does the same for all Pythons and systems. The same sources
# and SOURCE_DATE_EPOCH (by default the commit's time) give files of the same bytes. Uses the programs of pyproject.toml's
# dependency group `release`.
set -euo pipefail
cd "$(dirname "$0")/.."
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

raw=build/wheels
[ $# -gt 0 ] || { echo "no Python 3.11 or newer is at hand" >&2; exit 1; }

rm -rf dist "$raw"
python -m build --quiet --sdist --outdir dist
sdist=$(echo dist/*.tar.gz)

echo "native wheels for $# Pythons"
printf '%s\n' "$@" | FASTNET_BUILD=native xargs --max-procs="$(nproc)" -I PYTHON \
    pip --python PYTHON wheel --quiet --no-deps --wheel-dir "$raw" "$sdist"
# It puts folders into the archive, with the rights of the umask.
(umask 022 && auditwheel repair --strip --zip-compression-level 9 --wheel-dir dist "$raw"/*.whl)
FASTNET_BUILD=pure pip wheel --quiet --no-deps --wheel-dir dist "$sdist"
ls -l dist
