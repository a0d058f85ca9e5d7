"""The stand-in's side of the API server: lists, and the one taint that it writes. Effects: HTTP calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar, cast

import msgspec
import urllib3
from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, load_config, new_client_from_config

from nodeset_provider.rehearsal.autoscale.kinds import TO_BE_DELETED, DaemonSet, Node, Page, Pod, Taint

T = TypeVar("T")

_TIMEOUT: Final = 10.0
_PAGE: Final = 500
_OK: Final = range(200, 300)


class ClusterError(Exception):
    """The API server did not do as asked; the message holds status and reason."""


class Cluster:
    """Pods, nodes and DaemonSets. Every call raises ClusterError."""

    def __init__(self, api: ApiClient, *, clock: Callable[[], float] = time.time) -> None:
        self._api = api
        self._clock = clock

    @classmethod
    def connect(cls, kubeconfig: Path | None) -> Cluster:
        """By ``kubeconfig``, else by KUBECONFIG, ~/.kube/config or as a pod of the cluster; raises ClusterError."""
        try:
            if kubeconfig is not None:
                return cls(new_client_from_config(config_file=str(kubeconfig)))  # type: ignore[no-untyped-call]
            load_config()  # type: ignore[no-untyped-call]
        except (ConfigException, OSError) as error:
            raise ClusterError(f"--kubeconfig: {error}") from error
        return cls(ApiClient())

    def nodes(self) -> list[Node]:
        """All nodes."""
        return self._list("/api/v1/nodes", Node)

    def pods(self, node: str = "") -> list[Pod]:
        """All pods, or those on ``node``."""
        return self._list("/api/v1/pods", Pod, fieldSelector=f"spec.nodeName={node}" if node else "")

    def daemon_sets(self) -> list[DaemonSet]:
        """All DaemonSets."""
        return self._list("/apis/apps/v1/daemonsets", DaemonSet)

    def mark_going(self, node: Node) -> Node:
        """Taints the node ToBeDeleted, if it is still as it was seen."""
        mark = Taint(TO_BE_DELETED, str(int(self._clock())), "NoSchedule")
        return self._write_taints(node, [*node.spec.taints, mark])

    def unmark_going(self, node: Node) -> Node:
        """Takes the taint off again."""
        return self._write_taints(node, [taint for taint in node.spec.taints if taint.key != TO_BE_DELETED])

    def _write_taints(self, node: Node, taints: list[Taint]) -> Node:
        body = {
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"taints": msgspec.to_builtins(taints)},
        }
        return self._send("PATCH", f"/api/v1/nodes/{node.metadata.name}", Node, body=body)

    def _list(self, path: str, kind: type[T], **query: str) -> list[T]:
        items: list[T] = []
        token = ""
        while True:
            selectors = {name: value for name, value in {**query, "continue": token}.items() if value}
            page = self._send("GET", path, Page[kind], query={"limit": str(_PAGE), **selectors})  # type: ignore[valid-type]
            items.extend(page.items)
            token = page.metadata.continue_
            if not token:
                return items

    def _send(
        self, method: str, path: str, kind: type[T], *, query: dict[str, str] | None = None, body: object = None
    ) -> T:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json"
        try:
            call = self._api.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = self._api.call_api(*call, _request_timeout=_TIMEOUT)
            data = cast("bytes", answer.read())  # type: ignore[no-untyped-call]
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            raise ClusterError(f"{method} {path}: {error}") from error
        if answer.status not in _OK:
            raise ClusterError(f"{method} {path}: {answer.status} {_message(data)}")
        return msgspec.json.decode(data, type=kind)


class _Status(msgspec.Struct):
    message: str = ""


def _message(data: bytes) -> str:
    try:
        return msgspec.json.decode(data, type=_Status).message
    except msgspec.DecodeError:
        return ""
