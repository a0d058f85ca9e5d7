"""Makes and deletes Machine objects for a NodeSet, never one twice, whatever the API server answers.

A create whose answer is lost is repeated *under the same name*: the API server then says whether it took effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from nodeset_provider.api.machine import Machine, MachineSpec
from nodeset_provider.api.names import (
    API_VERSION,
    FINALIZER_MACHINE,
    LABEL_NODE_CLASS,
    LABEL_NODESET,
    LABEL_TEMPLATE_HASH,
)
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.controllers import metrics
from nodeset_provider.controllers.api import Api
from nodeset_provider.controllers.births import Births
from nodeset_provider.controllers.leading import NotLeading
from nodeset_provider.controllers.resolver import Resolution
from nodeset_provider.kube.errors import AlreadyExists, ApiError, Conflict, NotFound, Unavailable, Unreadable
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import MACHINES

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_SUFFIX_LENGTH = 5


class MachineMaker:
    """``wake`` has a Machine looked at once it is known who made it."""

    def __init__(
        self,
        *,
        client: Api,
        machines: Informer[Machine],
        births: Births,
        random: Random,
        wake: Callable[[Machine], None],
    ) -> None:
        self._client = client
        self._machines = machines
        self._births = births
        self._random = random
        self._wake = wake

    async def make(self, nodeset: NodeSet, resolution: Resolution, count: int, pending: list[str]) -> ApiError | None:
        """Make ``count`` Machines; the names in ``pending`` are tried first, and names left in doubt are put there.

        Returns the API server's objection where there is one; some may have been made nevertheless.
        """
        names, pending[:count] = pending[:count], []
        while len(names) < count:
            name = self._name(nodeset.metadata.name)
            if self._machines.get(name) is None and not self._births.is_announced(name):
                self._births.announce(name)
                names.append(name)
        results = await asyncio.gather(*(self._make(nodeset, resolution, name, pending) for name in names))
        return next((error for error in results if error is not None), None)

    async def delete(self, machines: Sequence[Machine]) -> tuple[Machine, ApiError] | None:
        """Ask for the deletion of these very Machines; their finalizers keep them until the cloud's machines are gone.

        Every one is tried. Returns the first that the API server did not take away, with its objection.
        """
        errors = await asyncio.gather(*(self._delete(machine) for machine in machines))
        refused = ((machine, error) for machine, error in zip(machines, errors, strict=True) if error is not None)
        return next(refused, None)

    async def _delete(self, machine: Machine) -> ApiError | None:
        try:
            going = await self._client.delete(MACHINES, machine.metadata.name, uid=machine.metadata.uid)
        except (NotFound, Conflict):
            return None
        except NotLeading:
            raise
        except ApiError as error:
            return error
        if going is not None:
            self._machines.observe(going)
        return None

    def settle_pending(self, pending: list[str]) -> None:
        """A Machine that turned up after all need not be tried again."""
        pending[:] = [name for name in pending if self._machines.get(name) is None]

    async def _make(self, nodeset: NodeSet, resolution: Resolution, name: str, pending: list[str]) -> ApiError | None:
        self._births.announce(name)
        try:
            machine = await self._client.create(MACHINES, manifest(nodeset, resolution, name))
        except AlreadyExists:
            return await self._adopt(name, pending)
        except (Unavailable, Unreadable) as error:
            self._doubt(name, pending)
            return error
        except NotLeading:
            self._births.settle(name)
            raise
        except ApiError as error:
            self._births.settle(name)
            return error
        except BaseException:
            self._doubt(name, pending)
            raise
        self._births.settle(name, machine.metadata.uid)
        self._machines.observe(machine)
        self._wake(machine)
        metrics.MACHINES_CREATED.labels(nodeset.metadata.name).inc()
        return None

    async def _adopt(self, name: str, pending: list[str]) -> ApiError | None:
        """It was made by an earlier try, or the name was taken: whose it is, its owner reference says."""
        try:
            machine = await self._client.get(MACHINES, name)
        except NotFound:
            self._births.settle(name)
            return None
        except ApiError as error:
            self._doubt(name, pending)
            return error
        self._births.settle(name)
        self._machines.observe(machine)
        self._wake(machine)
        return None

    def _doubt(self, name: str, pending: list[str]) -> None:
        """Tried again under the same name; what turns up under it until then is anybody's.

        It must not wait for the next try: its set may be deleted by then, and the Machine with it.
        """
        pending.append(name)
        self._births.settle(name)
        machine = self._machines.get(name)
        if machine is not None:
            self._wake(machine)

    def _name(self, nodeset: str) -> str:
        return f"{nodeset}-{''.join(self._random.choices(_ALPHABET, k=_SUFFIX_LENGTH))}"


def manifest(nodeset: NodeSet, resolution: Resolution, name: str) -> dict[str, Any]:
    """The body of a new Machine. The finalizer is there from the first moment (design §5 rule 1)."""
    return {
        "metadata": {
            "name": name,
            "labels": {
                LABEL_NODESET: nodeset.metadata.name,
                LABEL_NODE_CLASS: resolution.template.node_class_name,
                LABEL_TEMPLATE_HASH: resolution.hash,
            },
            "finalizers": [FINALIZER_MACHINE],
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "NodeSet",
                    "name": nodeset.metadata.name,
                    "uid": nodeset.metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": MachineSpec(node_name=name, template=resolution.template),
    }
