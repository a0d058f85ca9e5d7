#!/bin/sh
# Installs cloud-init from the distribution, so that the tests of the join configuration can ask it what it thinks of
# our user-data. Only the program is wanted: on a machine that is not a cloud instance its boot units find nothing to do,
# and they are turned off where systemd runs. Needs root; does nothing where cloud-init is there already.
set -eu

if command -v cloud-init >/dev/null 2>&1; then
    echo "cloud-init is there: $(cloud-init --version 2>&1)"
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "install-cloud-init: needs root; run it with sudo, or install the package cloud-init yourself" >&2
    exit 1
fi

if command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends cloud-init
elif command -v dnf >/dev/null 2>&1; then
    dnf install -y -q cloud-init
else
    echo "install-cloud-init: neither apt-get nor dnf here; install the package cloud-init by your package manager" >&2
    exit 1
fi
mkdir -p /etc/cloud
touch /etc/cloud/cloud-init.disabled
cloud-init --version
