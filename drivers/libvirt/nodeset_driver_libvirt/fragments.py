"""``extraXML`` of the config: elements a person adds to a machine's description, in libvirt's own words. Pure.

What the driver itself writes cannot be said a second time: of two, libvirt would take one without a word.
"""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree as ET

from nodeset_provider.driverkit.errors import InvalidSpec

QEMU_NAMESPACE: Final = "http://libvirt.org/schemas/domain/qemu/1.0"
_LIMIT: Final = 16384
_TAKEN: Final = {
    "name": "the machine's",
    "uuid": "the machine's",
    "metadata": "the machine's",
    "memory": "key memory",
    "currentMemory": "key memory",
    "maxMemory": "key memory",
    "vcpu": "key vcpus",
    "os": "keys firmware, machine and kernel",
    "cpu": "key cpuMode",
    "sysinfo": "the machine's, for Ignition",
    "devices": "extraXML.devices",
    "on_poweroff": "the driver's",
    "on_reboot": "the driver's",
    "on_crash": "the driver's",
    "clock": "the driver's",
}


def parse_fragment(text: str, field: str) -> list[ET.Element]:
    """The elements of a fragment; the prefix ``qemu:`` may be used. Raises InvalidSpec with the line that is wrong."""
    if len(text) > _LIMIT:
        raise InvalidSpec(f"{field} has more than {_LIMIT} characters", field=field)
    try:
        # Inside an element no document type can be declared, so no entity can be either.
        root = ET.fromstring(f"<fragment xmlns:qemu='{QEMU_NAMESPACE}'>{text}</fragment>")  # noqa: S314
    except (ET.ParseError, ValueError) as error:
        raise InvalidSpec(f"{field} is not well-formed XML: {error}", field=field) from None
    stray = [piece for piece in (root.text, *(child.tail for child in root)) if piece and piece.strip()]
    if stray:
        raise InvalidSpec(f"{field} has text outside of elements: {stray[0].strip()[:40]!r}", field=field)
    return list(root)


def check_fragments(domain: str, devices: str) -> None:
    """Raises InvalidSpec for what is no XML, or would say again what the driver says."""
    for element in parse_fragment(domain, "extraXML.domain"):
        if element.tag in _TAKEN:
            raise InvalidSpec(
                f"extraXML.domain has an element <{element.tag}>, which is {_TAKEN[element.tag]}",
                field="extraXML.domain",
            )
    parse_fragment(devices, "extraXML.devices")
