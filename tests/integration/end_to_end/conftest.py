"""A cluster of its own for a test of the whole chain, or one for all tests of a file."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testbed.binaries import Assets
from testbed.cluster import Cluster
from testbed.world import World

# Modules of tests stand beside them, as in the other folders.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def world(assets: Assets, request: pytest.FixtureRequest) -> Iterator[World]:
    """``@pytest.mark.parametrize("world", [{…}], indirect=True)`` passes options to the `Cluster`."""
    options: dict[str, Any] = getattr(request, "param", {})
    with Cluster(assets=assets, **options) as cluster:
        yield World(cluster)


@pytest.fixture(scope="module")
def shared(cluster: Cluster) -> World:
    """The cluster of this file: names of NodeSets are different in each test."""
    return World(cluster)
