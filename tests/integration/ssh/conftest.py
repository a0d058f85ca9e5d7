"""Throw-away hosts and a key that opens them; without root or sshd every test here says what is missing.

They are skipped then; with CI=true in the environment that is a failure.
"""

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncssh
import pytest
from testbed import throwaway_host
from testbed.throwaway_host import ThrowawayHost

sys.path.insert(0, str(Path(__file__).parent))

from ssh_hosts import Site

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nodeset-provider" / "packages"


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


@pytest.fixture(scope="module")
def shared_hosts(make_hosts: Callable[..., list[ThrowawayHost]]) -> list[ThrowawayHost]:
    """For a whole file, whose tests leave them as they were or have them cleaned by ``site``."""
    return make_hosts(5)


@pytest.fixture
async def site(shared_hosts: list[ThrowawayHost], key: asyncssh.SSHKey) -> AsyncIterator[Site]:
    """One clean host and a driver for it."""
    async with Site(shared_hosts[:1], key) as site:
        yield site


@pytest.fixture
async def large_site(shared_hosts: list[ThrowawayHost], key: asyncssh.SSHKey) -> AsyncIterator[Site]:
    """As ``site``, with five hosts."""
    async with Site(shared_hosts, key) as site:
        yield site
