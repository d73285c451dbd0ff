#!/usr/bin/env bash
# Builds the service images. See docs/images.md.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)

usage() {
  cat <<'END'
usage: build.sh [options] [gateway] [registry] [executor] [standalone]

Builds these images, or all four: dynamic-mcp-gateway, dynamic-mcp-registry, dynamic-mcp-executor and
dynamic-mcp (standalone), each with the version and the commit as tag and label.

  --programs DIR    take the programs from there (gateway, registry, executor, dynamic-mcp) in place of
                    compiling them: of a release, or target/release of this machine
  --runtime IMAGE   what they stand on (gcr.io/distroless/cc-debian12:nonroot)
  --builder IMAGE   what they are compiled in (rust:1.95-bookworm)
  --local-bases     make both from Debian packages with base.sh: no image registry is needed
  --prefix NAME     in front of the images' names, for example registry.site/tools/
  --tag TAG         in place of the version
  --commit SHA      in place of the one that git says (with -dirty where sources were changed), or that
                    the programs say themselves

A base image that is not named by digest is pulled once, and used by the digest that it had then.
END
}
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

programs='' runtime='' builder='' local='' prefix='' commit='' targets=()
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$top/Cargo.toml" | head -1)
tag=$version
while [ "$#" -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --local-bases) local=1; shift; continue ;;
    gateway | registry | executor | standalone) targets+=("$1"); shift; continue ;;
  esac
  [ "$#" -ge 2 ] || fail "$1 needs a value, or is unknown; see --help"
  case "$1" in
    --programs) programs=$(cd "$2" 2>/dev/null && pwd) || fail "--programs: there is no folder $2" ;;
    --runtime) runtime=$2 ;;
    --builder) builder=$2 ;;
    --prefix) prefix=$2 ;;
    --tag) tag=$2 ;;
    --commit) commit=$2 ;;
    *) fail "unknown option $1; see --help" ;;
  esac
  shift 2
done
[ "${#targets[@]}" -gt 0 ] || targets=(gateway registry executor standalone)

# BuildKit leaves out the stages that a target does not need, and keeps caches. The docker program speaks
# it by the plugin buildx, or itself up to version 22.
docker=''
while read -r candidate; do
  if "$candidate" buildx version >/dev/null 2>&1 ||
    [ "$("$candidate" version --format '{{.Client.Version}}' 2>/dev/null | cut -d. -f1)" -lt 23 ]; then
    docker=$candidate
    break
  fi
done < <(type -ap docker)
[ -n "$docker" ] || fail "no docker program here can use BuildKit: install the plugin buildx (docker-buildx)"
"$docker" version --format '{{.Server.Version}}' >/dev/null 2>&1 || fail "no Docker daemon answers"

program_of() { case "$1" in standalone) echo dynamic-mcp ;; *) echo "$1" ;; esac; }
image_of() { case "$1" in standalone) echo "${prefix}dynamic-mcp" ;; *) echo "${prefix}dynamic-mcp-$1" ;; esac; }

# What it is called is moved by whoever may push; its digest is not. An image of this machine alone has
# none, and is kept under a name that says its ID.
pinned() {
  local image=$1 digest id
  case "$image" in *@sha256:*) printf '%s' "$image"; return ;; esac
  docker image inspect "$image" >/dev/null 2>&1 || docker pull -q "$image" >/dev/null ||
    fail "the base image $image cannot be had: name one that can (--runtime, --builder), or --local-bases makes them here"
  digest=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$image" | head -1)
  if [ -n "$digest" ]; then printf '%s' "$digest"; return; fi
  id=$(docker image inspect --format '{{.Id}}' "$image")
  image=${image%%:*}:${id:7:12}
  docker tag "$id" "$image"
  printf '%s' "$image"
}

# As crates/bootstrap/build.rs finds it: with a mark where the sources are not those of the commit, and
# not that of a repository which only holds ours.
commit_of_sources() {
  local head changes sources=(.cargo Cargo.toml Cargo.lock crates services proto)
  if [ -z "$(git -C "$top" rev-parse --show-prefix 2>&1)" ] && head=$(git -C "$top" rev-parse --verify 'HEAD^{commit}' 2>/dev/null) &&
    changes=$(git --no-optional-locks -C "$top" status --porcelain -- "${sources[@]}"); then
    printf '%s' "$head${changes:+-dirty}"
  else
    printf 'unknown'
  fi
}

if [ -n "$local" ]; then
  if [ -z "$runtime" ]; then runtime=dynamic-mcp-base/runtime:1; "$here/base.sh" runtime; fi
  if [ -z "$builder" ] && [ -z "$programs" ]; then builder=dynamic-mcp-base/builder:1; "$here/base.sh" builder; fi
fi
arguments=(--build-arg "RUNTIME_IMAGE=$(pinned "${runtime:-gcr.io/distroless/cc-debian12:nonroot}")")
context=$top
if [ -n "$programs" ]; then
  # A folder with nothing but the programs; they are linked, not copied, where that can be.
  context=$(mktemp -d "$programs/.images.XXXXXX")
  trap 'rm -rf "$context"' EXIT
  mkdir "$context/programs"
  for target in "${targets[@]}"; do
    program=$(program_of "$target")
    [ -x "$programs/$program" ] || fail "there is no program $programs/$program; cargo build --release --bins makes it"
    ln "$programs/$program" "$context/programs/" 2>/dev/null || cp "$programs/$program" "$context/programs/"
    said=$("$programs/$program" --version) || fail "$programs/$program does not run here"
    case "$said" in
      "$program $version ("*) ;;
      *) fail "$programs/$program says '$said', not version $version" ;;
    esac
    : "${commit:=$(sed 's/.*(\(.*\))$/\1/' <<<"$said")}"
  done
  arguments+=(--build-arg PROGRAMS=folder)
else
  arguments+=(--build-arg "BUILDER_IMAGE=$(pinned "${builder:-rust:1.95-bookworm}")")
  [ -n "$commit" ] || commit=$(commit_of_sources)
fi
created=$(date -u -d "@${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct 2>/dev/null || date +%s)}" +%Y-%m-%dT%H:%M:%SZ)
arguments+=(--build-arg "VERSION=$version" --build-arg "COMMIT=$commit" --build-arg "CREATED=$created")

log=$(mktemp)
trap 'rm -rf "$log" ${programs:+"$context"}' EXIT
for target in "${targets[@]}"; do
  case "$target" in gateway | registry) file=Dockerfile.gateway ;; *) file=Dockerfile.executor ;; esac
  image=$(image_of "$target"):$tag
  DOCKER_BUILDKIT=1 "$docker" build --progress plain -f "$top/$file" --target "$target" "${arguments[@]}" -t "$image" "$context" >"$log" 2>&1 || {
    tail -30 "$log" >&2
    fail "the image $image could not be built"
  }
  printf '%s %s %s\n' "$image" "$(docker image inspect --format '{{.Id}}' "$image")" "$commit"
done
