"""Plays the Cluster Autoscaler against any external gRPC provider: a stand-in for demos, conformance and benchmarks."""
