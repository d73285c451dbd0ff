#!/bin/sh
# Runs one client: run.sh mcp1|mcp2|sdk1|client2 [arguments as in README.md]. setup.sh comes first.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../../../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}/clients

client=${1:?usage: run.sh mcp1|mcp2|sdk1|client2 ...}
shift
case $client in
mcp1 | mcp2)
    if [ -x "$target/$client/bin/python" ]; then
        exec "$target/$client/bin/python" "$here/python/$client.py" "$@"
    fi
    PYTHONPATH=$target/$client/site exec python3 "$here/python/$client.py" "$@"
    ;;
sdk1 | client2) exec node "$here/typescript/$client.mjs" "$@" ;;
*)
    echo "run.sh: unknown client $client" >&2
    exit 2
    ;;
esac
