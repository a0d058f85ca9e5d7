"""One cluster of real machines for the whole run: `make e2e` brings what it needs, and runs it in a network of its own.

Where something is missing every test says what, and is skipped; with CI=true in the environment that is a failure.
"""

import os
from collections.abc import Generator, Iterator

import pytest
from testbed import node_image, real_cluster, timeline
from testbed.binaries import Assets, MissingBinariesError
from testbed.real_cluster import RealCluster
from testbed.real_world import RealWorld
from testbed.timeline import Step
from testbed.virtual_host import VirtualHost

_TIMELINES = pytest.StashKey[dict[str, list[Step]]]()
_TEST_SECONDS = 2400
_started: list[RealCluster] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Machines boot: what takes minutes on a busy computer is no hang."""
    for item in items:
        item.add_marker(pytest.mark.timeout(_TEST_SECONDS))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep logs and consoles when a test fails, and say in its report where they are."""
    report = yield
    if report.failed:
        for real in _started:
            real.control_plane.failed = True
            real.keep_consoles()
            report.sections.append(("logs and consoles", str(real.control_plane.logs)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """When each machine did what."""
    timelines = config.stash.get(_TIMELINES, {})
    if timelines:
        terminalreporter.section("timelines, in seconds")
        terminalreporter.write_line(timeline.table(timelines))


@pytest.fixture(scope="session")
def assets() -> Assets:
    """The programs of the testbed."""
    found: Assets | None
    try:
        found = Assets.locate()
    except MissingBinariesError:
        found = None
    reason = real_cluster.missing(found)
    if reason and os.environ.get("CI"):
        pytest.fail(f"nothing may be skipped in CI, and {reason}", pytrace=False)
    if reason or found is None:
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def real(assets: Assets) -> Iterator[RealCluster]:
    """The cluster. Its tests use names of their own and leave nothing behind."""
    image = node_image.located(assets)
    assert image is not None
    with RealCluster(assets, image) as real:
        _started.append(real)
        yield real
        _started.remove(real)


@pytest.fixture(scope="session")
def world(real: RealCluster, request: pytest.FixtureRequest) -> RealWorld:
    """Words for it."""
    world = RealWorld(real)
    request.config.stash[_TIMELINES] = world.timelines
    return world


@pytest.fixture(scope="session")
def metal(world: RealWorld) -> Iterator[VirtualHost]:
    """A machine that nobody made for the cluster; the ssh driver finds it with a login, and must leave it as it was."""
    with VirtualHost(world.real.libvirt, world.real.image, "bare-1") as host:
        world.metal_secret(host)
        yield host


@pytest.fixture
def autoscaler(world: RealWorld) -> Iterator[None]:
    """The real one where CLUSTER_AUTOSCALER names one, else the stand-in, as patient as machines are slow."""
    with world.autoscaler(flags=["--max-node-provision-time=20m", "--scale-down-unneeded-time=15s"]):
        yield
