#!/usr/bin/env bash
# Brings another version into a running Compose stack without an interruption. See docs/deployment.md.
set -Eeuo pipefail
from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'END'
usage: deploy/blue-green.sh --environment NAME --version TAG [--confirm] [options]
       deploy/blue-green.sh --environment NAME --clean [--confirm] [options]

  --environment NAME  the settings of the stack are in .env.NAME (made from .env.prod.example)
  --version TAG       the tag of the service images to bring in; also an older one, to go back
  --clean             after a roll-out that was cut off: blue as the settings say, the front to blue, and
                      green away with its networks and sandboxes
  --confirm           do it. Without it the plan is printed and nothing is changed
  --file FILE         a Compose file that the stack is started with besides docker-compose.postgres.yml, for
                      example deploy/docker-compose.extras.yml; once for each, in the same order
  --watch SECONDS     how long the new version serves before the old one goes (15)
  --timeout SECONDS   how long the new services may take to become healthy (120)
  --record FILE       write the release record there besides printing it

TOKEN (or TOKEN_FILE) in the environment is an access token or API key with mcp:invoke, which the
verification calls with.

What it does: green, a second set of registry, executors and gateways of the new version, is started
beside blue and verified before anybody is sent there. The front then sends requests to green, and blue is
replaced while green serves. When blue is verified, requests go back to it and green is drained and
removed: what runs in the end is what `docker compose up -d` would run. Whatever fails on the way is undone
by itself: requests go back to the old version.

Exit code: 0 done (or planned); 1 nothing was changed, or all of it was undone; 2 wrong arguments;
3 it could not be undone, and what is left is said.
END
}
say() { printf '%s  %s\n' "$(date -u +%H:%M:%SZ)" "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

environment='' version='' clean='' confirm='' watch=15 timeout=120 record='' files=()
while [ "$#" -gt 0 ]; do
  case "$1" in
    --confirm) confirm=1; shift; continue ;;
    --clean) clean=1; shift; continue ;;
    -h | --help) usage; exit 0 ;;
    --environment | --version | --file | --watch | --timeout | --record) ;;
    *) printf 'error: unknown argument %s; see --help\n' "$1" >&2; exit 2 ;;
  esac
  [ "$#" -ge 2 ] || { printf 'error: %s needs a value\n' "$1" >&2; exit 2; }
  case "$1" in
    --environment) environment=$2 ;;
    --version) version=$2 ;;
    --file) files+=("$2") ;;
    --watch) watch=$2 ;;
    --timeout) timeout=$2 ;;
    --record) record=$2 ;;
  esac
  shift 2
done
wrong() { printf 'error: %s\n' "$*" >&2; exit 2; }
[[ $environment =~ ^[a-z0-9][a-z0-9-]{0,30}$ ]] || wrong "--environment is 1-31 of a-z, 0-9 and -, not '$environment'"
[ -z "$clean" ] || [ -z "$version" ] || wrong "--clean goes back to the version of the settings: leave --version out"
[ -n "$clean" ] || [[ $version =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] || wrong "--version is the tag of an image, not '$version'"
[[ $watch =~ ^[0-9]{1,4}$ && $timeout =~ ^[0-9]{1,4}$ ]] || wrong "--watch and --timeout are seconds, up to 9999"

# --- the stack ------------------------------------------------------------------------------
settings=.env.$environment
[ -f "$settings" ] || fail "$settings is missing: make it from .env.prod.example"
for at in "${!files[@]}"; do
  given=$(cd "$from" && realpath -e -- "${files[at]}" 2>/dev/null) || wrong "--file: there is no file ${files[at]}"
  files[at]=$given
done
files=("$PWD/deploy/docker-compose.postgres.yml" "${files[@]}")
command -v docker >/dev/null || fail "docker is missing"
command -v curl >/dev/null || fail "curl is missing"
if docker compose version >/dev/null 2>&1; then
  compose=(docker compose)
else
  command -v docker-compose >/dev/null || fail "Docker Compose is missing: version 2, or docker-compose 1.29"
  compose=(docker-compose)
fi
# What the environment of this shell says would win over the file.
unset COMPOSE_FILE COMPOSE_PROJECT_NAME DYNAMIC_MCP_TAG DYNAMIC_MCP_COLOUR DYNAMIC_MCP_PREFIX
setting() { sed -n "s/^$1=//p" "$settings" | tail -1; }
project=$(setting COMPOSE_PROJECT_NAME)
project=${project:-dynamic-mcp}
port=$(setting DYNAMIC_MCP_PORT)
front=http://127.0.0.1:${port:-8788}
prefix=$(setting DYNAMIC_MCP_PREFIX)
upstreams=$(setting DYNAMIC_MCP_UPSTREAMS)
upstreams=$(cd deploy && realpath "${upstreams:-./compose/nginx/upstreams}")/active.conf
services=(registry executor-1 executor-2 gateway-1 gateway-2)

# The stack itself, with blue in it; and green, which is the same files as another project. Its networks and
# volumes are those of the stack, so that database, front, Docker and secrets are the same; but the network
# between the services is its own: the two sets never call each other. What is of the stack is external to
# green, and Compose lets nothing else stand beside that word, so that no file laid over could say it.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for_green() {
  awk -v project="$project" '
    function put() {
      if (entry == "") return
      if (text ~ /external:/ || entry == "internal" || entry == "egress") printf "%s", text
      else if (match(text, /[ {]name: *"?[^"#,} \n]+/)) { name = substr(text, RSTART + 1, RLENGTH - 1); sub(/name: *"?/, "", name); own(name) }
      else own(project "_" entry)
      entry = text = ""
    }
    function own(name) { printf "%s%s: { external: true, name: \"%s\" }\n", indent, entry, name }
    /^[^ #]/ { put(); shared = /^(networks|volumes):/; indent = "" }
    !shared || /^[^ ]/ || /^ *(#|$)/ { if (entry == "") print; next }
    indent == "" { match($0, /^ +/); indent = substr($0, 1, RLENGTH) }
    match($0, /^ +/) && RLENGTH == length(indent) { put(); entry = $1; sub(/:.*/, "", entry); gsub(/"/, "", entry) }
    { text = text $0 "\n" }
    END { put() }' "$1"
}
of_stack=() of_green=()
for at in "${!files[@]}"; do
  of_stack+=(-f "${files[at]}")
  for_green "${files[at]}" >"$work/$at.yml"
  of_green+=(-f "$work/$at.yml")
done
blue() { DYNAMIC_MCP_TAG=$1 "${compose[@]}" --env-file "$settings" -p "$project" "${of_stack[@]}" "${@:2}"; }
green() {
  DYNAMIC_MCP_TAG=$version DYNAMIC_MCP_COLOUR=green "${compose[@]}" --project-directory "$PWD/deploy" \
    --env-file "$PWD/$settings" -p "$project-green" "${of_green[@]}" "$@"
}
# Those of a service, without what somebody ran once in its image (`run`), which may have ended long ago.
of_service() {
  docker ps "$1" --filter "label=com.docker.compose.project=$2" --filter "label=com.docker.compose.service=$3" \
    --filter label=com.docker.compose.oneoff=False
}
containers() { of_service -q "$@"; }
all_containers() { of_service -aq "$@"; }
image_of() { docker inspect --format '{{.Config.Image}}' "$(containers "$project" "$1" | head -1)"; }
label_of() { docker image inspect --format "{{index .Config.Labels \"org.opencontainers.image.$2\"}}" "$1"; }

token=${TOKEN-}
[ -n "$token" ] || { [ -n "${TOKEN_FILE-}" ] && token=$(cat "$TOKEN_FILE"); } || true

# --- verification ---------------------------------------------------------------------------
call='{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"run_js_ephemeral","arguments":{"code":"return 6 * 7"}}}'
status() { curl -sS -o /dev/null -w '%{http_code}' --max-time 10 "$@" 2>/dev/null || true; }
post=(-X POST -H 'content-type: application/json' -H 'accept: application/json, text/event-stream')
# The token goes through a file descriptor: command lines are there for everybody to read.
with_token() { curl -sS --max-time 30 "${post[@]}" -H @<(printf 'authorization: Bearer %s\n' "$token") "$@" 2>/dev/null || true; }

# Looks at one address: lives, is ready, refuses strangers, lets the token in, runs code.
problem=''
verify() {
  local at=$1 got
  problem=''
  [ "$(status "$at/livez")" = 200 ] || { problem="$at/livez does not answer 200"; return 1; }
  [ "$(status "$at/readyz")" = 200 ] || { problem="$at/readyz does not answer 200"; return 1; }
  got=$(status "${post[@]}" --data '{}' "$at/mcp")
  [ "$got" = 401 ] || { problem="$at/mcp answers $got, not 401, to who has no credential"; return 1; }
  [ -n "$token" ] || return 0 # only --clean goes without
  got=$(with_token --data "$call" "$at/mcp")
  # A caller or a stack at its limit is refused in good order: that is no fault of the version.
  [[ $got == *'"result":42'* || $got == *'"rate_limited"'* || $got == *'"overloaded"'* ]] || { problem="a call at $at/mcp answers: ${got:0:300}"; return 1; }
}
# Every service of one set is healthy by its own health check, and each gateway stands the verification.
healthy() {
  local of=$1 service id state ended created restarts code end=$((SECONDS + timeout))
  for service in "${services[@]}"; do
    while :; do
      state=none
      for id in $(all_containers "$of" "$service"); do
        read -r state created restarts code < <(docker inspect --format \
          '{{if and .State.Running .State.Health (not .State.Restarting)}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}} {{.Created}} {{.RestartCount}} {{.State.ExitCode}}' "$id")
        # One that was made now and ended already would only be started again and again.
        case "$state" in exited | dead | restarting) ended=$code ;; *) ended='' ;; esac
        if [ "$state" != healthy ] && [[ ! $created < $began ]] && { [ -n "$ended" ] || [ "$restarts" -gt 0 ]; }; then
          problem="$service of $of does not stay up: started $((restarts + 1)) times${ended:+, ended with exit code $ended}"
          return 1
        fi
        [ "$state" = healthy ] || break
      done
      [ "$state" != healthy ] || break
      [ "$SECONDS" -lt "$end" ] || { problem="$service of $of is $state after $timeout s"; return 1; }
      sleep 0.5
    done
  done
  local network="${project}_edge" address
  for service in gateway-1 gateway-2; do
    for id in $(containers "$of" "$service"); do
      address=$(docker inspect --format "{{(index .NetworkSettings.Networks \"$network\").IPAddress}}" "$id")
      verify "http://$address:8788" || return 1
    done
  done
}
watched() {
  local end=$((SECONDS + watch)) calls=0
  while [ "$SECONDS" -lt "$end" ]; do
    verify "$front" || return 1
    calls=$((calls + 1))
    sleep 1
  done
  say "$calls verifications in $watch s, none failed"
}

# --- what changes something -----------------------------------------------------------------
serving() { grep -oE 'gateways-(blue|green)' "$upstreams" | tail -1 | cut -d- -f2; }
# The front looks at the file when it is told to; requests that run end where they began.
switch_to() {
  say "the front sends requests to $1"
  sed -i.before "s/\"gateways-[a-z]*\"/\"gateways-$1\"/" "$upstreams" && rm -f "$upstreams.before"
  docker exec "$(containers "$project" dynamic-mcp)" nginx -c /etc/nginx/front.conf -s reload 2>/dev/null
}
put_blue() { blue "$1" up -d --no-deps "${services[@]}" 2>&1 | sed 's/^/    /'; }
# With what a set that was killed leaves: its networks, and sandboxes that its executors did not remove.
remove_green() {
  local id executors='' owner
  for id in $(all_containers "$project-green" executor-1) $(all_containers "$project-green" executor-2); do
    executors+=" $(docker inspect --format '{{.Config.Hostname}}' "$id")"
  done
  green down --timeout 40 2>&1 | sed 's/^/    /'
  docker network ls -q --filter "label=com.docker.compose.project=$project-green" | xargs -r docker network rm >/dev/null
  docker ps -a --filter label=dynamic-mcp.sandbox=1 --filter name=^dynamic-mcp-sandbox- \
    --format '{{.ID}} {{.Label "dynamic-mcp.owner"}}' | while read -r id owner; do
    [[ -z $owner || "$executors " != *" ${owner%%/*} "* ]] || docker rm -f "$id" >/dev/null 2>&1 || true
  done
}
# What the services of a set said last that are not well; of all its gateways when each says that it is.
last_words() {
  local service id state quiet=1
  for service in "${services[@]}" ''; do
    [ -n "$service" ] || { [ -n "$quiet" ] || return 0; }
    for id in $(if [ -n "$service" ]; then all_containers "$1" "$service"; else all_containers "$1" gateway-1; all_containers "$1" gateway-2; fi); do
      state=$(docker inspect --format '{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' "$id")
      [ -z "$service" ] || [ "$state" != healthy ] || continue
      quiet=''
      printf '    the last lines of %s (%s):\n' "$(docker inspect --format '{{.Name}}' "$id" | tr -d /)" "$state"
      docker logs --tail 8 "$id" 2>&1 | cut -c1-2000 | sed 's/^/      /'
    done
  done
}

step='' changed=''
undo() {
  local why=$1
  trap - ERR INT TERM
  set +e
  say "FAILED while $step: $why"
  case "$changed" in blue) last_words "$project" ;; green) last_words "$project-green" ;; esac
  say "undoing: everything goes back to $old"
  # Blue as it was takes the requests at once; where it was replaced already, green keeps them meanwhile.
  if [ "$changed" = blue ]; then
    put_blue "$old"
    healthy "$project" || left "$old does not get healthy: $problem"
  fi
  switch_to blue || left "the front could not be switched back to blue"
  verify "$front" || left "the front does not serve: $problem"
  remove_green
  say "undone: $old serves"
  print_record "rolled back: $step: $why"
  exit 1
}
left() {
  printf 'error: it could not be undone: %s\n' "$1" >&2
  printf 'error: left: %s (blue) and %s-green (%s); the front sends requests to %s. deploy/blue-green.sh --environment %s --clean puts it right when its cause is gone\n' \
    "$project" "$project" "$version" "$(serving)" "$environment" >&2
  exit 3
}
print_record() {
  local text
  text=$(
    printf '## Release record\n\n'
    printf -- '- time (UTC): %s to %s\n' "$began" "$(date -u +%FT%TZ)"
    printf -- '- environment: %s\n- from: %s\n- to: %s, commit %s\n' "$environment" "$old" "$version" "${commit:-unknown}"
    printf -- '- operator: %s; approver: %s\n' "${OPERATOR:-$(id -un)}" "${APPROVER:--}"
    printf -- '- change: %s\n- outcome: %s\n' "${CHANGE:--}" "$1"
  )
  printf '\n%s\n' "$text"
  [ -z "$record" ] || printf '%s\n' "$text" >"$record"
}

# --- before anything is changed -------------------------------------------------------------
exec 9<"${files[0]}"
flock -n 9 || fail "another roll-out is under way in this folder"
running=$(containers "$project" gateway-1 | head -1)
[ -n "$running" ] || [ -n "$clean" ] || fail "the stack $project does not run: ${compose[*]} --env-file $settings -p $project ${of_stack[*]} up -d"
# With fewer files than it runs with, the services would lose what the others say, and nobody would notice.
mapfile -t names < <(docker ps --filter "label=com.docker.compose.project=$project" --format '{{.Label "com.docker.compose.project.config_files"}}' | tr ',' '\n' | sort -u)
for name in "${names[@]}"; do
  for given in "${files[@]}"; do [ "${given##*/}" != "${name##*/}" ] || continue 2; done
  fail "the stack $project was started with $name too: name it with --file, or start the stack without it first (up -d --force-recreate)"
done
began=$(date -u +%FT%TZ)
if [ -n "$clean" ]; then
  old=$(setting DYNAMIC_MCP_TAG)
  old=${old:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)}
  version=$old
  cat <<END
environment  $environment ($settings, project $project)
1  start blue: ${services[*]} of $old, as the settings say
2  send requests to blue ($(serving) has them now)
3  remove $project-green with its networks and sandboxes
END
  if [ -z "$confirm" ]; then
    printf 'nothing was changed: --confirm does it\n'
    exit 0
  fi
  not_clean() { printf 'error: %s\n' "$*" >&2; exit 3; }
  put_blue "$old"
  healthy "$project" || { last_words "$project"; not_clean "$old does not get healthy: $problem. Green is left as it is"; }
  switch_to blue || not_clean "the front could not be switched to blue. Green is left as it is"
  [ "$(status "$front/readyz")" = 200 ] || not_clean "$front/readyz does not answer 200. Green is left as it is"
  remove_green
  say "done: $old serves, and nothing of green is left"
  exit 0
fi

old=$(image_of gateway-1)
old=${old##*:}
commit=''
for image in dynamic-mcp dynamic-mcp-gateway dynamic-mcp-registry dynamic-mcp-executor; do
  name=$prefix$image:$version
  docker image inspect "$name" >/dev/null 2>&1 || fail "the image $name is not here: load or pull it, or build it with deploy/images/build.sh"
done
commit=$(label_of "${prefix}dynamic-mcp-gateway:$version" revision)
[ -n "$token" ] || fail "TOKEN (or TOKEN_FILE) is needed: an access token or API key with mcp:invoke"
[ -z "$(docker ps -aq --filter "label=com.docker.compose.project=$project-green")" ] ||
  fail "there is a green set already ($project-green), of a roll-out that was cut off: --clean takes it away"
[ "$(serving)" = blue ] || fail "the front does not send its requests to blue: --clean sends them there"
verify "$front" || fail "the stack is not well before the roll-out: $problem"

cat <<END
environment  $environment ($settings, project $project)
files        ${files[*]}
from         $old
to           $version, commit ${commit:-unknown}
1  start green: ${services[*]} of $version, as project $project-green
2  verify each of its services and gateways; nobody is sent there yet
3  send requests to green and watch for $watch s
4  replace blue by $version and verify it
5  send requests to blue, drain and remove green, write DYNAMIC_MCP_TAG=$version to $settings
END
if [ -z "$confirm" ]; then
  printf 'nothing was changed: --confirm does it\n'
  exit 0
fi

# --- the roll-out ---------------------------------------------------------------------------
trap 'undo "a command failed (line $LINENO)"' ERR
trap 'undo "interrupted"' INT TERM
step="starting green"
changed=green
say "$step"
green up -d --no-deps "${services[@]}" 2>&1 | sed 's/^/    /'
step="verifying green"
say "$step"
healthy "$project-green" || undo "$problem"
step="green served"
switch_to green
watched || undo "$problem"
step="replacing blue"
say "$step"
changed=blue
put_blue "$version"
healthy "$project" || undo "$problem"
step="blue served"
switch_to blue
verify "$front" || undo "$problem"
trap - ERR INT TERM
say "draining green"
remove_green
if grep -q '^DYNAMIC_MCP_TAG=' "$settings"; then
  sed -i "s/^DYNAMIC_MCP_TAG=.*/DYNAMIC_MCP_TAG=$version/" "$settings"
else
  printf 'DYNAMIC_MCP_TAG=%s\n' "$version" >>"$settings"
fi
say "done: $version serves"
print_record "done; every verification passed"
