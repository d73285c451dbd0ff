#!/usr/bin/env bash
# Makes a sandbox image from Debian packages alone: no image registry, no Dockerfile, no daemon.
# The same packages give the same bytes: layer, image ID and archive. See docs/sandbox-images.md.
set -euo pipefail

usage() {
  cat <<'END'
usage: build.sh node|python [options] [-- options of mmdebstrap]

  --tag NAME        name of the image (dynamic-mcp-sandbox/node:1, dynamic-mcp-sandbox/python:1)
  --output FILE     write the archive there, for `docker load` on another machine; without it
                    the image is loaded into the Docker daemon of this one
  --suite NAME      release of Debian (bookworm)
  --mirror URL      where the packages are: a URL, a `deb …` line or a sources file; may be given
                    more than once. Without it Debian's own mirrors
  --snapshot TIME   the packages of that moment (20250601T000000Z) from snapshot.debian.org
  --epoch SECONDS   no file in the image is younger ($SOURCE_DATE_EPOCH, else the snapshot's time,
                    else 2025-01-01)
  --include A,B     further Debian packages
  --node FILE       take this Node.js program in place of Debian's, for example bin/node of an
                    unpacked release; needs --npm
  --npm DIR         and this npm (lib/node_modules/npm of the same release)
  --like-stock      as stock images are: user root, setuid programs stay. For tests only

Needs mmdebstrap (a Debian package). Root, or a user who may make user namespaces.
END
}
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

case "${1-}" in
  node | python) kind=$1; shift ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
tag=dynamic-mcp-sandbox/$kind:1 output='' suite=bookworm snapshot='' epoch=${SOURCE_DATE_EPOCH-}
include='' node='' npm='' stock='' mirrors=() extra=()
while [ "$#" -gt 0 ]; do
  case "$1" in
    --like-stock) stock=1; shift; continue ;;
    --) shift; extra=("$@"); break ;;
    -h | --help) usage; exit 0 ;;
  esac
  [ "$#" -ge 2 ] || fail "$1 needs a value, or is unknown; see --help"
  case "$1" in
    --tag) tag=$2 ;;
    --output) output=$2 ;;
    --suite) suite=$2 ;;
    --mirror) mirrors+=("$2") ;;
    --snapshot) snapshot=$2 ;;
    --epoch) epoch=$2 ;;
    --include) include=$2 ;;
    --node) node=$2 ;;
    --npm) npm=$2 ;;
    *) fail "unknown option $1; see --help" ;;
  esac
  shift 2
done
command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing: apt-get install mmdebstrap"
[ -n "$output" ] || command -v docker >/dev/null || fail "docker is missing; with --output FILE it is not needed"
[[ $tag =~ ^[a-z0-9][a-z0-9._/:-]*:[A-Za-z0-9_][A-Za-z0-9._-]*$ ]] || fail "--tag is name:tag in lower case, not $tag"
if [ -n "$snapshot" ]; then
  [[ $snapshot =~ ^([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z$ ]] ||
    fail "--snapshot is a time as 20250601T000000Z, not $snapshot"
  [ "${#mirrors[@]}" = 0 ] || fail "--snapshot and --mirror exclude each other"
  at="${BASH_REMATCH[1]}-${BASH_REMATCH[2]}-${BASH_REMATCH[3]} ${BASH_REMATCH[4]}:${BASH_REMATCH[5]}:${BASH_REMATCH[6]}"
  : "${epoch:=$(date -u -d "$at" +%s)}"
  archive=http://snapshot.debian.org/archive
  mirrors=("deb [check-valid-until=no] $archive/debian/$snapshot $suite main"
    "deb [check-valid-until=no] $archive/debian/$snapshot $suite-updates main"
    "deb [check-valid-until=no] $archive/debian-security/$snapshot $suite-security main")
fi
: "${epoch:=1735689600}"
[[ $epoch =~ ^[0-9]+$ ]] || fail "--epoch is a number of seconds, not $epoch"
if [ -n "$node$npm" ]; then
  [ "$kind" = node ] || fail "--node and --npm are for the image node"
  [ -x "$node" ] || fail "--node: there is no program at '$node'"
  [ -f "$npm/bin/npm-cli.js" ] || fail "--npm: there is no npm at '$npm'"
fi

# libstdc++: what packages bring along that is compiled needs it.
packages=ca-certificates,libstdc++6 command=python3
case "$kind$node" in
  node) packages+=,nodejs,npm command=node ;;
  node*) packages+=,libatomic1 command=node ;;
  python) packages+=,python3,python3-pip ;;
esac
packages+=${include:+,$include}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What is done to the finished Debian; $1 is its root. Runs before mmdebstrap packs it, sorted, with
# numeric owners and no file younger than the epoch.
cat >"$work/finish" <<'END'
set -eu
root=$1
[ -z "$NODE" ] || {
  mkdir -p "$root/usr/local/bin" "$root/usr/local/lib/node_modules"
  cp -L "$NODE" "$root/usr/local/bin/node"
  cp -R "$NPM" "$root/usr/local/lib/node_modules/npm"
  chmod -R u=rwX,go=rX "$root/usr/local/lib/node_modules" "$root/usr/local/bin/node"
  chown -R 0:0 "$root/usr/local"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
  ln -s ../lib/node_modules/npm/bin/npx-cli.js "$root/usr/local/bin/npx"
}
if [ -e "$root/usr/bin/python3" ]; then
  [ -e "$root/usr/bin/python" ] || ln -s python3 "$root/usr/bin/python"
  # The image is no system to keep from pip: what pip installs goes to its own folder.
  rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
  # Python never compiles in a sandbox, whose root is read-only: compiled here, and by the content
  # of the sources, because their times would differ from machine to machine.
  find "$root/usr" -depth -type d -name __pycache__ -exec rm -rf {} +
  PYTHONHASHSEED=0 chroot "$root" python3 -m compileall -q -j 1 --invalidation-mode unchecked-hash \
    /usr/lib/python3 /usr/lib/python3.[0-9]* >/dev/null || true
fi
if [ -z "$STOCK" ]; then
  find "$root" -xdev -type f -perm /6000 -exec chmod a-s {} +
  printf 'sandbox:x:65532:65532::/tmp:/usr/sbin/nologin\n' >>"$root/etc/passwd"
  printf 'sandbox:x:65532:\n' >>"$root/etc/group"
fi
# What tells one build, machine or day from another.
rm -rf "$root"/var/log/* "$root"/var/cache/* "$root"/var/lib/apt/* "$root"/tmp/* "$root"/var/tmp/* \
  "$root"/run/* "$root"/var/lib/dpkg/*-old "$root"/etc/*- "$root"/var/lib/systemd \
  "$root/etc/machine-id" "$root/var/lib/dbus/machine-id" "$root/etc/hostname" "$root/etc/resolv.conf"
END

if ! NODE=$node NPM=$npm STOCK=$stock SOURCE_DATE_EPOCH=$epoch mmdebstrap --variant=essential \
  --include="$packages" \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/lintian/*' \
  --customize-hook="sh '$work/finish' \"\$1\"" "${extra[@]}" \
  "$suite" "$work/layer.tar" "${mirrors[@]}" >"$work/log" 2>&1; then
  # Not --quiet, with which apt would not say which address it could not get, and why.
  grep -vE '^(I|Ign:|Reading|$)' "$work/log" | uniq | tail -20 >&2 || true
  if [ -n "$snapshot" ]; then
    printf 'hint: the packages were asked for at %s/debian/%s/. A site that does not reach this server leaves --snapshot out, or names a mirror of its own with --mirror\n' \
      "$archive" "$snapshot" >&2
  elif [ "${#mirrors[@]}" = 0 ]; then
    printf 'hint: the packages were asked for at the mirrors of Debian. A site that does not reach them names its own with --mirror\n' >&2
  fi
  fail "mmdebstrap could not make a Debian $suite with $packages"
fi

# The archive is written by hand because `docker import` puts the time of day into the image, so that
# its ID, by which the sandbox can be told to pin it, would differ each time.
case "$(dpkg --print-architecture)" in
  i386) architecture=386 ;;
  armhf) architecture=arm ;;
  ppc64el) architecture=ppc64le ;;
  *) architecture=$(dpkg --print-architecture) ;;
esac
created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
user=65532:65532
[ -z "$stock" ] || user=
# Tells an image from one that another version of this script made.
script=$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-16)
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
printf '{"architecture":"%s","os":"linux","created":"%s","config":{"User":"%s","Env":["PATH=%s"],"Cmd":["%s"],"WorkingDir":"/","Healthcheck":{"Test":["NONE"]},"Labels":{"dynamic-mcp.build":"%s"}},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"%s","created_by":"deploy/sandbox-images/build.sh %s"}]}' \
  "$architecture" "$created" "$user" "$path" "$command" "$script" "$layer" "$created" "$kind" >"$work/config.json"
image=$(sha256sum "$work/config.json" | cut -d' ' -f1)
mkdir "$work/archive" "$work/archive/$layer"
mv "$work/layer.tar" "$work/archive/$layer/layer.tar"
mv "$work/config.json" "$work/archive/$image.json"
printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["%s/layer.tar"]}]' "$image" "$tag" "$layer" >"$work/archive/manifest.json"
pack() {
  tar -C "$work/archive" --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime="@$epoch" -c .
}
if [ -n "$output" ]; then
  pack >"$output.part"
  mv "$output.part" "$output"
else
  pack | docker load -q >/dev/null
fi
printf 'image sha256:%s\nlayer sha256:%s\ntag %s\n' "$image" "$layer" "$tag"
