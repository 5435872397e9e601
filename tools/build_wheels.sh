#!/bin/bash
# tools/build_wheels.sh [PYTHON...]: builds into dist/ the sdist, and from it the pure wheel and a native wheel for each
# of these Pythons, repaired by auditwheel; for a release, cibuildwheel builds the native ones. The same sources and
# SOURCE_DATE_EPOCH (by default the commit's time) give files of the same bytes. Uses the programs of pyproject.toml's
# dependency group `release`.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -n "${SOURCE_DATE_EPOCH:-}" ] || SOURCE_DATE_EPOCH=$(git -c safe.directory='*' log -1 --format=%ct) ||
    { echo "no commit has the time for all files: set SOURCE_DATE_EPOCH" >&2; exit 1; }
export SOURCE_DATE_EPOCH

raw=build/wheels
rm -rf dist "$raw"
python -m build --quiet --sdist --outdir dist
sdist=$(echo dist/*.tar.gz)
FASTNET_BUILD=pure pip wheel --quiet --no-deps --wheel-dir dist "$sdist"

if [ $# -gt 0 ]; then
    echo "native wheels for $# Pythons"
    printf '%s\n' "$@" | FASTNET_BUILD=native xargs --max-procs="$(nproc)" -I PYTHON \
        pip --python PYTHON wheel --quiet --no-deps --wheel-dir "$raw" "$sdist"
    # It puts folders into the archive, with the rights of the umask.
    (umask 022 && auditwheel repair --strip --zip-compression-level 9 --wheel-dir dist "$raw"/*.whl)
fi
ls -l dist
