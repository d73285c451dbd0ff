#!/bin/sh
# Runs one client: run.sh python|client2|sdk1 [arguments as in README.md]. setup.sh comes first.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH= cd -- "$here/../../../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}/clients

client=${1:?usage: run.sh python|client2|sdk1 ...}
shift
case $client in
python)
    if [ -x "$target/python/bin/python" ]; then
        exec "$target/python/bin/python" "$here/python/scenario.py" "$@"
    fi
    PYTHONPATH=$target/python/site exec python3 "$here/python/scenario.py" "$@"
    ;;
client2 | sdk1) exec node "$here/typescript/$client.mjs" "$@" ;;
*)
    echo "run.sh: unknown client $client" >&2
    exit 2
    ;;
esac
