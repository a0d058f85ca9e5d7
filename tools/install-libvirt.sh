#!/bin/sh
# Installs what the tests of the libvirt driver and the real machines of the end-to-end tests need: libvirtd with QEMU,
# sshd, and what builds the Python package libvirt-python. Debian (and what is made of it), as root; run again it does nothing.
#
# The machine is left as it is otherwise: Debian's package libvirt-daemon-system, which starts a libvirtd and its network
# on every boot, is not wanted, and the service of sshd is kept from starting. The tests start daemons of their own in
# namespaces of their own (testbed/libvirtd.py).
set -eu

fail() {
    echo "install-libvirt: $*" >&2
    exit 1
}

command -v apt-get >/dev/null 2>&1 || fail "no apt-get here: this works on Debian and Ubuntu; elsewhere install libvirtd with" \
    "its QEMU, network and storage drivers, virsh, qemu-system, qemu-img, dnsmasq, iptables and libvirt's headers yourself"
[ "$(dpkg --print-architecture)" = amd64 ] || fail "the tests boot x86-64 machines only, and this is $(dpkg --print-architecture)"

wanted="libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients libvirt-dev pkg-config gcc libc6-dev python3-dev
    qemu-system-x86 qemu-utils dnsmasq-base iptables iproute2 util-linux openssh-client openssh-server netcat-openbsd"
# Since Debian 13 parts of the daemon are packages of their own.
split="libvirt-daemon-common libvirt-daemon-driver-network libvirt-daemon-driver-storage"

installed() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=""
for package in $wanted; do
    installed "$package" || missing="$missing $package"
done
if [ -z "$missing" ] && [ -f /usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_network.so ]; then
    echo "libvirt is there: $(libvirtd --version)"
    exit 0
fi
[ "$(id -u)" -eq 0 ] || fail "needs root to install$missing; run it with sudo"

apt-get update -qq
for package in $split; do
    if [ -n "$(apt-cache search --names-only "^$package\$")" ]; then
        wanted="$wanted $package"
    fi
done
if ! installed openssh-server && [ -d /run/systemd/system ]; then
    # Nobody asked for logins to this machine. `systemctl unmask ssh.service ssh.socket` allows them.
    systemctl mask --quiet ssh.service ssh.socket
    echo "install-libvirt: openssh-server is installed for its program; its service is masked"
fi
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted
libvirtd --version
