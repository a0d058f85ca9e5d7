"""The testbed's libvirtd keeps its promises: side by side, nothing of the machine's, nothing left."""

import subprocess
from pathlib import Path

import pytest
from testbed.libvirtd import Libvirtd
from testbed.processes import wait_until

GUEST = """<domain type='qemu'><name>guest</name><memory unit='MiB'>32</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices><interface type='network'><source network='default'/>
</interface></devices></domain>"""


@pytest.fixture(autouse=True)
def _usable() -> None:
    if Libvirtd.missing():
        pytest.skip(Libvirtd.missing())


def processes_of(folder: Path) -> list[str]:
    """Command lines of all processes whose mounts know of the folder, as every process of its namespaces does."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.name != "self" and f"{folder}/" in (process / "mountinfo").read_text():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def start_guest(libvirtd: Libvirtd, folder: Path) -> None:
    (folder / "guest.xml").write_text(GUEST)
    libvirtd.virsh("create", str(folder / "guest.xml"))


def test_two_run_side_by_side_each_with_its_own_network_and_pool(tmp_path: Path) -> None:
    with Libvirtd(tmp_path / "one") as one, Libvirtd(tmp_path / "two") as two:
        start_guest(one, tmp_path)
        assert one.virsh("list", "--name").split() == ["guest"]
        assert two.virsh("list", "--name").split() == []
        two.virsh("vol-create-as", "default", "volume", "4096")
        assert (two.pool_folder / "volume").exists()
        assert not (one.pool_folder / "volume").exists()
        inside = subprocess.run([*one.enter, "ip", "-4", "addr"], capture_output=True, text=True, check=True).stdout
        assert "192.168.122.1/24" in inside
    outside = subprocess.run(["ip", "-4", "addr"], capture_output=True, text=True, check=True).stdout
    assert "192.168.122.1/24" not in outside


def test_its_end_takes_guests_and_dnsmasq_along(tmp_path: Path) -> None:
    with Libvirtd(tmp_path) as libvirtd:
        start_guest(libvirtd, tmp_path)
        running = " ".join(processes_of(tmp_path))
        assert all(name in running for name in ("libvirtd", "dnsmasq", "qemu-system-x86_64"))
        socket = libvirtd.socket
    wait_until(lambda: not processes_of(tmp_path), timeout=10, what="all processes were gone")
    assert not socket.parent.exists()


def test_daemon_that_was_killed_comes_back_to_its_guests(tmp_path: Path) -> None:
    with Libvirtd(tmp_path) as libvirtd:
        start_guest(libvirtd, tmp_path)
        libvirtd.kill()
        assert "qemu-system-x86_64" in " ".join(processes_of(tmp_path))
        libvirtd.start()
        assert libvirtd.virsh("domstate", "guest").strip() == "running"


def test_pool_can_be_given_a_size(tmp_path: Path) -> None:
    with Libvirtd(tmp_path, pool_bytes=8 << 20) as libvirtd:
        assert libvirtd.virsh("pool-info", "default", "--bytes").split("Capacity:")[1].split()[0] == str(8 << 20)
