"""Makes the small world of these tests importable, and its parts fixtures."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from autoscaler_world import World, served


@pytest.fixture
async def world() -> World:
    """An API server, caches that follow it at once, and a front door."""
    return World()


@pytest.fixture
async def address(world: World) -> AsyncIterator[str]:
    """The world's front door behind a real gRPC server."""
    async with served(world.front_door) as where:
        yield where
