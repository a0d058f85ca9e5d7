"""Fixtures of all integration tests: a real control plane for the whole run, a namespace for each test, hosts over SSH.

Tests of hosts are skipped where this machine can make none, and it says what is missing; with CI=true in the
environment that is a failure.
"""

import itertools
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from testbed import throwaway_host
from testbed.binaries import Assets, MissingBinariesError
from testbed.cluster import Cluster
from testbed.controlplane import ControlPlane
from testbed.throwaway_host import ThrowawayHost

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nodeset-provider" / "packages"
_numbers = itertools.count(1)
_started: list[ControlPlane] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the control plane's logs when a test fails, and say in its report where they are."""
    report = yield
    if report.failed:
        for control_plane in _started:
            control_plane.failed = True
            report.sections.append(("control plane logs", str(control_plane.logs)))
    return report


@pytest.fixture(scope="session")
def assets() -> Assets:
    """The programs of the testbed. A run without them has tested nothing, so that is an error and no skip."""
    try:
        return Assets.locate()
    except MissingBinariesError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.fixture(scope="session")
def control_plane(assets: Assets) -> Iterator[ControlPlane]:
    """One real control plane, shared by all tests of this process: leave nothing behind in it."""
    with ControlPlane(assets=assets) as control_plane:
        _started.append(control_plane)
        yield control_plane
        _started.remove(control_plane)


@pytest.fixture(scope="module")
def cluster(assets: Assets, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Control plane, cloud, kubelets and provider for the tests of one file: NodeSets of other files are not in it.

    ``pytestmark = pytest.mark.parametrize("cluster", [{…}], indirect=True)`` passes options to the `Cluster`.
    """
    options: dict[str, Any] = getattr(request, "param", {})
    with Cluster(assets=assets, **options) as cluster:
        _started.append(cluster.control_plane)
        yield cluster
        _started.remove(cluster.control_plane)


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A fresh namespace that goes with the test."""
    name = f"test-{next(_numbers)}"
    control_plane.kubectl("create", "namespace", name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def sudo() -> Path | None:
    reason = throwaway_host.missing()
    try:
        package = None if reason else throwaway_host.sudo_package(CACHE)
    except throwaway_host.MissingError as error:
        reason = str(error)
    if reason and os.environ.get("CI"):
        pytest.fail(f"nothing may be skipped in CI, and {reason}", pytrace=False)
    if reason:
        pytest.skip(reason)
    return package


@pytest.fixture(scope="session")
def key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


@pytest.fixture(scope="module")
def make_hosts(
    sudo: Path | None, key: asyncssh.SSHKey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., list[ThrowawayHost]]]:
    with ExitStack() as stack:

        def make(count: int, **options: int) -> list[ThrowawayHost]:
            folder = tmp_path_factory.mktemp("hosts")
            authorized = key.export_public_key().decode().strip()
            return [
                stack.enter_context(ThrowawayHost(folder / name, name, authorized_key=authorized, sudo=sudo, **options))
                for name in (f"host-{number}" for number in range(count))
            ]

        yield make
