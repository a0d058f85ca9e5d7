"""The simulated cloud as a process of its own: its machines outlive the provider, its state outlives itself.

May touch: one process, its state file, the loopback interface.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from testbed.ports import HOST, ClaimedPort
from testbed.service import Service, http_ok


class SimulatedCloud(Service):
    """``with SimulatedCloud(folder, logs) as cloud:``; `start` after `kill` brings it back with all its machines.

    Attributes:
        endpoint: URL, the same after every start.
        token: its API token; endpoint and token are what the Secret of a NodeClass holds.

    Args:
        folder: state and settings are kept here.
        logs: of the log file.
        settings: types, quota, latency and more, as `nodeset_driver_simulated.cloud.settings.Settings` reads them.
    """

    def __init__(self, folder: Path, logs: Path, *, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__("simulated-cloud", folder=folder, logs=logs)
        self._port = ClaimedPort()
        self.endpoint = f"http://{HOST}:{self._port.number}"
        self.token = secrets.token_hex(16)
        self._settings = folder / "simulated-cloud-settings.yaml"
        self._settings.write_text(yaml.safe_dump(dict(settings or {})))

    def _argv(self) -> Sequence[str | Path]:
        return [
            Path(sys.executable).with_name("simulated-cloud"),
            "serve",
            f"--state={self._folder / 'simulated-cloud-state'}",
            f"--port={self._port.number}",
            f"--settings={self._settings}",
        ]

    def _environment(self) -> Mapping[str, str]:
        # Not on the command line, which everybody can read.
        return {"SIMULATED_CLOUD_TOKEN": self.token}

    def _ready(self) -> bool:
        return http_ok(self._port.number, "/v1/types", {"Authorization": f"Bearer {self.token}"})
