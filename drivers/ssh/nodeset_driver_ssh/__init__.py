"""The SSH driver: makes nodes of hosts that are reached over SSH (bare metal, other people's VMs): a nodeset-provider driver."""
