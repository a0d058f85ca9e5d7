"""Processes and ports of the testbed keep their promises."""

import contextlib
import signal
import socket
import sys
from pathlib import Path

import pytest
from testbed.ports import HOST, ClaimedPort, ReservedPort
from testbed.processes import Process, ProcessFailedError, process_cpu_seconds, process_peak_mib, wait_until

SLEEPER = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]


def test_waiting_ends_when_the_process_has_died_and_says_why(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import sys; sys.exit('no disk left')"]
    with (
        Process("fragile", argv, log=tmp_path / "log") as process,
        pytest.raises(ProcessFailedError, match=r"fragile ended with exit code 1 before it was up;(.|\n)*no disk left"),
    ):
        process.wait_until(lambda: False, timeout=60, what="it was up")


def test_waiting_ends_at_its_time_out(tmp_path: Path) -> None:
    with (
        Process("slow", SLEEPER, log=tmp_path / "log") as process,
        pytest.raises(ProcessFailedError, match=r"slow: it was ready: not within 0\.2 s"),
    ):
        process.wait_until(lambda: False, timeout=0.2, what="it was ready")


def test_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process = Process("stubborn", STUBBORN, log=tmp_path / "log")
    process.wait_until(lambda: "up" in process.log_tail(), timeout=30, what="it ran")
    assert process.stop(grace=0.2) == -signal.SIGKILL
    assert not process.running


def test_process_has_the_pid_and_the_name_of_the_program(tmp_path: Path) -> None:
    """The launcher before it has become the program: what is measured and killed is the program itself."""
    with Process("sleeper", SLEEPER, log=tmp_path / "log") as process:
        process.wait_until(lambda: "up" in process.log_tail(), timeout=30, what="it ran")
        assert Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")[2] == SLEEPER[2]
        assert process_cpu_seconds(process.pid) >= 0
        assert process_peak_mib(process.pid) > 1


def test_claimed_port_is_claimed_once_and_can_be_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(ClaimedPort()) as first:
        monkeypatch.setattr("testbed.ports._UNCLAIMED", range(first.number, first.number + 1))
        with pytest.raises(OSError, match="is free"):
            ClaimedPort()
        with contextlib.closing(socket.create_server((HOST, first.number))):
            pass
    with contextlib.closing(ClaimedPort()) as second:
        assert second.number == first.number


def test_reserved_port_is_refused_to_others_and_shared_with_its_program() -> None:
    with contextlib.closing(ReservedPort()) as port:
        with pytest.raises(OSError, match="in use"):
            socket.create_server((HOST, port.number))
        with (
            contextlib.closing(socket.create_server((HOST, port.number), reuse_port=True)) as server,
            contextlib.closing(socket.create_connection((HOST, port.number), timeout=10)),
        ):
            server.settimeout(10)
            server.accept()[0].close()


def test_wait_until_says_what_it_waited_for() -> None:
    with pytest.raises(TimeoutError, match=r"the moon is blue: not within 0\.1 s"):
        wait_until(lambda: False, timeout=0.1, what="the moon is blue")
