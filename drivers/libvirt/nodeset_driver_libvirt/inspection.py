"""What a config needs of its host, looked up before anything is made: pool, images, network, KVM.

May touch: the host, through a connection; runs in a worker thread. Makes nothing but the trial of KVM.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

import msgspec

from nodeset_driver_libvirt.acceleration import Accelerations
from nodeset_driver_libvirt.config import Config
from nodeset_driver_libvirt.domain_xml import ARCHITECTURE
from nodeset_driver_libvirt.failures import Code
from nodeset_driver_libvirt.guests import read_guests
from nodeset_driver_libvirt.library import Connection, Libvirt
from nodeset_driver_libvirt.sizes import human
from nodeset_driver_libvirt.storage import IMAGE_FORMATS, Image, Pool, find_image, find_pool
from nodeset_provider.driverkit.errors import InvalidSpec


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Everything is there."""

    pool: Pool
    image: Image
    disk_size: int
    kernel: str
    initrd: str
    kvm: bool


def inspect(
    libvirt: Libvirt, connection: Connection, config: Config, accelerations: Accelerations, where: str
) -> Found:
    """Raises InvalidSpec with the field and the remedy for what is not as the config says."""
    architecture = connection.getInfo()[0]
    if architecture != ARCHITECTURE:
        raise InvalidSpec(f"{where} is of architecture {architecture}; only {ARCHITECTURE} is served", field="uri")
    read_guests(connection.getCapabilities()).check(config, where)
    pool = find_pool(libvirt, connection, config.pool)
    if pool is None:
        raise InvalidSpec(
            f"{where} has no storage pool {config.pool}; `virsh pool-list --all` says which there are, "
            f"`virsh pool-define-as {config.pool} dir --target /path` makes one",
            field="pool",
        )
    image = find_image(libvirt, connection, pool, config.image, "image")
    if image.format not in IMAGE_FORMATS:
        raise InvalidSpec(
            f"image {config.image} is of format {image.format}; convert it with `qemu-img convert -O qcow2`",
            field="image",
        )
    size = config.disk_bytes or image.size
    if size < image.size:
        raise InvalidSpec(
            f"disk is {human(size)}, less than image {config.image}, which needs {human(image.size)}", field="disk"
        )
    kernel, initrd = (
        find_image(libvirt, connection, pool, text, field).path if text else ""
        for field, text in (("kernel", config.kernel), ("initrd", config.initrd))
    )
    if config.network_name:
        _check_network(libvirt, connection, config.network_name, where)
    kvm = accelerations.use_kvm(connection, config)
    return Found(pool=pool, image=image, disk_size=size, kernel=kernel, initrd=initrd, kvm=kvm)


def _check_network(libvirt: Libvirt, connection: Connection, name: str, where: str) -> None:
    try:
        network = connection.networkLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != Code.NO_NETWORK:
            raise
        raise InvalidSpec(
            f"{where} has no network {name}; `virsh net-list --all` says which there are", field="network"
        ) from None
    if not network.isActive():
        raise InvalidSpec(f"network {name} is down; start it with `virsh net-start {name}`", field="network")


def macs_of(description: ET.Element) -> frozenset[str]:
    """The MAC addresses of a domain."""
    return frozenset(
        mac.get("address", "").lower() for mac in description.iterfind("devices/interface/mac") if mac.get("address")
    )
