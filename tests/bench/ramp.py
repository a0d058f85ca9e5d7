"""0 → N simulated machines, from ``kubectl scale`` to every Machine Initialized, on a real control plane.

Machines join by real CSRs and post their own first status; nobody plays their kubelets afterwards, so that what is
measured is the provider, the API server and the signer. May touch: processes that it starts.
"""

from __future__ import annotations

import time

from testbed.cluster import Cluster
from testbed.controlplane import ControlPlane
from testbed.metering import WriteMeter
from testbed.processes import process_cpu_seconds, process_peak_mib
from testbed.provider import NAMESPACE, SERVICE_ACCOUNT
from testbed.world import World

_POLL_SECONDS = 0.5
_LEASE = {"leaseDurationSeconds": 15, "renewDeadlineSeconds": 10, "retryPeriodSeconds": 2}
"""As in production: the testbed's short Lease would be lost on a machine that this keeps busy."""


def ramp(count: int, *, timeout: float) -> dict[str, float]:
    """One ramp on a cluster of its own, after one machine that warms everything up.

    Returns: seconds; our API writes per machine, by the API server's metrics; CPU seconds and peak MiB of the provider;
    CPU seconds of the API server, for scale.

    Raises:
        TimeoutError: not all were Initialized in ``timeout`` seconds.
    """
    with (
        ControlPlane(node_lifecycle=False) as control_plane,
        Cluster(
            control_plane=control_plane, kubelets=False, provider_configuration={"leaderElection": _LEASE}
        ) as cluster,
    ):
        world = World(cluster)
        world.node_class("ramp", "small-2", launchTimeoutSeconds=900)
        world.node_set("ramp", "ramp", replicas=1)
        world.wait(lambda: world.ready("ramp") == 1, "one machine", seconds=60)
        writes = WriteMeter(control_plane, f"system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}")
        ours, api_server = cluster.provider.process.pid, control_plane.pids["kube-apiserver"]
        before = writes.count(), process_cpu_seconds(ours), process_cpu_seconds(api_server)
        started = time.monotonic()
        cluster.kubectl("scale", "nodeset/ramp", f"--replicas={count + 1}")
        while world.ready("ramp") <= count:
            if time.monotonic() - started > timeout:
                raise TimeoutError(f"{world.ready('ramp')} of {count + 1} machines after {timeout:g} s")
            time.sleep(_POLL_SECONDS)
        seconds = time.monotonic() - started
        return {
            "seconds": round(seconds, 1),
            "writes_per_machine": round((writes.count() - before[0]) / count, 2),
            "cpu_seconds": round(process_cpu_seconds(ours) - before[1], 1),
            "peak_mib": round(process_peak_mib(ours)),
            "api_server_cpu_seconds": round(process_cpu_seconds(api_server) - before[2], 1),
        }
