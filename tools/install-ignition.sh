#!/bin/sh
# Installs what Ignition is built with (`make ignition`): a C compiler and the headers of libblkid, which it reads disks
# with. Debian (and what is made of it), as root; run again it does nothing.
set -eu

fail() {
    echo "install-ignition: $*" >&2
    exit 1
}

missing=""
for package in gcc libc6-dev libblkid-dev pkg-config; do
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null 2>&1 || fail "no apt-get here: install gcc, pkg-config and the headers of libblkid yourself"
[ "$(id -u)" -eq 0 ] || fail "needs root to install$missing; run it with sudo"
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
