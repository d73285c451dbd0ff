#!/bin/sh
# Makes the Python and TypeScript clients and the token issuer ready under target/clients. Needs python3 with pip (or venv) and npm.
# Quick when nothing changed: a stamp holds the checksum of what was installed.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../../../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}/clients
mkdir -p "$target"

# Two test processes may come here at once.
if command -v flock >/dev/null; then
    exec 9>"$target/lock"
    flock 9
fi

stamp_of() { cat "$@" | sha256sum | cut -d ' ' -f 1; }

# Both lines of the Python SDK are one package: each gets an environment of its own.
python_ready() {
    name=$1
    wanted=$here/python/requirements-$name.txt
    want=$(stamp_of "$wanted")-$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    [ "$(cat "$target/$name.stamp" 2>/dev/null || true)" = "$want" ] && return
    rm -rf "${target:?}/$name" "$target/$name.stamp"
    # Debian splits venv (ensurepip) from python3: without it pip installs beside, and run.sh sets PYTHONPATH.
    if python3 -m venv "$target/$name" >"$target/$name.log" 2>&1; then
        "$target/$name/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$wanted"
    else
        rm -rf "${target:?}/$name"
        python3 -m pip install --quiet --disable-pip-version-check \
            --target "$target/$name/site" --requirement "$wanted" || {
            echo "setup.sh: neither 'python3 -m venv' (package python3-venv) nor 'python3 -m pip' (package python3-pip) works" >&2
            return 1
        }
    fi
    echo "$want" >"$target/$name.stamp"
}

# The packages of a folder, exactly those of its lock file.
npm_ready() {
    name=$1
    want=$(stamp_of "$here/$name/package.json" "$here/$name/package-lock.json")-$(node --version)
    if [ "$(cat "$target/$name.stamp" 2>/dev/null || true)" != "$want" ]; then
        rm -rf "${target:?}/$name" "$target/$name.stamp"
        mkdir -p "$target/$name"
        cp "$here/$name/package.json" "$here/$name/package-lock.json" "$target/$name/"
        npm ci --prefix "$target/$name" --silent --no-audit --no-fund --ignore-scripts
        echo "$want" >"$target/$name.stamp"
    fi
    # Node looks for modules beside the script; a link keeps the installed ones under target.
    if [ "$(readlink "$here/$name/node_modules" 2>/dev/null || true)" != "$target/$name/node_modules" ]; then
        ln -sfn "$target/$name/node_modules" "$here/$name/node_modules"
    fi
}

python_ready mcp1
python_ready mcp2
python_ready grpc
npm_ready typescript
npm_ready issuer
