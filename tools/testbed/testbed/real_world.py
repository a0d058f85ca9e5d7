"""Words for what tests do with a cluster of real machines: as `testbed.world`, for what takes minutes, not seconds.

May touch: the cluster as its administrator, its libvirt.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from testbed import timeline
from testbed.autoscaler import ClusterAutoscaler, StandInAutoscaler, real_autoscaler
from testbed.cluster import grant_secret
from testbed.processes import wait_until
from testbed.provider import NAMESPACE
from testbed.real_cluster import RealCluster
from testbed.timeline import Step
from testbed.virtual_host import USER, VirtualHost
from testbed.world import World

UNIT = {"image": "local/busybox:1", "imagePullPolicy": "IfNotPresent"}
"""The workload that the node image brings."""
METAL_SECRET = "metal"  # noqa: S105 -- its name

_LAUNCH_SECONDS = 900
_WAIT_SECONDS = 1200
"""An emulated machine takes half a minute on an idle computer. The bound is for one that is busy with many others."""


class RealWorld(World):
    """A running cluster of real machines. ``timelines``: of all machines that `note` saw, by name."""

    def __init__(self, real: RealCluster) -> None:
        super().__init__(real.cluster)
        self.real = real
        self.timelines: dict[str, list[Step]] = {}

    def wait(self, condition: Callable[[], bool], what: str, *, seconds: float = _WAIT_SECONDS) -> None:
        """Wait until it holds; asked seldom, since each question takes a processor from the machines."""
        try:
            wait_until(condition, timeout=seconds, what=what, interval=2)
        except TimeoutError:
            self.real.keep_consoles()
            raise

    def libvirt_class(self, name: str, *, config: Mapping[str, Any] | None = None, **spec: Any) -> None:
        """A NodeClass of virtual machines. ``config`` is merged over the usual one."""
        spec = {
            "driver": "libvirt",
            "config": {**self.real.machine_config, **(config or {})},
            "launchTimeoutSeconds": _LAUNCH_SECONDS,
            **spec,
        }
        self._apply_class(name, spec)

    def metal_secret(self, host: VirtualHost) -> None:
        """The Secret with which that host is logged in to, and recognised."""
        content = {"ssh-privatekey": host.private_key, "known_hosts": host.known_hosts}
        grant_secret(self.real.control_plane, METAL_SECRET, content)

    def metal_class(self, name: str, hosts: Sequence[VirtualHost], **spec: Any) -> None:
        """A NodeClass of hosts that are reached over SSH, with the Secret of `metal_secret`."""
        spec = {
            "driver": "ssh",
            "config": {"hosts": [{"address": host.address, "user": USER} for host in hosts]},
            "credentialsRef": {"namespace": NAMESPACE, "name": METAL_SECRET},
            "launchTimeoutSeconds": _LAUNCH_SECONDS,
            **spec,
        }
        self._apply_class(name, spec)

    def workload(self, name: str, *, replicas: int, cpu: str = "1200m", **pod: Any) -> None:
        """A Deployment whose pods say hello and serve their own name on port 8080."""
        script = "echo hello from $(hostname); mkdir /www; hostname > /www/index.html; exec httpd -f -p 8080 -h /www"
        self.load(name, replicas=replicas, cpu=cpu, container={**UNIT, "command": ["sh", "-c", script]}, **pod)

    def pods(self, name: str) -> dict[str, str]:
        """Pods of a workload that are ready: pod → node."""
        return {
            pod["metadata"]["name"]: pod["spec"]["nodeName"]
            for pod in self.items("pods", "-l", f"app={name}")
            if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
        }

    def answers(self, pod: str) -> bool:
        """Whether `kubectl logs` and `kubectl exec` work: the API server believes the kubelet's serving certificate."""
        logs = self.cluster.kubectl("logs", pod)
        inside = self.cluster.kubectl("exec", pod, "--", "cat", "/www/index.html")
        return logs == f"hello from {pod}\n" and inside == f"{pod}\n"

    def joined(self, nodeset: str) -> list[str]:
        """Names of the set's Machines that are initialized, in order."""
        return sorted(
            machine["metadata"]["name"]
            for machine in self.machines(nodeset)
            if any(
                condition["type"] == "Initialized" and condition["status"] == "True"
                for condition in machine.get("status", {}).get("conditions", [])
            )
        )

    def remains(self, nodeset: str = "", *, machine: str = "") -> list[str]:
        """What is left, anywhere, of one set's machines or of one machine; empty once nothing is.

        A domain and its volumes bear names that say whose they are only while the domain is there: volumes without any
        domain count, whoever's they were.
        """
        names = self.items("machines")
        mine = [
            item["metadata"]["name"]
            for item in (*names, *self.items("nodes"))
            if item["metadata"]["name"] == machine
            or (nodeset and item["metadata"].get("labels", {}).get("nodeset.dev/nodeset") == nodeset)
        ]
        domains = self.real.domains()
        tokens = [domain.partition(".")[2] for domain in domains]
        of_it = [d for d in domains if d.startswith(f"{machine}." if machine else f"{nodeset}-")]
        stray = [volume for volume in self.real.volumes() if not any(token and token in volume for token in tokens)]
        return [*mine, *of_it, *stray]

    def autoscaler(self, *, flags: Sequence[str]) -> ClusterAutoscaler | StandInAutoscaler:
        """The real one or the stand-in, not started yet."""
        parts = self.real.control_plane, self.cluster.provider
        binary = real_autoscaler()
        return ClusterAutoscaler(*parts, binary, flags=flags) if binary else StandInAutoscaler(*parts, flags=flags)

    def note(self, *machines: str) -> None:
        """Remember when these Machines did what, before they go."""
        requests = self.items("certificatesigningrequests")
        nodes = {node["metadata"]["name"]: node for node in self.items("nodes")}
        for name in machines:
            machine = self.get("machine", name)
            node = nodes.get(machine.get("status", {}).get("nodeRef", {}).get("name", name))
            steps = timeline.of_objects(machine, node, requests)
            steps += timeline.of_console(self.real.console(name), year=dt.datetime.now(dt.UTC).year)
            if started := self.real.power_on(name):
                moment = dt.datetime.fromisoformat(started[: len("2026-01-01 00:00:00.000+0000")])
                steps.append(Step(moment.timestamp(), "power on"))
            self.timelines[name] = sorted(steps)

    def slowest_boot(self) -> float:
        """Seconds from power-on to Ready of the slowest machine that `note` saw; 0 where it saw none."""
        seconds = [0.0]
        for steps in self.timelines.values():
            at = {step.what: step.at for step in steps}
            if "power on" in at and "Ready" in at:
                seconds.append(at["Ready"] - at["power on"])
        return max(seconds)

    def _apply_class(self, name: str, spec: Mapping[str, Any]) -> None:
        self.apply(
            {
                "apiVersion": "nodeset.dev/v1alpha1",
                "kind": "NodeClass",
                "metadata": {"name": name},
                "spec": dict(spec),
            }
        )
