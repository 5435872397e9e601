#!/bin/bash
# Everything of a release but the upload: builds dist/, checks its files, and installs them as users would, from a
# package index on loopback, with pip, uv and pipx, on every Python at hand, as root and as another user.
set -euo pipefail
cd "$(dirname "$0")/.."

[ -n "${SOURCE_DATE_EPOCH:-}" ] || SOURCE_DATE_EPOCH=$(git -c safe.directory='*' log -1 --format=%ct) ||
    { echo "no commit has the time for all files: set SOURCE_DATE_EPOCH" >&2; exit 1; }
export SOURCE_DATE_EPOCH
python=/usr/bin/python3 # one that any user may run
room=$(mktemp -d) # so is this
port=8043
index=http://127.0.0.1:$port/simple
package=fastnet-toolkit
mapfile -t pythons < <(tools/pythons)
[ ${#pythons[@]} -gt 0 ] || { echo "no Python 3.11 or newer is at hand" >&2; exit 1; }
programs=$room/tools/bin

trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$room"' EXIT
chmod 755 "$room"

# as_nobody COMMAND...: as a user without rights, whose home cannot be written.
as_nobody() {
    setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs \
        env -i PATH="$PATH" LANG=C.UTF-8 HOME=/proc "${pip_settings[@]}" "$@"
}

# All that pip and uv are told: this index and no other, no cache.
pip_settings=(PIP_INDEX_URL="$index" PIP_NO_CACHE_DIR=1 PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1
    UV_DEFAULT_INDEX="$index" UV_NO_CACHE=1 UV_NO_CONFIG=1 UV_PYTHON_DOWNLOADS=never)

# The wheels that cibuildwheel would build, that each tests on packages of one wheel for all systems, and the workflows.
check_configuration() {
    local wheels
    wheels=$(cibuildwheel --print-build-identifiers --platform linux)
    [ "$(grep -cE '^cp31[1-5]t?-(many|musl)linux_(x86_64|aarch64)$' <<<"$wheels")" = 28 ] || { echo "$wheels" >&2; return 1; }
    pip install --quiet --dry-run --ignore-installed --only-binary=:all: --target "$room/none" --group wheel \
        --implementation cp --python-version 3.15 --abi cp315t --platform musllinux_1_2_aarch64
    check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
    check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yml
}

# refuses COMMAND...: it fails.
refuses() {
    if "$@"; then echo "not refused: $*" >&2; return 1; fi
}

# In a clone with a version of its own, the notes are what its changelog says, and no other tag has any.
check_notes() {
    local clone=$room/notes version=999.0.0
    git -c safe.directory='*' clone --quiet . "$clone"
    sed -i "s/^__version__ = .*/__version__ = \"$version\"/" "$clone/fastnet/__init__.py"
    refuses "$clone/tools/release_notes" v$version # not in the changelog yet
    (cd "$clone" && towncrier build --yes --version $version)
    refuses "$clone/tools/release_notes" v999.0
    "$clone/tools/release_notes" v$version
}

# Another build of the sdist, of the first Python's wheel and of the pure one, in a clone and with another umask, has the
# same bytes.
check_again() {
    local clone=$room/again file
    (umask 077 && git -c safe.directory='*' clone --quiet . "$clone" && "$clone/tools/build_wheels.sh" "${pythons[0]}")
    for file in "$clone"/dist/*; do cmp "$file" "dist/${file##*/}"; done
}

# The sdist alone builds for a user who may write only to one folder, without a compiler: pure, and says why.
check_sdist() {
    local home=$room/sdist
    install -d -o 65534 "$home"
    "$python" -m venv "$home/venv"
    chown -R 65534 "$home/venv"
    "$home/venv/bin/pip" download --quiet --dest "$home/needs" "setuptools>=77" "cython>=3.1"
    as_nobody PIP_INDEX_URL= PIP_NO_INDEX=1 PIP_FIND_LINKS="$home/needs" CC=false TMPDIR="$home" \
        "$home/venv/bin/pip" install --quiet dist/*.tar.gz
    as_nobody "$home/venv/bin/fastnet" --version | tee "$home/version"
    grep -q "pure (native did not build: " "$home/version"
}

serve() {
    mkdir -p "$room/index/simple/$package"
    cp dist/* "$room/index/simple/$package"
    chmod -R a+rX "$room" dist
    "$python" -m http.server --bind 127.0.0.1 --directory "$room/index" "$port" >"$room/index.log" 2>&1 &
    until "$python" -c "import socket; socket.create_connection(('127.0.0.1', $port))" 2>/dev/null; do sleep .1; done
}

# A Python that the other user may not run is left out for that user, by name.
install_everywhere() {
    local user
    for python in "${pythons[@]}" "$python"; do
        for user in env as_nobody; do
            if ! $user "$python" -c pass 2>/dev/null; then
                echo "left out: $python, which another user may not run"
                continue
            fi
            try_installed "$python" $user
        done
    done
}

# try_installed PYTHON env|as_nobody
try_installed() {
    local python=$1 user=$2 home words
    home=$(mktemp -d "$room/home.XXXXXX")
    [ "$user" = env ] || chown 65534 "$home"
    words=("${pip_settings[@]}" HOME="$home" TMPDIR="$home" UV_TOOL_DIR="$home/uv")
    echo "$python, $user"
    $user "${words[@]}" "$python" -m venv "$home/venv"
    $user "${words[@]}" "$home/venv/bin/pip" install --quiet $package
    $user "${words[@]}" "$home/venv/bin/fastnet" --version
    $user "${words[@]}" "$home/venv/bin/fastnet" address lo
    $user "${words[@]}" "$programs/uvx" --quiet --python "$python" $package --version
    $user "${words[@]}" "$programs/pipx" run --quiet --python "$python" $package --version
}

"$python" -m venv "$room/tools"
export PATH=$programs:$PATH
pip install --quiet --upgrade pip
pip install --quiet --group release uv pipx
tools/build_wheels.sh "${pythons[@]}"
tools/check_files
for wheel in dist/*linux*.whl; do auditwheel show "$wheel"; done
check_configuration
check_notes
check_again
check_sdist
serve
install_everywhere
echo "ready for upload: $(ls dist | tr '\n' ' ')"
