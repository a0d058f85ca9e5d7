"""The gRPC front door: the Cluster Autoscaler's questions answered from NodeSets and Machines.

Knows the API server and never a driver.
"""
