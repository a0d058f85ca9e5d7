"""The gRPC front door: the Cluster Autoscaler's questions answered from NodeSets and Machines.

Knows the API server and never a driver. A group is a NodeSet with ``spec.autoscaling``, an instance is a Machine.
"""

from nodeset_provider.autoscaler.frontdoor import SERVER_OPTIONS, SERVICE_NAME, FrontDoor

__all__ = ["SERVER_OPTIONS", "SERVICE_NAME", "FrontDoor"]
