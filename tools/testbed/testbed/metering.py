"""Counts one account's writes by the API server's own metrics.

May touch: two objects of the control plane. The request counters know no users, but API Priority and Fairness counts by
FlowSchema, and a FlowSchema matches by user: one that catches exactly the writes of the account counts them. It sends
them to the exempt priority level, so that measuring does not slow them down.
"""

from __future__ import annotations

import json

from testbed.controlplane import ControlPlane

_WRITES = ["create", "update", "patch", "delete", "deletecollection"]


class WriteMeter:
    """``meter = WriteMeter(control_plane, user)``; then ``meter.count()`` as often as wanted.

    Args:
        control_plane: whose API server counts.
        user: as the API server knows it, as ``system:serviceaccount:nodeset-provider:nodeset-provider``.
        name: of the FlowSchema, for more than one meter.
    """

    def __init__(self, control_plane: ControlPlane, user: str, *, name: str = "testbed-writes") -> None:
        self._control_plane = control_plane
        self._name = name
        every_resource = {
            "apiGroups": ["*"],
            "resources": ["*"],
            "verbs": _WRITES,
            "clusterScope": True,
            "namespaces": ["*"],
        }
        schema = {
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
            "kind": "FlowSchema",
            "metadata": {"name": name},
            "spec": {
                # Before every schema of Kubernetes itself but "exempt" (1), which is for system:masters.
                "matchingPrecedence": 2,
                "priorityLevelConfiguration": {"name": "exempt"},
                "rules": [
                    {"subjects": [{"kind": "User", "user": {"name": user}}], "resourceRules": [every_resource]},
                ],
            },
        }
        control_plane.kubectl("apply", "--server-side", "-f-", input=json.dumps(schema))
        # Whoever sets this condition has taken the FlowSchema into use in the same step.
        control_plane.kubectl("wait", f"flowschema/{name}", "--for=condition=Dangling=false", "--timeout=30s")

    def count(self) -> int:
        """Writes of the account that the API server has finished since the meter was made."""
        metrics = self._control_plane.metrics()
        return int(metrics.total("apiserver_flowcontrol_dispatched_requests_total", flow_schema=self._name))
