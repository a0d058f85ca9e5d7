"""A program that can be stopped, killed and started again: what cloud, provider, autoscaler and kwok have in common.

May touch: one process, and the loopback interface to ask whether it is ready.
"""

from __future__ import annotations

import http.client
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from testbed.ports import HOST
from testbed.processes import Process

_READY_SECONDS = 60


class Service(ABC):
    """Started by `start` or by entering the ``with`` block, whose end stops it. All its lives write into one log."""

    def __init__(self, name: str, *, folder: Path, logs: Path) -> None:
        self.name = name
        self._folder = folder
        self.log = logs / f"{name}.log"
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The life that was started last.

        Raises:
            RuntimeError: it was never started.
        """
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            RuntimeError: it runs already.
            ProcessFailedError: it ended, or was not ready within a minute. Nothing of it is left then.
        """
        if self._process is not None and self._process.running:
            raise RuntimeError(f"{self.name} runs already")
        self._process = process = Process(
            self.name, self._argv(), log=self.log, env=self._environment(), cwd=self._folder
        )
        try:
            process.wait_until(self._ready, timeout=_READY_SECONDS, what="it was ready")
        except BaseException:
            process.kill()
            raise

    def stop(self, grace: float = 10.0) -> int:
        """SIGTERM, after ``grace`` seconds SIGKILL; the exit code (-N when signal N ended it)."""
        return self.process.stop(grace)

    def kill(self) -> int:
        """SIGKILL, as a crash of the machine would look to everybody else."""
        return self.process.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.stop()

    @abstractmethod
    def _argv(self) -> Sequence[str | Path]:
        """The command line of the next start."""

    def _environment(self) -> Mapping[str, str]:
        """Added to the environment of the next start."""
        return {}

    def _ready(self) -> bool:
        """Whether it can be used. It is asked again and again until it says so."""
        return True


def http_ok(port: int, path: str, headers: Mapping[str, str] | None = None) -> bool:
    """Whether a plain HTTP server on the loopback interface answers 200; False while nobody listens."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
