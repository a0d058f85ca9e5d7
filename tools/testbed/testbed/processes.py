"""Starts a program, waits until it is ready, and stops it by its process id; all of the testbed's go through here.

May touch: processes, log files. Knows nothing of Kubernetes.

Two promises:

* A process never outlives the one that started it, even if that one is killed: the kernel is asked to kill it then
  (``PR_SET_PDEATHSIG``; Linux only). The kernel means the *thread* that forked, so all forks happen in one thread that
  lives as long as the interpreter.
* Waiting ends as soon as the process has died, with the end of its log in the error.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Self

_LAUNCHER = """
import ctypes, os, signal, sys
parent = int(sys.argv[1])
if sys.platform == "linux":
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)
if os.getppid() != parent:
    sys.exit(1)
os.execvpe(sys.argv[2], sys.argv[2:], os.environ)
"""
"""Runs between fork and the program. Not a ``preexec_fn``: that runs Python in a forked copy of a process with threads,
which can deadlock, and runs gRPC's fork handlers."""

_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="testbed-spawner")


class ProcessFailedError(RuntimeError):
    """A process ended by itself, or was not ready in time. The message holds the end of its log."""


class Process:
    """One running program whose output goes to a log file.

    Started by the constructor; `stop` or leaving the ``with`` block ends it. ``env`` is added to this process's own.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self.argv = [str(part) for part in argv]
        log.parent.mkdir(parents=True, exist_ok=True)
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *self.argv]
        with log.open("ab") as output:
            self._popen: subprocess.Popen[bytes] = _spawner.submit(
                _spawn, launcher, output, {**os.environ, **(env or {})}, cwd
            ).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id, valid until `stop` has returned."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs, -N when signal N ended it."""
        return self._popen.poll()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.returncode is None

    def log_tail(self, lines: int = 20) -> str:
        """The end of what it wrote, for error messages."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def wait_until(self, ready: Callable[[], bool], *, timeout: float, what: str) -> None:
        """Block until ``ready()`` is true.

        Raises:
            ProcessFailedError: the process ended meanwhile, or ``timeout`` seconds have passed.
        """

        def ready_or_dead() -> bool:
            if not self.running:
                raise ProcessFailedError(f"{self._describe_end()} before {what}; {self._log_hint()}")
            return ready()

        try:
            wait_until(ready_or_dead, timeout=timeout, what=f"{self.name}: {what}")
        except TimeoutError as error:
            raise ProcessFailedError(f"{error}; {self._log_hint()}") from None

    def wait(self, timeout: float) -> int:
        """Block until it has ended by itself and say its exit code (-N when signal N ended it).

        Raises:
            ProcessFailedError: it still runs after ``timeout`` seconds.
        """
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProcessFailedError(f"{self.name} still runs after {timeout:g} s; {self._log_hint()}") from None

    def stop(self, grace: float = 10.0) -> int:
        """Ask it to end (SIGTERM), kill it after ``grace`` seconds; returns its exit code. Ended already: no effect."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self._popen.send_signal(signal.SIGTERM)
            try:
                self._popen.wait(grace)
            except subprocess.TimeoutExpired:
                return self.kill()
        return self._popen.wait()

    def kill(self) -> int:
        """End it without a chance to clean up (SIGKILL) and wait until it is gone."""
        if self.running:
            self._popen.kill()
        return self._popen.wait()

    def _describe_end(self) -> str:
        code = self.returncode
        how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        return f"{self.name} {how}"

    def _log_hint(self) -> str:
        return f"the end of {self.log}:\n{self.log_tail()}"


def _spawn(argv: list[str], output: IO[bytes], env: Mapping[str, str], cwd: Path | None) -> subprocess.Popen[bytes]:
    """Runs in the spawner thread. In a session of its own: Ctrl-C in the terminal reaches only us; we stop in order."""
    return subprocess.Popen(  # noqa: S603 -- the testbed runs what it is told to
        argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, cwd=cwd, start_new_session=True
    )


def wait_until(condition: Callable[[], bool], *, timeout: float, what: str, interval: float = 0.05) -> None:
    """Block until ``condition()`` is true, looking every ``interval`` seconds.

    Raises:
        TimeoutError: it was not within ``timeout`` seconds; the message says ``what`` was waited for.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(interval)


def process_cpu_seconds(pid: int) -> float:
    """User plus system CPU seconds that a running process has used, all its threads (/proc/PID/stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def process_peak_mib(pid: int) -> float:
    """The most memory that a running process has had resident, in MiB (VmHWM of /proc/PID/status)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(f"process {pid} has ended: it has no memory any more")
