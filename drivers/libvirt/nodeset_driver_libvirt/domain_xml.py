"""The description of a virtual machine as libvirt reads it. Pure.

Every text goes through an XML writer; nothing is pasted together. Format: https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element, SubElement

import msgspec

from nodeset_driver_libvirt.config import Config
from nodeset_driver_libvirt.fragments import QEMU_NAMESPACE, parse_fragment
from nodeset_driver_libvirt.identity import Belonging, Names

ET.register_namespace("qemu", QEMU_NAMESPACE)

ARCHITECTURE: Final = "x86_64"

_IGNITION_KEYS: Final = ("opt/com.coreos/config", "opt/org.flatcar-linux/config")
"""Where Ignition of Fedora CoreOS and of Flatcar look (their documentation of QEMU)."""


class Paths(msgspec.Struct, frozen=True, kw_only=True):
    """Files on the host."""

    disk: str
    console: str
    seed: str = ""
    ignition: str = ""
    kernel: str = ""
    initrd: str = ""


def domain_xml(config: Config, names: Names, belonging: Belonging, paths: Paths, *, kvm: bool) -> str:
    """Of one machine. ``kvm``: whether the host's processor runs it, or an emulated one."""
    root = Element("domain", type="kvm" if kvm else "qemu")
    _text(root, "name", f"{belonging.machine}.{names.token}")
    _text(root, "uuid", names.token)
    SubElement(root, "metadata").append(belonging.to_xml())
    _text(root, "memory", str(config.memory_bytes // 1024), unit="KiB")
    _text(root, "vcpu", str(config.vcpus))
    root.append(_os(config, paths))
    if paths.ignition:
        sysinfo = SubElement(root, "sysinfo", type="fwcfg")
        for key in _IGNITION_KEYS:
            SubElement(sysinfo, "entry", name=key, file=paths.ignition)
    features = SubElement(root, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")
    SubElement(root, "cpu", mode=config.cpu_mode if kvm else "maximum")
    SubElement(root, "clock", offset="utc")
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        _text(root, f"on_{event}", action)
    devices = SubElement(root, "devices")
    devices.extend(_devices(config, names, paths))
    devices.extend(parse_fragment(config.extra_xml.devices, "extraXML.devices"))
    for element in parse_fragment(config.extra_xml.domain, "extraXML.domain"):
        if element.tag == "features":
            features.extend(element)
        else:
            root.append(element)
    return ET.tostring(root, encoding="unicode")


def trial_xml(*, name: str, machine: str, cpu_mode: str) -> str:
    """A machine that ends by itself at once where KVM really runs it.

    Its firmware finds nothing to boot, and after 0 ms starts the machine anew, which here means its end. So its end
    proves that a processor executed code; that it was started proves nothing.
    """
    root = Element("domain", type="kvm")
    _text(root, "name", name)
    _text(root, "memory", "32", unit="MiB")
    _text(root, "vcpu", "1")
    os = SubElement(root, "os")
    _text(os, "type", "hvm", arch=ARCHITECTURE, machine=machine)
    SubElement(os, "bios", rebootTimeout="0")
    SubElement(SubElement(root, "features"), "acpi")
    SubElement(root, "cpu", mode=cpu_mode)
    for event in ("poweroff", "reboot", "crash"):
        _text(root, f"on_{event}", "destroy")
    devices = SubElement(root, "devices")
    SubElement(devices, "controller", type="usb", model="none")
    SubElement(devices, "memballoon", model="none")
    return ET.tostring(root, encoding="unicode")


def _os(config: Config, paths: Paths) -> Element:
    os = Element("os", {"firmware": "efi"} if config.firmware == "efi" else {})
    _text(os, "type", "hvm", arch=ARCHITECTURE, machine=config.machine)
    if paths.kernel:
        _text(os, "kernel", paths.kernel)
        if paths.initrd:
            _text(os, "initrd", paths.initrd)
        if config.kernel_command_line:
            _text(os, "cmdline", config.kernel_command_line)
    SubElement(os, "boot", dev="hd")
    return os


def _devices(config: Config, names: Names, paths: Paths) -> list[Element]:
    devices = [_disk(paths.disk, "vda", "qcow2")]
    if paths.seed:
        seed = _disk(paths.seed, "vdb", "raw")
        SubElement(seed, "readonly")
        devices.append(seed)
    interface = Element("interface", type="bridge" if config.bridge else "network")
    if config.bridge:
        SubElement(interface, "source", bridge=config.bridge)
    else:
        SubElement(interface, "source", network=config.network_name)
    SubElement(interface, "mac", address=names.mac)
    SubElement(interface, "model", type="virtio")
    serial = Element("serial", type="pty")
    SubElement(serial, "log", file=paths.console, append="off")
    SubElement(serial, "target", port="0")
    console = Element("console", type="pty")
    SubElement(console, "target", type="serial", port="0")
    agent = Element("channel", type="unix")
    SubElement(agent, "target", type="virtio", name="org.qemu.guest_agent.0")
    rng = Element("rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    return [*devices, interface, serial, console, agent, rng, Element("memballoon", model="virtio")]


def _disk(path: str, target: str, kind: str) -> Element:
    disk = Element("disk", type="file", device="disk")
    # Writes are not forced to the host's disk: a machine is never started again after its host went down, so nothing
    # of it has to survive that.
    SubElement(disk, "driver", name="qemu", type=kind, cache="unsafe", discard="unmap")
    SubElement(disk, "source", file=path)
    SubElement(disk, "target", dev=target, bus="virtio")
    return disk


def _text(parent: Element, tag: str, text: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = text
