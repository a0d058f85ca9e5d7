"""The simulated cloud (``cloud``, ``boot``: a server of its own process) and its driver (``driver``).

The two share nothing but the HTTP interface (``wire``). Of nodeset-provider they import the driverkit alone.
"""

from nodeset_driver_simulated.driver import SimulatedDriver, create_driver

__all__ = ["SimulatedDriver", "create_driver"]
