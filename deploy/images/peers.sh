#!/usr/bin/env bash
# Makes stand-ins for the other images of the Compose stack from this machine's Debian packages, under the
# tags that the stack names: for a test, or a site that reaches no image registry. See docs/images.md.
set -euo pipefail

usage() {
  cat <<'END'
usage: peers.sh [--remove] [postgres] [nginx] [redis] [prometheus]

Makes postgres:17-alpine, nginx:1.28-alpine, redis:7-alpine and prom/prometheus:v3.5.0, or those that are
named, from the packages of this machine's release of Debian; the label dynamic-mcp.stand-in says which
version is in them. An image that is there and is no stand-in is left alone and used. --remove takes the
stand-ins away again.
END
}
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

remove='' wanted=()
for word in "$@"; do
  case "$word" in
    -h | --help) usage; exit 0 ;;
    --remove) remove=1 ;;
    postgres | nginx | redis | prometheus) wanted+=("$word") ;;
    *) fail "unknown word $word; see --help" ;;
  esac
done
[ "${#wanted[@]}" -gt 0 ] || wanted=(postgres nginx redis prometheus)
declare -A tag=([postgres]=postgres:17-alpine [nginx]=nginx:1.28-alpine [redis]=redis:7-alpine [prometheus]=prom/prometheus:v3.5.0)
declare -A package=([postgres]=postgresql [nginx]="nginx-light libnginx-mod-http-js" [redis]=redis-server [prometheus]=prometheus)

script=$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-16)
label() { docker image inspect --format "{{index .Config.Labels \"$2\"}}" "$1" 2>/dev/null; }
todo=()
for name in "${wanted[@]}"; do
  image=${tag[$name]}
  if ! docker image inspect "$image" >/dev/null 2>&1; then
    todo+=("$name")
  elif [ -z "$(label "$image" dynamic-mcp.stand-in)" ]; then
    printf '%s is there and no stand-in: left alone\n' "$image"
  elif [ -n "$remove" ]; then
    docker image rm "$image" >/dev/null
  elif [ "$(label "$image" dynamic-mcp.build)" != "$script" ]; then
    # Where a container still is of it, it only loses its name, to the next one.
    docker image rm "$image" >/dev/null 2>&1 || true
    todo+=("$name")
  fi
done
[ -z "$remove" ] || exit 0
[ "${#todo[@]}" -gt 0 ] || exit 0

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "apt-get and dpkg-deb are needed: use a Debian or Ubuntu"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root/usr"/{bin,sbin,lib,lib64} "$work/debs/partial"
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$root/$folder"; done
: >"$work/status"
packages=(dash coreutils grep sed util-linux wget)
for name in "${todo[@]}"; do read -ra more <<<"${package[$name]}"; packages+=("${more[@]}"); done
# As if nothing were installed: all that they need comes along.
apt=(apt-get -o APT::Sandbox::User=root -o "Dir::State::status=$work/status" -o "Dir::Cache::archives=$work/debs")
download() { "${apt[@]}" install -y -qq --download-only --no-install-recommends "${packages[@]}" >"$work/log" 2>&1; }
if ! download; then
  # Lists that are missing or old: fresh ones, which need no rights on this machine.
  mkdir -p "$work/lists/partial"
  apt+=(-o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work")
  "${apt[@]}" update -qq >/dev/null 2>&1 || true
  download || { tail -3 "$work/log" >&2; fail "apt-get could not download ${packages[*]}"; }
fi
for deb in "$work"/debs/*.deb; do
  case "${deb##*/}" in libllvm* | perl* | libperl* | libicu*dev*) continue ;; esac
  dpkg-deb --fsys-tarfile "$deb" | tar -C "$root" -x --keep-directory-symlink --exclude='./usr/share/doc/*' \
    --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/perl*' --exclude='*/llvmjit*' --exclude='*/bitcode/*'
done
printf 'root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\npostgres:x:70:70::/var/lib/postgresql:/bin/sh\nnginx:x:101:101::/:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\npostgres:x:70:\nnginx:x:101:\n' >"$root/etc/group"
printf 'hosts: files dns\npasswd: files\ngroup: files\n' >"$root/etc/nsswitch.conf"
mkdir -p "$root/tmp" "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/var/lib/postgresql/data" "$root/usr/local/bin" "$root/prometheus"
chmod 1777 "$root/tmp" "$root/run"
chown 65534:65534 "$root/prometheus"
chown -R 70:70 "$root/var/lib/postgresql"
postgres=$(cd "$root" && compgen -G 'usr/lib/postgresql/*/bin' || true)
# What the official image's entrypoint does with the variables that the stack sets.
cat >"$root/usr/local/bin/docker-entrypoint.sh" <<'END'
#!/bin/sh
set -eu
if [ "$1" != postgres ]; then exec "$@"; fi
data=/var/lib/postgresql/data
if [ "$(id -u)" = 0 ]; then
  [ -z "${POSTGRES_PASSWORD_FILE-}" ] || { POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE"); export POSTGRES_PASSWORD; }
  mkdir -p "$data"
  chown postgres "$data"
  chmod 700 "$data"
  exec setpriv --reuid=70 --regid=70 --clear-groups "$0" "$@"
fi
if [ ! -s "$data/PG_VERSION" ]; then
  printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
  initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C "$data" >/dev/null
  rm /tmp/password
  printf 'host all all all scram-sha-256\n' >>"$data/pg_hba.conf"
  pg_ctl -D "$data" -o "-c listen_addresses='' -c unix_socket_directories=/tmp" -w start >/dev/null
  psql -h /tmp -U "$POSTGRES_USER" -d postgres -qc "create database \"$POSTGRES_DB\""
  pg_ctl -D "$data" -m fast -w stop >/dev/null
fi
exec "$@" -D "$data" -c listen_addresses='*' -c unix_socket_directories=/tmp
END
chmod 755 "$root/usr/local/bin/docker-entrypoint.sh"
tar -C "$root" --sort=name --format=gnu --numeric-owner --exclude='./dev/*' -cf "$work/layer.tar" .
layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
mkdir -p "$work/archive/$layer"
mv "$work/layer.tar" "$work/archive/$layer/layer.tar"
manifest=''
for name in "${todo[@]}"; do
  main=${package[$name]%% *}
  deb=$(compgen -G "$work/debs/${main}_*.deb" | head -1)
  what="$main $(dpkg-deb --field "$deb" Version)"
  case "$name" in
    postgres) entry='["docker-entrypoint.sh"]' command='["postgres"]' user='' ;;
    nginx) entry='null' command='["nginx","-g","daemon off;"]' user='' ;;
    redis) entry='null' command='["redis-server"]' user='' ;;
    prometheus) entry='["/usr/bin/prometheus"]' command='["--config.file=/etc/prometheus/prometheus.yml","--storage.tsdb.path=/prometheus"]' user='65534' ;;
  esac
  printf '{"architecture":"%s","os":"linux","config":{"User":"%s","Env":["PATH=/usr/local/bin%s:/usr/sbin:/usr/bin","PGHOST=/tmp"],"Entrypoint":%s,"Cmd":%s,"WorkingDir":"/","Labels":{"dynamic-mcp.build":"%s","dynamic-mcp.stand-in":"%s"}},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created_by":"deploy/images/peers.sh %s"}]}' \
    "$(dpkg --print-architecture)" "$user" "${postgres:+:/$postgres}" "$entry" "$command" "$script" "$what" "$layer" "$name" >"$work/config.json"
  image=$(sha256sum "$work/config.json" | cut -d' ' -f1)
  mv "$work/config.json" "$work/archive/$image.json"
  manifest+="${manifest:+,}{\"Config\":\"$image.json\",\"RepoTags\":[\"${tag[$name]}\"],\"Layers\":[\"$layer/layer.tar\"]}"
  printf '%s: %s\n' "${tag[$name]}" "$what"
done
printf '[%s]' "$manifest" >"$work/archive/manifest.json"
tar -C "$work/archive" -c . | docker load -q >/dev/null
