"""What machines of a NodeSet would be, asked of the driver once and kept until somebody changes the class or the set.

Scaling up must not wait for a cloud's catalogue: a known resolution is used at once and renewed behind the scenes.
"""

from __future__ import annotations

from dataclasses import dataclass

from nodeset_provider.api.machine import MachineTemplate
from nodeset_provider.api.meta import find_condition
from nodeset_provider.api.names import CONDITION_VALID
from nodeset_provider.api.nodeclass import NodeClass, ResolvedTemplate
from nodeset_provider.controllers.asked import Asked
from nodeset_provider.controllers.drivers import AccountUnusable, Drivers
from nodeset_provider.controllers.template import (
    machine_template,
    merged_config,
    resolved_template,
    template_hash,
)
from nodeset_provider.driverkit.errors import DriverError, InvalidSpec
from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.request import ClusterAccess
from nodeset_provider.join.size import user_data_size

REFRESH_SECONDS = 300.0
"""Prices and catalogues change slowly."""
MENDED_ELSEWHERE_SECONDS = 60.0
"""How soon a config that the driver refused is tried again: an image or a flavor may appear without any edit."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """Everything that making a machine of the set needs."""

    template: MachineTemplate
    hash: str
    resolved: ResolvedTemplate


@dataclass(frozen=True, slots=True)
class Problem:
    """Why no machine can be made: a CamelCase reason and one line with the field and the remedy."""

    reason: str
    message: str
    passing: bool = False
    """Whether it may pass by itself soon (the driver is out of reach)."""


def class_problem(name: str, node_class: NodeClass | None, *, field: str = "spec.nodeClassName") -> Problem | None:
    """What the class of that name itself forbids; ``field`` is where it is named. Pure."""
    if node_class is None:
        return Problem(
            "NodeClassNotFound", f"{field}: NodeClass {name!r} does not exist; create it or name another one"
        )
    if node_class.metadata.deleting:
        return Problem("NodeClassDeleting", f"{field}: NodeClass {name!r} is being deleted; name another one")
    valid = find_condition(node_class.status.conditions, CONDITION_VALID)
    if valid is None or node_class.status.observed_generation < node_class.metadata.generation:
        return Problem("NodeClassPending", f"NodeClass {name} has not been validated yet", passing=True)
    if valid.status == "False":
        return Problem("NodeClassInvalid", f"NodeClass {name}: {valid.message}")
    if valid.status == "Unknown":
        return Problem("NodeClassPending", f"NodeClass {name}: {valid.message}", passing=True)
    return None


async def resolve(
    node_class: NodeClass, asked: Asked, drivers: Drivers, access: ClusterAccess, gpu_label: str
) -> Resolution | Problem:
    """Ask the driver. Raises ApiError where the credentials cannot be read at the moment."""
    name = node_class.metadata.name
    try:
        async with drivers.account(node_class.spec.driver, node_class.spec.credentials_ref) as account:
            offering = await account.resolve(merged_config(node_class, asked))
            delivery = account.delivery
        template = machine_template(node_class, asked, offering, gpu_label)
        too_large = user_data_size(template, access, delivery).problem
        if too_large:
            return Problem("UserDataTooLarge", f"NodeClass {name}: {too_large}")
        return Resolution(
            template,
            template_hash(node_class, asked),
            resolved_template(node_class, asked, offering, gpu_label),
        )
    except AccountUnusable as error:
        return Problem(error.code, f"NodeClass {name}: {error.message}")
    except InvalidSpec as error:
        return Problem("InvalidConfig", invalid_config(error))
    except DriverError as error:
        return Problem(error.code, f"driver {node_class.spec.driver}: {error.message}", passing=True)
    except InvalidJoin as error:
        return Problem("InvalidJoin", f"NodeClass {name}: {error.field}: {error.message}")


def invalid_config(error: InvalidSpec) -> str:
    """The driver's complaint with the path of the field in front."""
    return f"spec.config.{error.field}: {error.message}" if error.field else f"spec.config: {error.message}"


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a resolution depends on; equal inputs, same resolution."""

    node_class: NodeClass
    asked: Asked

    def same_as(self, other: Inputs | None) -> bool:
        """Whether nothing that matters changed: of the class its status does not."""
        return (
            other is not None
            and self.node_class.metadata.uid == other.node_class.metadata.uid
            and self.node_class.spec == other.node_class.spec
            and self.asked == other.asked
        )
