"""A network of the tests' own, for clusters whose machines are real: ``python -m testbed.netns COMMAND…``.

API server, provider, libvirtd, machines, sshd and the tests themselves share one network namespace, in which every one
of them reaches the others, and nothing reaches the network of the computer it runs on. May touch: namespaces that it
makes (network and mount), which end with the last process in them, however that ends. Needs root, `unshare` and `ip`.
"""

from __future__ import annotations

import os
import shutil
import sys

NAME = "nodeset-testbed"
"""Name of the namespace for ``ip netns``, valid inside of it only."""

_VARIABLE = "NODESET_TESTBED_NETNS"

_ENTER = f"""
mount -t sysfs sysfs /sys
ip link set lo up
mkdir -p /run/netns
mount -t tmpfs -o size=64k tmpfs /run/netns
ip netns attach {NAME} $$
export {_VARIABLE}={NAME}
exec "$@"
"""
"""Without the second line /sys/class/net would show the other network's devices. The name stands in a folder that only
this mount namespace has: programs that want a name (`testbed.libvirtd`) get one, and none is left behind."""


def current() -> str | None:
    """The name of the testbed's namespace that this process is in; None outside of one."""
    return os.environ.get(_VARIABLE)


def main() -> None:
    """Entry point: becomes the command, inside. ``--or-without``: outside, where nobody may make namespaces."""
    command = sys.argv[1:]
    without = command[:1] == ["--or-without"]
    if without:
        del command[0]
    if not command:
        sys.exit("usage: python -m testbed.netns [--or-without] COMMAND [ARGUMENT...]")
    absent = [program for program in ("unshare", "ip", "mount") if shutil.which(program) is None]
    reason = f"{', '.join(absent)} not in PATH" if absent else "" if os.geteuid() == 0 else "needs root"
    if reason and not without:
        sys.exit(f"testbed.netns: no network of its own: {reason}")
    if not reason:
        command = ["unshare", "--net", "--mount", "--propagation=private", "sh", "-euc", _ENTER, "sh", *command]
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
