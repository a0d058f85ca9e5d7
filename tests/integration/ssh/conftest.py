"""Pools of throw-away hosts, and drivers for them."""

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncssh
import pytest
from testbed.throwaway_host import ThrowawayHost

sys.path.insert(0, str(Path(__file__).parent))

from ssh_hosts import Site


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
