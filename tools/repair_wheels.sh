#!/bin/bash
# tools/repair_wheels.sh DIRECTORY: makes of build/wheels/*.whl what is uploaded. auditwheel puts folders into the
# archive, with the rights of the umask.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022
auditwheel repair --strip --zip-compression-level 9 --wheel-dir "$1" build/wheels/*.whl
