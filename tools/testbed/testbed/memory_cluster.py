"""The API server in memory with what the controllers rely on besides: UIDs, generations, finalizers, deletion times."""

from __future__ import annotations

import copy
import uuid
from typing import Any

import msgspec

from nodeset_provider.kube.codec import codec_for
from nodeset_provider.kube.errors import Conflict, NotFound
from nodeset_provider.kube.resources import Resource, T
from testbed.memory_api import MemoryApi, MemoryClient

Body = dict[str, Any]

_UIDS = uuid.UUID("6f0e7c1e-0000-4000-8000-000000000000")


class ClusterApi(MemoryApi):
    """As MemoryApi; an object that is being deleted goes with its last finalizer."""

    def __init__(self) -> None:
        super().__init__()
        self.write("/api/v1/namespaces", "kube-system", {})

    def write(self, base: str, name: str, body: Body) -> Body:
        """Store the object with the next version; without finalizers and with a deletion time it is removed instead."""
        old = self.objects.get((base, name))
        self.version += 1
        before = old["metadata"] if old else {}
        metadata = {
            **body.get("metadata", {}),
            "name": name,
            "uid": before.get("uid") or str(uuid.uuid5(_UIDS, f"{base}/{name}/{self.version}")),
            "resourceVersion": str(self.version),
            "creationTimestamp": before.get("creationTimestamp")
            or body.get("metadata", {}).get("creationTimestamp", "2026-01-01T00:00:00Z"),
            "generation": before.get("generation", 0) + (not old or old.get("spec") != body.get("spec")),
        }
        if "stringData" in body:
            data = {key: _base64(text) for key, text in body["stringData"].items()}
            body = {**{k: v for k, v in body.items() if k != "stringData"}, "data": {**body.get("data", {}), **data}}
        stored = {**body, "metadata": metadata}
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            del self.objects[base, name]
            self._record(base, "DELETED", stored)
        else:
            self.objects[base, name] = stored
            self._record(base, "MODIFIED" if old else "ADDED", stored)
        return copy.deepcopy(stored)

    def delete(self, base: str, name: str) -> Body | None:
        """DELETE: the object as it goes on to exist, None where it is gone."""
        body = self.objects[base, name]
        if not body["metadata"].get("finalizers"):
            self.remove(base, name)
            return None
        if not body["metadata"].get("deletionTimestamp"):
            metadata = {**body["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
            body = self.write(base, name, {**body, "metadata": metadata})
        return copy.deepcopy(body)


class ClusterClient(MemoryClient):
    """One user of a ClusterApi."""

    api: ClusterApi

    async def delete(self, resource: Resource[T], name: str, *, uid: str = "", resource_version: str = "") -> T | None:
        """As Client."""
        await self._begin("delete", name)
        body = self.api.objects.get((resource.path(), name))
        if body is None:
            raise NotFound(404, "NotFound", f"{resource} {name} not found")
        if (uid and uid != body["metadata"]["uid"]) or (
            resource_version and resource_version != body["metadata"]["resourceVersion"]
        ):
            raise Conflict(409, "Conflict", "the precondition does not hold")
        going = self.api.delete(resource.path(), name)
        self._lose_answer()
        return None if going is None else codec_for(resource).object(msgspec.json.encode(going))


def _base64(text: str) -> str:
    return msgspec.json.encode(text.encode()).decode().strip('"')
