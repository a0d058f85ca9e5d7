"""From IncreaseSize to the cloud: how long until ``driver.create`` has reached it, on a real control plane.

One call after another; a sample ends when the cloud has made the machine (its own clock, the same machine's), so gRPC,
the NodeSet's patch, the Machine, its bootstrap token and the driver's request are all in it. Machines do not boot: what
is measured is not in competition with them. May touch: processes that it starts.
"""

from __future__ import annotations

import asyncio
import statistics
import time

import grpc
from nodeset_driver_simulated.admin import CloudAdmin
from testbed.cluster import Cluster
from testbed.world import World

from nodeset_provider.protocol import externalgrpc_pb2, externalgrpc_pb2_grpc

_WARM_UP = 5
_PATIENCE_SECONDS = 30.0


def create_latency(samples: int) -> dict[str, float]:
    """p50 and p99 in milliseconds, from the client's send to the machine in the cloud."""
    with Cluster(kubelets=False) as cluster:
        world = World(cluster)
        world.node_class("latency", "small-2")
        world.node_set("latency", "latency", autoscaling={"maxReplicas": 1000})
        world.wait(lambda: "template" in world.get("nodeset", "latency").get("status", {}), "a template", seconds=60)
        taken = asyncio.run(_measure(cluster, world.uid, samples + _WARM_UP))[_WARM_UP:]
    quantiles = statistics.quantiles(taken, n=100, method="inclusive")
    return {"samples": samples, "p50_ms": round(statistics.median(taken), 1), "p99_ms": round(quantiles[98], 1)}


async def _measure(cluster: Cluster, uid: str, samples: int) -> list[float]:
    taken = []
    async with (
        CloudAdmin(cluster.cloud.endpoint, cluster.cloud.token) as admin,
        grpc.aio.insecure_channel(cluster.provider.address) as channel,
    ):
        await admin.pause(boots=True)
        stub = externalgrpc_pb2_grpc.CloudProviderStub(channel)
        seen: set[str] = set()
        for _ in range(samples):
            sent = time.time()
            await stub.NodeGroupIncreaseSize(externalgrpc_pb2.NodeGroupIncreaseSizeRequest(id="latency", delta=1))
            async with asyncio.timeout(_PATIENCE_SECONDS):
                # The cloud has no watch to wait on.
                while not (new := [i for i in await admin.instances(uid) if i.id not in seen]):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            taken.append((new[0].created_at - sent) * 1000)
            seen.add(new[0].id)
    return taken
