"""Whatever stands in a config, the description of its machine is XML that says it, and the token ties all of it."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nodeset_driver_libvirt.config import Config, ExtraXML, parse_config
from nodeset_driver_libvirt.domain_xml import Paths, domain_xml, trial_xml
from nodeset_driver_libvirt.identity import Belonging, Names, names_of, names_of_provider_id, read_belonging

from nodeset_provider.driverkit.errors import InvalidSpec

TOKEN = "0f0e0d0c-0b0a-4908-8706-050403020100"
PATHS = Paths(disk="/pool/disk", console="/pool/console", seed="/pool/seed")


def belonging(machine: str = "web-1", cluster: str = "c") -> Belonging:
    return Belonging(cluster=cluster, machine=machine, token=TOKEN, pool="default", created_at=1.5)


def config(**more: object) -> Config:
    return parse_config({"image": "i", "memory": "1Gi", "vcpus": 2, **more})


def build(of: Config, *, paths: Paths = PATHS, kvm: bool = True, owner: Belonging | None = None) -> ET.Element:
    return ET.fromstring(domain_xml(of, Names(TOKEN), owner or belonging(), paths, kvm=kvm))


def test_machine_is_tied_to_its_token() -> None:
    root = build(config())
    assert root.findtext("uuid") == TOKEN
    assert root.findtext("name") == f"web-1.{TOKEN}"
    assert read_belonging(root) == belonging()


def test_memory_cpus_and_network_are_the_configs() -> None:
    root = build(config(network="lab"))
    memory = root.find("memory")
    assert memory is not None
    assert (memory.text, memory.get("unit"), root.findtext("vcpu")) == (str(1024 * 1024), "KiB", "2")
    assert root.find("devices/interface[@type='network']/source[@network='lab']") is not None
    assert build(config(bridge="br0")).find("devices/interface[@type='bridge']/source[@bridge='br0']") is not None


def test_emulation_has_every_feature_it_can_emulate() -> None:
    emulated, real = build(config(), kvm=False), build(config(cpuMode="host-model"))
    assert (emulated.get("type"), emulated.find("cpu[@mode='maximum']") is not None) == ("qemu", True)
    assert (real.get("type"), real.find("cpu[@mode='host-model']") is not None) == ("kvm", True)


def test_ignition_comes_by_firmware_and_without_a_medium() -> None:
    root = build(config(), paths=Paths(disk="/d", console="/c", ignition="/pool/i.json"))
    entries = {entry.get("name"): entry.get("file") for entry in root.iterfind("sysinfo[@type='fwcfg']/entry")}
    assert entries == {"opt/com.coreos/config": "/pool/i.json", "opt/org.flatcar-linux/config": "/pool/i.json"}
    assert len(root.findall("devices/disk")) == 1


def test_kernel_is_booted_directly_where_it_is_given() -> None:
    of = config(kernel="k", initrd="i", kernelCommandLine="root=/dev/vda rw")
    root = build(of, paths=Paths(disk="/d", console="/c", kernel="/pool/k", initrd="/pool/i"))
    assert (root.findtext("os/kernel"), root.findtext("os/initrd"), root.findtext("os/cmdline")) == (
        "/pool/k",
        "/pool/i",
        "root=/dev/vda rw",
    )


def test_extra_xml_stands_beside_the_drivers_own() -> None:
    extra = {"domain": "<features><hyperv/></features><qemu:commandline/>", "devices": "<watchdog/><hostdev/>"}
    root = build(config(extraXML=extra))
    assert [child.tag for child in root.findall("features/*")] == ["acpi", "apic", "hyperv"]
    assert root.find("devices/watchdog") is not None
    assert root.find("{http://libvirt.org/schemas/domain/qemu/1.0}commandline") is not None


HOSTILE = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"), max_size=200
)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_hostile_text_is_only_text(line: str, path: str, machine: str) -> None:
    of = Config(image="i", memory="1Gi", vcpus=1, kernel="k", kernel_command_line=line, network=machine or "n")
    paths = Paths(disk=path or "/d", console="/c", kernel="/k")
    root = build(of, paths=paths, owner=belonging(machine, line))
    assert (root.findtext("os/cmdline") or "") == line
    disk = root.find("devices/disk/source")
    assert disk is not None
    assert disk.get("file") == paths.disk
    assert read_belonging(root) == belonging(machine, line)
    assert len(root) == len(build(config()))


@given(st.text(max_size=60), st.text(max_size=60))
def test_fragment_is_read_or_refused_and_never_leaves_its_place(domain: str, devices: str) -> None:
    try:
        of = config(extraXML={"domain": domain, "devices": devices})
    except InvalidSpec:
        return
    root = build(of)
    assert root.findtext("uuid") == TOKEN
    assert len(root.findall("devices")) == 1
    assert of.extra_xml == ExtraXML(domain, devices)


def test_trial_ends_by_itself_where_a_processor_runs_it() -> None:
    root = ET.fromstring(trial_xml(name="t", machine="q35", cpu_mode="host-model"))
    assert root.get("type") == "kvm"
    assert root.find("os/bios[@rebootTimeout='0']") is not None
    assert root.findtext("on_reboot") == "destroy"


def test_everything_of_a_machine_is_named_by_its_token_alone() -> None:
    names = names_of(TOKEN)
    assert all(name.startswith(f"nodeset-{TOKEN}") for name in (names.disk, names.seed, names.ignition, names.console))
    assert names.provider_id == f"libvirt:///{TOKEN}"
    assert names_of_provider_id(names.provider_id) == names


@given(st.uuids(version=4))
def test_mac_address_is_local_to_one_interface(token: object) -> None:
    first = int(Names(str(token)).mac.partition(":")[0], 16)
    assert (first & 1, first & 2) == (0, 2)


@pytest.mark.parametrize(
    "token", ["", "x", TOKEN.upper(), f"{{{TOKEN}}}", TOKEN.replace("-", ""), "../" + TOKEN, "0" * 8]
)
def test_token_that_is_no_uuid_names_nothing(token: str) -> None:
    with pytest.raises(InvalidSpec):
        names_of(token)
    with pytest.raises(InvalidSpec):
        names_of_provider_id(f"libvirt:///{token}")


def test_domain_of_somebody_else_belongs_to_nobody() -> None:
    assert read_belonging(ET.fromstring("<domain><metadata><x xmlns='y'/></metadata></domain>")) is None
    assert read_belonging(ET.fromstring("<domain/>")) is None
