"""Tests of the driver contract for whoever writes a driver: each numbered rule of ``driverkit.contract`` has its own.

Needs pytest and pytest-asyncio. In a test file of the driver::

    import pytest

    pytest.register_assert_rewrite("nodeset_provider.driverkit.conformance.rules")

    from nodeset_provider.driverkit.conformance import ContractTests, Harness


    class MyHarness(Harness): ...                  # how this driver's cloud is asked, counted and disturbed


    @pytest.fixture
    async def harness():
        async with MyHarness(...) as harness:
            yield harness


    class TestContract(ContractTests): ...
"""

from nodeset_provider.driverkit.conformance.harness import Harness
from nodeset_provider.driverkit.conformance.rules import ContractTests

__all__ = ["ContractTests", "Harness"]
