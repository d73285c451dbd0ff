#!/usr/bin/env bash
# Builds the sandbox images under the version of the services, and says what pins them. See
# docs/sandbox-images.md.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)

usage() {
  cat <<'END'
usage: sandboxes.sh [--prefix NAME] [--env FILE] [-- options of deploy/sandbox-images/build.sh]

Builds dynamic-mcp-sandbox/node and dynamic-mcp-sandbox/python, tagged with the version of the services, and
prints the line MCP_SANDBOX_ALLOWED_IMAGES=... that allows exactly these two, by ID.

  --prefix NAME   in front of the images' names, for example registry.site/tools/
  --env FILE      put the line into this file, in place of the one that it has: .env.prod for example;
                  everything else in it stays as it is

For images that are the same on every machine give a moment: -- --snapshot 20250601T000000Z
END
}
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

prefix='' file=''
while [ "$#" -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --) shift; break ;;
  esac
  [ "$#" -ge 2 ] || fail "$1 needs a value, or is unknown; see --help"
  case "$1" in
    --prefix) prefix=$2 ;;
    --env) file=$2 ;;
    *) fail "unknown option $1; see --help" ;;
  esac
  shift 2
done
[ -z "$file" ] || [ -w "$file" ] || fail "--env: $file is not there, or cannot be written"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$top/Cargo.toml" | head -1)
ids=''
for kind in node python; do
  tag=${prefix}dynamic-mcp-sandbox/$kind:$version
  said=$("$top/deploy/sandbox-images/build.sh" "$kind" --tag "$tag" "$@")
  # What the daemon calls it: one with the containerd store has names of its own for what was loaded.
  id=$(docker image inspect --format '{{.Id}}' "$tag")
  printf '%s\n' "$said" | sed "s/^/# $kind: /" >&2
  ids+=${ids:+,}$id
done
line=MCP_SANDBOX_ALLOWED_IMAGES=$ids
printf '%s\n' "$line"
if [ -n "$file" ]; then
  # In place of the value that counts; else after the example of one, which stays as it is; else at the end.
  changed=$(awk -v line="$line" '
    /^MCP_SANDBOX_ALLOWED_IMAGES=/ { set = NR }
    /^# ?MCP_SANDBOX_ALLOWED_IMAGES=/ { example = NR }
    { lines[NR] = $0 }
    END {
      for (at = 1; at <= NR; at++) {
        print at == set ? line : lines[at]
        if (!set && at == example) print line
      }
      if (!set && !example) print line
    }' "$file")
  printf '%s\n' "$changed" >"$file"
fi
