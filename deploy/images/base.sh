#!/usr/bin/env bash
# Makes base images from Debian packages alone, for a site (or a test) that reaches no image registry.
# See docs/images.md.
set -euo pipefail

usage() {
  cat <<'END'
usage: base.sh runtime|builder [--tag NAME] [--output FILE]

  runtime   what the service images stand on: the C library, certificates of authorities, no shell
            and no package manager (dynamic-mcp-base/runtime:1). Needs apt-get and dpkg-deb; the
            packages are those of this machine's release
  builder   what they are compiled in: a C compiler, this machine's Rust toolchain and the authorities
            that it trusts (dynamic-mcp-base/builder:1). Needs mmdebstrap and rustc

  --tag NAME      name of the image
  --output FILE   write the archive for `docker load` there instead of loading it here

Packages come from the sources of this machine's apt. The last line says the image's ID.
END
}
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

case "${1-}" in
  runtime | builder) kind=$1; shift ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
tag=dynamic-mcp-base/$kind:1 output=''
while [ "$#" -gt 0 ]; do
  [ "$#" -ge 2 ] || fail "$1 needs a value, or is unknown; see --help"
  case "$1" in
    --tag) tag=$2 ;;
    --output) output=$2 ;;
    *) fail "unknown option $1; see --help" ;;
  esac
  shift 2
done
[ -n "$output" ] || command -v docker >/dev/null || fail "docker is missing; with --output FILE it is not needed"
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "apt-get and dpkg-deb are needed: use a Debian or Ubuntu"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"
epoch=${SOURCE_DATE_EPOCH:-1735689600}

make_runtime() {
  local packages=(libc6 libgcc-s1 ca-certificates) name
  mkdir "$work/debs"
  local apt=(apt-get -o APT::Sandbox::User=root)
  download() { (cd "$work/debs" && "${apt[@]}" download "${packages[@]}" >"$work/log" 2>&1); }
  if ! download; then
    # Lists that are missing or old: fresh ones, which need no rights on this machine.
    mkdir -p "$work/lists/partial"
    apt+=(-o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work")
    "${apt[@]}" update -qq >/dev/null 2>&1 || true
    download || { tail -3 "$work/log" >&2; fail "apt-get could not download ${packages[*]}"; }
  fi
  # As Debian has it now, whatever the packages of its release still say.
  mkdir -p "$root/usr/lib" "$root/usr/lib64" "$root/etc/ssl/certs" "$root/var/lib/dpkg/status.d"
  ln -s usr/lib "$root/lib"
  ln -s usr/lib64 "$root/lib64"
  for deb in "$work"/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -C "$root" -x --keep-directory-symlink
    name=$(dpkg-deb --field "$deb" Package)
    # Where scanners of images look for what is installed.
    { printf 'Status: install ok installed\n'; dpkg-deb --field "$deb"; } >"$root/var/lib/dpkg/status.d/$name"
  done
  find "$root/usr/share/ca-certificates" -name '*.crt' | LC_ALL=C sort | xargs awk 1 >"$root/etc/ssl/certs/ca-certificates.crt"
  [ "$(grep -c 'BEGIN CERTIFICATE' "$root/etc/ssl/certs/ca-certificates.crt")" -gt 50 ] || fail "ca-certificates holds next to no authorities"
  find "$root/usr/share/doc" -type f ! -name copyright -delete
  rm -rf "${root:?}"/usr/{bin,sbin,share/ca-certificates,share/man,share/lintian,share/locale} "$root"/usr/lib/*/gconv "$root"/etc/{ca-certificates,ld.so.conf.d} \
    "${root:?}"/bin "${root:?}"/sbin
  mkdir -p "$root/tmp" "$root/proc" "$root/sys" "$root/dev" "$root/run"
  chmod 1777 "$root/tmp"
  cp -L /etc/os-release "$root/etc/os-release"
  printf 'root:x:0:0::/:/sbin/nologin\nnobody:x:65534:65534::/:/sbin/nologin\ndynamic-mcp:x:10001:10001::/:/sbin/nologin\n' >"$root/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\ndynamic-mcp:x:10001:\n' >"$root/etc/group"
  printf 'hosts: files dns\npasswd: files\ngroup: files\n' >"$root/etc/nsswitch.conf"
  find "$root" -type d -empty -path '*/share/*' -delete
  path=/usr/local/bin user=10001:10001
}

make_builder() {
  local toolchain
  command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing: apt-get install mmdebstrap"
  command -v rustc >/dev/null || fail "rustc is missing: install the stable toolchain with rustup, 1.95 or newer"
  toolchain=$(rustc --print sysroot)
  # shellcheck source=/dev/null
  mmdebstrap --quiet --variant=essential --include=ca-certificates,gcc,libc6-dev,make \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")" "$work/base.tar" >"$work/log" 2>&1 || {
    tail -5 "$work/log" >&2
    fail "mmdebstrap could not make the builder"
  }
  tar -C "$root" -xf "$work/base.tar" --exclude='./dev/*'
  rm "$work/base.tar"
  mkdir -p "$root/usr/local"
  tar -C "$toolchain" -c --exclude=share/doc --exclude=share/man --exclude='bin/rust-gdb*' --exclude='bin/rls' --exclude='bin/rust-analyzer' . |
    tar -C "$root/usr/local" -x
  # A site's own authorities: cargo asks for crates through whatever stands between.
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  rm -rf "$root"/var/log/* "$root"/var/cache/* "$root"/var/lib/apt/*
  path=/usr/local/bin:/usr/bin:/bin user=
}

"make_$kind"
# Written by hand: `docker import` would put the time of day in, and the same packages would give
# another ID each time.
tar -C "$root" --sort=name --format=gnu --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -cf "$work/layer.tar" .
layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
printf '{"architecture":"%s","os":"linux","created":"%s","config":{"User":"%s","Env":["PATH=%s"],"WorkingDir":"/"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created_by":"deploy/images/base.sh %s"}]}' \
  "$(dpkg --print-architecture)" "$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)" "$user" "$path" "$layer" "$kind" >"$work/config.json"
image=$(sha256sum "$work/config.json" | cut -d' ' -f1)
mkdir -p "$work/archive/$layer"
mv "$work/layer.tar" "$work/archive/$layer/layer.tar"
mv "$work/config.json" "$work/archive/$image.json"
printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["%s/layer.tar"]}]' "$image" "$tag" "$layer" >"$work/archive/manifest.json"
pack() {
  tar -C "$work/archive" --sort=name --format=gnu --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -c .
}
if [ -n "$output" ]; then
  pack >"$output.part"
  mv "$output.part" "$output"
else
  pack | docker load -q >/dev/null
fi
printf 'tag %s\nimage sha256:%s\n' "$tag" "$image"
