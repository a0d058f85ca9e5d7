"""Whether a host's processor runs its virtual machines, found out by trying, for a few seconds at most.

/dev/kvm exists on hosts where it does not work: in some virtual machines a guest hangs in it, or QEMU aborts. So a
machine without disks is started, which ends by itself once it has run. May touch: the host, one transient domain.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from nodeset_driver_libvirt.config import Config
from nodeset_driver_libvirt.domain_xml import trial_xml
from nodeset_driver_libvirt.failures import Code, shorten
from nodeset_driver_libvirt.guests import read_guests
from nodeset_driver_libvirt.library import Connection, Libvirt
from nodeset_provider.driverkit.errors import InvalidSpec

TRIAL_SECONDS: Final = 3.0
"""A processor that works needs a tenth of it; emulation does it in less, so one that is slower is not worth having."""
BELIEVED_SECONDS: Final = 600.0
"""After them a refusal is tried again: somebody may have turned virtualisation on."""
TRIAL_PREFIX: Final = "nodeset-kvm-trial-"

_POLL: Final = 0.05
_log = structlog.get_logger(__name__)


class Verdict(msgspec.Struct, frozen=True):
    """``why`` is for people, and empty where KVM works."""

    kvm: bool
    why: str = ""


class Accelerations:
    """What is known of one host, by CPU mode and machine type. ``clock`` tells monotonic seconds."""

    def __init__(self, libvirt: Libvirt, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._libvirt = libvirt
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], tuple[Verdict, float]] = {}

    def use_kvm(self, connection: Connection, config: Config) -> bool:
        """Whether machines of this config run on KVM. Raises InvalidSpec where it is demanded and does not work."""
        if config.acceleration == "tcg":
            return False
        verdict = self._verdict(connection, config)
        if config.acceleration == "kvm" and not verdict.kvm:
            raise InvalidSpec(
                f"{self._name} has no KVM that works: {verdict.why}; turn on virtualisation in its firmware (or nested "
                "virtualisation in the host above it), or allow emulation with `acceleration: auto`",
                field="acceleration",
            )
        return verdict.kvm

    def _verdict(self, connection: Connection, config: Config) -> Verdict:
        key = (config.cpu_mode, config.machine)
        with self._lock:  # one trial at a time; the others wait for its verdict
            known = self._known.get(key)
            if known is not None and (known[0].kvm or self._clock() - known[1] < BELIEVED_SECONDS):
                return known[0]
            verdict = try_kvm(self._libvirt, connection, cpu_mode=config.cpu_mode, machine=config.machine)
            self._known[key] = (verdict, self._clock())
            if verdict.kvm:
                _log.info("virtual machines run on KVM", host=self._name)
            else:
                _log.warning("virtual machines are emulated, which is slow: no KVM", host=self._name, why=verdict.why)
            return verdict


def try_kvm(libvirt: Libvirt, connection: Connection, *, cpu_mode: str, machine: str) -> Verdict:
    """Start a machine that ends by itself, and see whether it does. Raises libvirtError where libvirt is lost."""
    if not read_guests(connection.getCapabilities()).kvm:
        return Verdict(kvm=False, why="libvirt finds no usable /dev/kvm there")
    xml = trial_xml(name=f"{TRIAL_PREFIX}{uuid.uuid4()}", machine=machine, cpu_mode=cpu_mode)
    try:
        domain = connection.createXML(xml, libvirt.VIR_DOMAIN_START_AUTODESTROY)  # it goes with us, if we crash
    except libvirt.libvirtError as error:
        if not connection.isAlive():
            raise
        return Verdict(kvm=False, why=f"QEMU does not start with it: {shorten(error.get_error_message() or '')}")
    deadline = time.monotonic() + TRIAL_SECONDS
    try:
        while time.monotonic() < deadline:
            if domain.state(0)[0] == libvirt.VIR_DOMAIN_SHUTOFF:
                return Verdict(kvm=True)
            time.sleep(_POLL)
    except libvirt.libvirtError as error:
        if error.get_error_code() != Code.NO_DOMAIN:
            raise
        return Verdict(kvm=True)
    with contextlib.suppress(libvirt.libvirtError):
        domain.destroy()
    return Verdict(
        kvm=False, why=f"a machine that ends at once on a working one was not done with it after {TRIAL_SECONDS:g} s"
    )
