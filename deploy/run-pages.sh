#!/usr/bin/env bash
# Runs docs/deployment.md and docs/production-runbook.md from top to bottom on a stack of their own, and takes it away.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'END'
usage: deploy/run-pages.sh [--programs DIR] [--report FILE] [--faults]

  --programs DIR  the programs for the images (gateway, registry, executor, dynamic-mcp) in place of
                  compiling them
  --report FILE   write what was run there, as Markdown
  --faults        then roll-outs that have to be undone, under load: a version whose gateways do not start,
                  one that is interrupted, one that breaks while blue is replaced

Needs Docker with the images of MCP_SANDBOX_ALLOWED_IMAGES (or those of .ci/docker), Compose, curl, and the
images of Postgres and nginx or deploy/images/peers.sh. Everything that it makes has a name of its own.
END
}
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

programs='' report='' faults=''
while [ "$#" -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --faults) faults=1; shift ;;
    --programs | --report) [ "$#" -ge 2 ] || fail "$1 needs a value"; declare "${1#--}=$2"; shift 2 ;;
    *) printf 'error: unknown argument %s; see --help\n' "$1" >&2; exit 2 ;;
  esac
done

command -v curl >/dev/null || fail "curl is missing"
name=pages-$$
work=$(mktemp -d)
settings=.env.$name
if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi
compose() { "${compose[@]}" --env-file "$settings" -p "$name" -f deploy/docker-compose.postgres.yml "$@"; }
images=(dynamic-mcp dynamic-mcp-gateway dynamic-mcp-registry dynamic-mcp-executor)

# shellcheck disable=SC2329
clean() {
  set +e
  # Both sets, whatever became of them, and then what is the stack's own.
  docker ps -aq --filter "label=com.docker.compose.project=$name-green" | xargs -r docker stop -t 20 >/dev/null
  docker ps -aq --filter "label=com.docker.compose.project=$name-green" | xargs -r docker rm -f >/dev/null
  docker network ls -q --filter "label=com.docker.compose.project=$name-green" | xargs -r docker network rm >/dev/null
  [ ! -e "$settings" ] || compose down -v --remove-orphans --timeout 20 >"$work/down.log" 2>&1 || cat "$work/down.log" >&2
  for image in "${images[@]}"; do
    docker image ls -q --no-trunc --filter "reference=$image:$name*" --format '{{.Repository}}:{{.Tag}}' | xargs -r docker image rm >/dev/null
  done
  rm -rf "$settings" "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
cp -R deploy/compose/nginx/upstreams "$work/upstreams"
sed -i 's/"gateways-[a-z]*"/"gateways-blue"/' "$work/upstreams/active.conf"
# nginx is another user.
chmod -R a+rX "$work"
cat >"$settings" <<END
COMPOSE_PROJECT_NAME=$name
DYNAMIC_MCP_TAG=$name
DYNAMIC_MCP_PORT=$(free_port)
DYNAMIC_MCP_OPS_PORT=$(free_port)
DYNAMIC_MCP_UPSTREAMS=$work/upstreams
MCP_SANDBOX_ALLOWED_IMAGES=${MCP_SANDBOX_ALLOWED_IMAGES:-dynamic-mcp-test/node:1,dynamic-mcp-test/python:1}
MCP_SANDBOX_POOL_SIZE=1
END

export ENVIRONMENT=$name
BUILD_OPTIONS="--local-bases --tag $name" deploy_log=$work/deployment.md
[ -z "$programs" ] || BUILD_OPTIONS+=" --programs $(realpath "$programs")"
export BUILD_OPTIONS
facts=(
  "--fact=commit: $(git rev-parse HEAD 2>/dev/null || echo unknown)"
  "--fact=date: $(date -u +%F), $(nproc) cores, Docker $(docker version --format '{{.Server.Version}}')"
  "--fact=Compose: $("${compose[@]}" version --short 2>/dev/null | head -1)"
)
[ -z "$programs" ] || facts+=("--fact=programs: built outside of the images (${programs##*/}); times are those of a machine that did other things besides")
export WATCH=${WATCH:-3}
deploy/run-page.py --timeout 300 --report "$deploy_log" "${facts[@]}" docs/deployment.md

TOKEN=$(compose run --rm -T keys create --name runbook --role admin 2>/dev/null)
export TOKEN VERSION=$name-next RECORDS=$work/records
for image in "${images[@]}"; do docker tag "$image:$name" "$image:$name-next"; done
# What somebody ran once and left there is no part of the service that a roll-out waits for.
compose run --no-deps -T gateway-1 --version >/dev/null 2>&1
deploy/run-page.py --timeout 300 --report "$work/runbook.md" "${facts[@]}" docs/production-runbook.md

# --- roll-outs that have to be undone -------------------------------------------------------
port=$(sed -n 's/^DYNAMIC_MCP_PORT=//p' "$settings")
load() {
  local got body='{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"run_js_ephemeral","arguments":{"code":"return 6 * 7"}}}'
  while [ -e "$work/load" ]; do
    got=$(curl -sS --max-time 30 "http://127.0.0.1:$port/mcp" -H 'content-type: application/json' \
      -H 'accept: application/json, text/event-stream' -H @<(printf 'authorization: Bearer %s\n' "$TOKEN") --data "$body" 2>&1) || true
    # Also a refusal for its rate is an answer of a gateway that works.
    if [[ $got == *'"result":42'* || $got == *'"rate_limited"'* ]]; then echo ok; else printf 'failed: %s\n' "${got:0:200}"; fi
    sleep 0.3
  done >>"$work/calls"
}
undone() {
  local what=$1 version=$2 code=0 began=$SECONDS
  shift 2
  touch "$work/load"
  : >"$work/calls"
  load &
  local loader=$!
  "$@" &
  local breaker=$!
  deploy/blue-green.sh --environment "$name" --version "$version" --confirm --watch 4 --timeout 60 >"$work/roll-out" 2>&1 || code=$?
  rm "$work/load"
  wait "$loader"
  wait "$breaker" || true # it finds nothing to break where the roll-out has ended before
  grep -E '^[0-9:]+Z|^error' "$work/roll-out"
  [ "$code" = 1 ] || fail "$what: exit code $code, not 1"
  grep -q 'undone: .* serves' "$work/roll-out" || fail "$what: it was not undone"
  [ -z "$(docker ps -aq --filter "label=com.docker.compose.project=$name-green")" ] || fail "$what: green is left"
  ! grep -q '^failed' "$work/calls" || { grep '^failed' "$work/calls" | head -5 >&2; fail "$what: calls failed"; }
  printf '%s: undone in %s s, %s calls meanwhile, none failed\n' "$what" "$((SECONDS - began))" "$(wc -l <"$work/calls")" | tee -a "$work/undone"
}
# Waits until green is served; not longer than the roll-out that is to come to it.
served_by_green() {
  until grep -q gateways-green "$work/upstreams/active.conf"; do
    [ -e "$work/load" ] || return 1
    sleep 0.3
  done
}
# Once green is served, the image of gateways becomes one that is none.
spoil() {
  served_by_green || return 0
  docker tag nginx:1.28-alpine "dynamic-mcp-gateway:$1"
}
interrupt() {
  served_by_green || return 0
  sleep 1
  kill -TERM "$(pgrep -f "blue-green.sh --environment $name " | head -1)"
}
if [ -n "$faults" ]; then
  for kind in broken spoilt; do
    for image in "${images[@]}"; do docker tag "$image:$name" "$image:$name-$kind"; done
  done
  docker tag nginx:1.28-alpine "dynamic-mcp-gateway:$name-broken"
  undone "gateways that do not start" "$name-broken" true
  undone "interrupted while green is served" "$name" interrupt
  undone "gateways that do not start when blue is replaced" "$name-spoilt" spoil "$name-spoilt"
fi

# --- the block of the page that takes the stack down ------------------------------------------
block=$(deploy/run-page.py --list docs/deployment.md | python3 -c '
import json, sys
print(next(block["text"] for block in json.load(sys.stdin) if block["heading"] == "Take it down"))')
eval "$block"
left=$(
  for of in "$name" "$name-green"; do
    of=label=com.docker.compose.project=$of
    docker ps -aq --filter "$of" && docker volume ls -q --filter "$of" && docker network ls -q --filter "$of"
  done
  docker image ls -q --filter "reference=dynamic-mcp*:$name-next"
)
[ ! -e "$settings" ] || left+=$settings
[ -z "$left" ] || fail "the stack was taken down, and this is left: $left"
echo "taken down as the page says: no container, volume, network or image is left"

if [ -n "$report" ]; then
  {
    cat "$work/deployment.md" "$work/runbook.md" | sed '2,$s/^# /\n# /'
    [ ! -e "$work/undone" ] || { printf '\n# Roll-outs that were undone, under load\n\n'; sed 's/^/- /' "$work/undone"; }
  } | sed "s#$work#WORK#g; s#$name#pages#g" >"$report"
fi
echo "both pages were run from top to bottom"
