#!/bin/sh
# Installs what tools/node-image/build.sh needs: what makes a Debian tree out of packages, and a disk image out of a tree.
# Debian (and what is made of it), as root; run again it does nothing.
set -eu

fail() {
    echo "install-node-image: $*" >&2
    exit 1
}

command -v apt-get >/dev/null 2>&1 || fail "no apt-get here: the image is made of Debian's packages, on Debian or Ubuntu"
missing=""
for package in mmdebstrap qemu-utils e2fsprogs debian-archive-keyring ca-certificates; do
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
if [ -z "$missing" ]; then
    echo "mmdebstrap is there: $(mmdebstrap --version)"
    exit 0
fi
[ "$(id -u)" -eq 0 ] || fail "needs root to install$missing; run it with sudo"
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
mmdebstrap --version
