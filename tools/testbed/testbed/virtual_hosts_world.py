"""Words for what tests do with a cluster and the libvirtd on which its machines run, and ways to break that host.

May touch: the cluster as its administrator, the libvirtd, the sshd before it. Blocking; starts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from nodeset_provider.protocol import externalgrpc_pb2 as pb
from testbed.cluster import grant_secret
from testbed.libvirt_host import IMAGE, LibvirtHost, SshDoor
from testbed.provider import NAMESPACE
from testbed.world import World

MIB = 1 << 20
MEMORY = 256 * MIB
"""The least of which something is left for pods."""


@dataclass
class Site:
    """A cluster, a host, and words for both."""

    world: World
    host: LibvirtHost
    ssh: SshDoor

    def virsh(self, *arguments: str) -> str:
        """See `Libvirtd.virsh`."""
        return self.host.daemon.virsh(*arguments)

    def node_class(self, name: str, *, config: Mapping[str, Any] | None = None, secret: str = "", **spec: Any) -> None:
        """Of machines that nothing is wrong with, but for what is given."""
        reference = {"credentialsRef": {"namespace": NAMESPACE, "name": secret} if secret else None}
        machine = self.host.config(memory=MEMORY, disk=MIB) | dict(config or {})
        defaults = {"driver": "libvirt", "config": machine, "launchTimeoutSeconds": 900}
        self.world.node_class(name, "", **(defaults | reference | spec))

    def valid(self, name: str) -> bool:
        """Whether the class can work."""
        return self.world.condition("nodeclass", name, "Valid").get("status") == "True"

    def resolved(self, *nodesets: str) -> bool:
        """Whether it is known what the machines of these sets would be."""
        return all(self.world.get("nodeset", name).get("status", {}).get("template") for name in nodesets)

    def know_host(self, secret: str, line: str = "") -> None:
        """The Secret holds the host's key, or that line in its place."""
        credentials = {"ssh-privatekey": self.ssh.key, "known_hosts": line or self.ssh.known_hosts}
        grant_secret(self.world.cluster.control_plane, secret, credentials)

    def path_of_image(self) -> str:
        """Of the image in the pool ``default``."""
        return self.virsh("vol-path", "--pool", "default", IMAGE).strip()

    def over_ssh(self) -> str:
        """URI of the libvirtd through the sshd."""
        return self.ssh.uri(self.host.daemon.socket)

    def domains(self, nodeset: str) -> list[str]:
        """Of the set's machines, whatever their state."""
        return [name for name in self.virsh("list", "--all", "--name").split() if name.startswith(f"{nodeset}-")]

    def stray(self) -> list[str]:
        """Volumes of machines that are not there."""
        volumes = self.host.volumes("nodeset-")
        tokens = [name.partition(".")[2] for name in self.virsh("list", "--all", "--name").split()]
        return [volume for volume in volumes if not any(token and token in volume for token in tokens)]

    def launched(self, nodeset: str) -> bool:
        """The set's machines are made, and run on the host once each."""
        names = self.world.names(nodeset)
        made = [self.world.condition("machine", name, "Launched").get("status") == "True" for name in names]
        return bool(names) and all(made) and [name.partition(".")[0] for name in self.running(nodeset)] == names

    def running(self, nodeset: str) -> list[str]:
        """Domains of the set's machines that run, in order."""
        return sorted(name for name in self.virsh("list", "--name").split() if name.startswith(f"{nodeset}-"))

    def instances(self, nodeset: str) -> list[pb.Instance]:
        """What the autoscaler is told; nothing where the group is not known yet."""
        with self.world.door() as door:
            try:
                return list(door.NodeGroupNodes(pb.NodeGroupNodesRequest(id=nodeset), timeout=10).instances)
            except grpc.RpcError:
                return []

    def told(self, nodeset: str) -> list[tuple[str, int]]:
        """Code and class of each error."""
        errors = [instance.status.errorInfo for instance in self.instances(nodeset)]
        return [(error.errorCode, error.instanceErrorClass) for error in errors]

    def increase(self, nodeset: str) -> None:
        """As the autoscaler asks for one more."""
        with self.world.door() as door:
            door.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id=nodeset, delta=1), timeout=10)

    def take_away(self, nodeset: str) -> None:
        """As the autoscaler does with what it was told an error of."""
        nodes = [pb.ExternalGrpcNode(name=one.id, providerID=one.id) for one in self.instances(nodeset)]
        with self.world.door() as door:
            door.NodeGroupDeleteNodes(pb.NodeGroupDeleteNodesRequest(id=nodeset, nodes=nodes), timeout=10)


Act = Callable[[Site], object]


def volume(name: str, size: int = MIB) -> Act:
    """Makes a volume that is not there."""
    return lambda site: site.virsh("vol-create-as", "default", name, str(size), "--format", "raw")


def no_volume(name: str) -> Act:
    """Deletes one."""
    return lambda site: site.virsh("vol-delete", "--pool", "default", name)


def network(site: Site, name: str, bridge: str) -> None:
    """Define a network; it is not started."""
    path = site.host.daemon.pool_folder.parent / f"{name}.xml"
    path.write_text(f"<network><name>{name}</name><bridge name='{bridge}'/></network>")
    site.virsh("net-define", str(path))


def memory(site: Site) -> int:
    """Bytes that the host has in all."""
    return int(site.virsh("nodememstats").split("total")[1].split()[1]) << 10


def fill_pool(site: Site) -> None:
    """All but 4 MiB of the pool ``default``, by a volume ``filler``."""
    site.virsh("pool-refresh", "default")
    free = int(site.virsh("pool-info", "default", "--bytes").split()[-1])
    volume("filler", free - 4 * MIB)(site)


def take_memory(site: Site) -> None:
    """By a machine ``hog`` of somebody else's, which may use all of it and has used nothing yet."""
    path = site.host.daemon.pool_folder.parent / "hog.xml"
    path.write_text(
        f"<domain type='qemu'><name>hog</name><memory unit='b'>{memory(site) - 600 * MIB}</memory>"
        "<vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"
    )
    site.virsh("create", str(path))


def install_anew(site: Site) -> None:
    """The host is reached again as after its installation: with another key."""
    site.ssh.install_anew()
    site.host.daemon.kill()
    site.host.daemon.start()
