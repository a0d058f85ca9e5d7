"""The simulated machine's first boot: it uses its user-data, and nothing else, to join a cluster as a kubelet does."""
