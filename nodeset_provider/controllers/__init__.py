"""The controllers: what NodeClasses, NodeSets and Machines say becomes machines.

Each is a pure ``decide`` and a thin rest that does what was decided. They know the API server and the driver contract;
neither the front door nor gRPC. ``run.Controllers`` puts them together for the leader.
"""

from nodeset_provider.controllers.config import ControllerConfig
from nodeset_provider.controllers.drivers import Drivers
from nodeset_provider.controllers.run import Controllers

__all__ = ["ControllerConfig", "Controllers", "Drivers"]
