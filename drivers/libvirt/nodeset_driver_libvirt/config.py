"""NodeClass.spec.config of driver ``libvirt``, strictly read. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from nodeset_driver_libvirt.fragments import check_fragments
from nodeset_driver_libvirt.sizes import GIB, MIB, human, parse_size
from nodeset_driver_libvirt.uri import DEFAULT_URI, Target, parse_uri
from nodeset_provider.driverkit.config import convert
from nodeset_provider.driverkit.errors import InvalidSpec

DEFAULT_POOL: Final = "default"
DEFAULT_NETWORK: Final = "default"

_MEMORY: Final = (32 * MIB, 16 * 1024 * GIB)
_DISK: Final = (MIB, 1024 * 1024 * GIB)
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]{0,119}")
_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_MACHINE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")
_BRIDGE: Final = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_COMMAND_LINE_LIMIT: Final = 2000
"""Linux takes 2048 bytes on x86."""


class ExtraXML(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Elements in libvirt's own words, for what the other keys cannot say."""

    domain: str = ""
    devices: str = ""

    @property
    def is_given(self) -> bool:
        """Whether there is anything in it."""
        return bool(self.domain.strip() or self.devices.strip())


class Config(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What a machine is made of, and where."""

    image: str
    """A volume of the pool by its name, or of any pool by its path: raw or qcow2."""
    memory: int | str
    vcpus: int
    uri: str = DEFAULT_URI
    pool: str = DEFAULT_POOL
    """Where the machine's disks are made."""
    disk: int | str = ""
    """Size of the machine's disk; empty: that of the image."""
    overcommit_disk: bool = False
    """Do not set the whole disk aside: the pool may then become full while machines run."""
    network: str = ""
    """A network of libvirt; ``default`` unless ``bridge`` is given."""
    bridge: str = ""
    """A bridge of the host."""
    kernel: str = ""
    """Boot this kernel (a volume, as ``image``) and not the image's boot loader."""
    initrd: str = ""
    kernel_command_line: str = ""
    acceleration: Literal["auto", "kvm", "tcg"] = "auto"
    cpu_mode: Literal["host-passthrough", "host-model", "maximum"] = "host-passthrough"
    """With KVM; emulation always has every feature it can emulate (``maximum``)."""
    machine: str = "q35"
    firmware: Literal["bios", "efi"] = "bios"
    extra_xml: ExtraXML = msgspec.field(default_factory=ExtraXML, name="extraXML")
    zone: str = ""
    region: str = ""
    instance_type: str = ""
    """The Node's instance-type label; empty: made of vcpus and memory."""

    @property
    def target(self) -> Target:
        """Which libvirt."""
        return parse_uri(self.uri)

    @property
    def memory_bytes(self) -> int:
        """Of the whole virtual machine."""
        return parse_size(self.memory)

    @property
    def disk_bytes(self) -> int:
        """0: as large as the image."""
        return parse_size(self.disk) if self.disk != "" else 0

    @property
    def network_name(self) -> str:
        """Empty where a bridge is used."""
        return self.network or ("" if self.bridge else DEFAULT_NETWORK)


class Location(msgspec.Struct, frozen=True):
    """Where to look for a machine."""

    target: Target
    pool: str


_FIELDS: Final = {field.encode_name: field for field in msgspec.structs.fields(Config)}
_REQUIRED: Final = {
    "image": "the name of a volume of the pool, from which machines boot",
    "memory": "a size such as 2Gi",
    "vcpus": "a number of virtual CPUs",
}


def parse_location(config: Mapping[str, Any]) -> Location:
    """Only what says where: a machine is found and deleted whatever else has become wrong in its config."""
    uri, pool = config.get("uri", DEFAULT_URI), config.get("pool", DEFAULT_POOL)
    if not isinstance(uri, str):
        raise InvalidSpec("uri is a text", field="uri")
    return Location(parse_uri(uri), pool if isinstance(pool, str) and _NAME.fullmatch(pool) else DEFAULT_POOL)


def parse_config(config: Mapping[str, Any]) -> Config:
    """Raises InvalidSpec that names the key and what it may be."""
    for key in config:
        if key not in _FIELDS:
            near = difflib.get_close_matches(str(key), _FIELDS, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(_FIELDS)}"
            raise InvalidSpec(f"unknown key {str(key)[:60]!r}; {hint}", field=str(key)[:60])
    for key, what in _REQUIRED.items():
        if config.get(key) in (None, ""):
            raise InvalidSpec(f"{key} is missing: {what}", field=key)
    parsed = convert(config, Config)
    _check(parsed)
    return parsed


def _check(config: Config) -> None:
    parse_uri(config.uri)
    _check_size("memory", config.memory, _MEMORY)
    if config.disk != "":
        _check_size("disk", config.disk, _DISK)
    if not 1 <= config.vcpus <= 512:  # noqa: PLR2004 - what QEMU can at the most
        raise InvalidSpec("vcpus must be from 1 to 512", field="vcpus")
    _check_text("pool", config.pool, _NAME, "the name of a storage pool (`virsh pool-list --all`)")
    for field, volume in (("image", config.image), ("kernel", config.kernel), ("initrd", config.initrd)):
        if volume and not _is_volume(volume):
            raise InvalidSpec(f"{field} is the name of a volume or the absolute path of one", field=field)
    if config.network and config.bridge:
        raise InvalidSpec("network and bridge exclude each other; keep one of them", field="bridge")
    _check_text("network", config.network, _NAME, "the name of a network (`virsh net-list --all`)", empty=True)
    _check_text("bridge", config.bridge, _BRIDGE, "the name of a bridge of the host", empty=True)
    _check_text("machine", config.machine, _MACHINE, "a machine type of QEMU, such as q35")
    for field, label in (("zone", config.zone), ("region", config.region), ("instanceType", config.instance_type)):
        _check_text(field, label, _LABEL, "the value of a label: letters, digits, dots and dashes", empty=True)
    for field, value in (("initrd", config.initrd), ("kernelCommandLine", config.kernel_command_line)):
        if value and not config.kernel:
            raise InvalidSpec(f"{field} goes with kernel, which is not set", field=field)
    line = config.kernel_command_line
    if not line.isprintable() or len(line.encode()) > _COMMAND_LINE_LIMIT:
        raise InvalidSpec(
            f"kernelCommandLine is one line of at most {_COMMAND_LINE_LIMIT} bytes", field="kernelCommandLine"
        )
    check_fragments(config.extra_xml.domain, config.extra_xml.devices)


def _check_size(field: str, text: int | str, limits: tuple[int, int]) -> None:
    try:
        size = parse_size(text)
    except ValueError as error:
        raise InvalidSpec(f"{field}: {error}", field=field) from None
    least, most = limits
    if not least <= size <= most:
        raise InvalidSpec(f"{field} must be from {human(least)} to {human(most)}, and is {human(size)}", field=field)


def _check_text(field: str, text: str, pattern: re.Pattern[str], what: str, *, empty: bool = False) -> None:
    if not (empty and not text) and not pattern.fullmatch(text):
        raise InvalidSpec(f"{field} is {what}", field=field)


def _is_volume(text: str) -> bool:
    if not text.isprintable() or len(text) > 1000:  # noqa: PLR2004 - a path has 4096 bytes at most, a name 255
        return False
    return text.startswith("/") if "/" in text else not text.startswith(".")
