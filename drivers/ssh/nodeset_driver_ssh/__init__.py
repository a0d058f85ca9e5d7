"""The SSH driver: makes nodes of hosts that are reached over SSH (bare metal, other people's VMs).

``config``, ``credentials``, ``hosts``: what it is told. ``host_keys``, ``session``, ``remote``: a call to one host.
``placement``: which host a token has, exactly one. ``applier``: user-data as steps. ``host/``: the shell programs that
run there. ``driver``: the contract's methods. Of nodeset-provider it imports the driverkit alone.
"""

from nodeset_driver_ssh.driver import SshDriver, create_driver

__all__ = ["SshDriver", "create_driver"]
