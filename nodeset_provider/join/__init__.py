"""The kubelet's join configuration: what a machine is told at boot so that it can join this cluster."""
