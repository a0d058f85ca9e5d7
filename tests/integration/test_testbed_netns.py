"""A command in the testbed's own network sees nothing of the computer's, and leaves nothing behind."""

import os
import subprocess
import sys

import pytest

_RUN = [sys.executable, "-m", "testbed.netns"]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces are made by root")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_RUN, *command], capture_output=True, text=True, check=False)


@needs_root
def test_only_the_loopback_interface_is_there_and_it_is_up() -> None:
    done = _run("sh", "-c", "ls /sys/class/net; ip -4 -oneline address show up")
    assert done.returncode == 0, done.stderr
    first, *addresses = done.stdout.splitlines()
    assert first == "lo"
    assert ["127.0.0.1/8" in line for line in addresses] == [True]


@needs_root
def test_it_has_a_name_inside_that_nobody_sees_outside() -> None:
    inside = _run(
        sys.executable, "-c", "from testbed import netns; import os; print(netns.current()); os.system('ip netns list')"
    )
    assert inside.stdout.split() == ["nodeset-testbed", "nodeset-testbed"]
    outside = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    assert "nodeset-testbed" not in outside.stdout


@needs_root
def test_the_command_decides_the_exit_code() -> None:
    assert _run("sh", "-c", "exit 7").returncode == 7


def test_where_no_namespace_can_be_made_the_command_runs_without_one_if_that_is_wanted() -> None:
    environment = {**os.environ, "PATH": "/nowhere"}
    code = "from testbed import netns; print(netns.current())"
    for flags, expected in ((["--or-without"], "None\n"), ([], "")):
        done = subprocess.run(
            [*_RUN, *flags, sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.returncode == 0) == (expected, bool(flags))
    assert "unshare, ip, mount not in PATH" in done.stderr
