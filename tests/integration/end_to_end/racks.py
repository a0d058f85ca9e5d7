"""A host over SSH as a test of the whole chain sees it, what may be wrong with it, and how a person mends that."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import asyncssh
from testbed.provider import NAMESPACE
from testbed.throwaway_host import ADMIN, ASKED, ThrowawayHost
from testbed.world import World

SECRET = "ssh-hosts"
STATE = "/var/lib/nodeset-provider"
DECLARED: dict[str, Any] = {
    "capacity": {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "20Gi"},
    "labels": {"kubernetes.io/arch": "amd64"},
}
"""With it no host is asked before a machine is made: what is wrong with one shows at its Machine."""
CALL_SECONDS = 3
KUBELET_SAYS = "failed to run Kubelet: misconfiguration: kubelet cgroup driver"


@dataclass
class Rack:
    """One host, and the class that has it for a pool."""

    world: World
    host: ThrowawayHost
    key: str
    name: str
    declares: bool = True
    entry: dict[str, Any] = field(default_factory=dict)
    """What is not as usual with its entry in the pool."""
    spec: dict[str, Any] = field(default_factory=dict)
    """The same of the class."""

    def offer(self, *, entry: dict[str, Any] | None = None, **spec: Any) -> None:
        """Apply the class, as it was applied before but for what is given here."""
        self.entry = {"user": ADMIN, "fingerprint": self.host.fingerprint, **self.entry, **(entry or {})}
        self.spec = {"launchTimeoutSeconds": 600, **self.spec, **spec}
        host = {"name": self.host.name, "address": self.host.address, "port": self.host.cable.port, **self.entry}
        config = {
            "hosts": [{key: value for key, value in (host | (DECLARED if self.declares else {})).items() if value}],
            "timeoutSeconds": {"connect": CALL_SECONDS, "call": CALL_SECONDS},
        }
        reference = {"namespace": NAMESPACE, "name": SECRET}
        self.world.node_class(self.name, "", driver="ssh", config=config, credentialsRef=reference, **self.spec)

    @property
    def owner(self) -> str:
        """The token whose claim the host bears, as it is on its disk."""
        claim = self.host.path(f"{STATE}/claim")
        if not claim.exists():
            return ""
        return dict(line.split("=", 1) for line in claim.read_text().splitlines())["token"]

    def is_clean(self) -> bool:
        """Nobody has the host, and nothing that was brought is on it."""
        left = [self.host.path(path) for path in ("/etc/kubernetes/bootstrap-kubelet.conf", f"{STATE}/claim")]
        machines = self.host.path(f"{STATE}/machines")
        return not any(path.exists() for path in left) and not (machines.exists() and list(machines.iterdir()))

    def runs(self) -> bool:
        """The set has one Machine; it was launched, and the host is that very machine and has applied everything."""
        found = self.world.machines(self.name)
        if len(found) != 1 or not (token := self.owner):
            return False
        status, name = found[0].get("status", {}), found[0]["metadata"]["name"]
        return (
            self.world.condition("machine", name, "Launched").get("status") == "True"
            and status.get("providerID") == f"ssh://{self.host.name}/{token}"
            and self.host.path(f"{STATE}/machines/{token}/finished").exists()
        )


def stranger(rack: Rack) -> None:
    rack.offer(entry={"fingerprint": ""})


def vouch(rack: Rack, told: str) -> None:
    """By the very fingerprint that the message shows."""
    (shown,) = set(re.findall(r"ssh-ed25519 (SHA256:\S+?)[,;]", told))
    rack.offer(entry={"fingerprint": shown})


def reinstall(rack: Rack) -> None:
    known = rack.host.fingerprint
    rack.host.new_host_key()
    rack.host.cable.jolt()
    # Last: a class that is looked at before the key has changed is rightly found valid.
    rack.offer(entry={"fingerprint": known})


def lock(rack: Rack) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    rack.host.path(f"/throwaway/keys/{ADMIN}").write_text(other)
    rack.host.cable.jolt()
    rack.offer()


def unlock(rack: Rack, told: str) -> None:
    rack.host.path(f"/throwaway/keys/{ADMIN}").write_text(f"{rack.key}\n")


def ask(rack: Rack) -> None:
    rack.offer(entry={"user": ASKED})


def allow(rack: Rack, told: str) -> None:
    """By the very line that the message shows."""
    (line,) = set(re.findall(r"`([^`]*)`", told))
    rack.host.path("/etc/sudoers.d/zz-mended").write_text(f"{line}\n")


def hang(rack: Rack) -> None:
    rack.host.install("/throwaway/hang", "#!/bin/sh\nexec sleep 1000\n")
    rack.host.run("usermod", "--shell", "/throwaway/hang", ADMIN)
    rack.host.cable.jolt()
    rack.offer()


def wake(rack: Rack, told: str) -> None:
    rack.host.run("usermod", "--shell", "/bin/sh", ADMIN)


NEEDS_LICENCE = "test -e /srv/licence || { echo /srv/licence is missing >&2; exit 7; }"


def unlicensed(rack: Rack) -> None:
    rack.offer(provisioning={"commands": ["true", NEEDS_LICENCE]})


def license_it(rack: Rack, told: str) -> None:
    rack.host.install("/srv/licence", "")


def take(rack: Rack) -> None:
    """Another set has the only host."""
    rack.offer()
    rack.world.node_set(f"{rack.name}-holder", rack.name, replicas=1)
    rack.world.wait(lambda: rack.owner != "", "another set has the host")


def give_back(rack: Rack, told: str) -> None:
    rack.world.delete("nodeset", f"{rack.name}-holder")


def silence(rack: Rack) -> None:
    rack.host.install("/usr/local/bin/journalctl", f"#!/bin/sh\necho '{KUBELET_SAYS}'\n")
    rack.offer(launchTimeoutSeconds=8)


def patience(rack: Rack, told: str) -> None:
    rack.offer(launchTimeoutSeconds=600)


WAITS = "echo began >>/srv/began; while [ ! -e /srv/go ]; do sleep 0.1; done; echo ended >>/srv/ended"


def begin(rack: Rack) -> None:
    rack.offer(provisioning={"commands": [WAITS]}, launchTimeoutSeconds=20)


def die(rack: Rack) -> None:
    rack.world.wait(lambda: rack.host.path("/srv/began").exists(), "a step has begun")
    rack.host.power_off()


def come_back(rack: Rack, told: str) -> None:
    rack.host.power_on()
    rack.host.install("/srv/go", "")
