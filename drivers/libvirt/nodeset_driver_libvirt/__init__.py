"""The libvirt driver: makes nodes of virtual machines under libvirt: a nodeset-provider driver."""
